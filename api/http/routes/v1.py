"""Everything below /v1, put together: a new module of handlers is named here."""

from fastapi import Depends, FastAPI

from api.http.access import bearer
from api.http.brief_route import CHECKS
from api.http.description import operation_id, tag_of
from api.http.routes import (
    batch_searches,
    checks,
    classification,
    collections,
    dedup,
    facets,
    failures,
    fields,
    images,
    imports,
    ingest,
    jobs,
    keys,
    maps,
    plans,
    searches,
    verdicts,
)

_MODULES = (
    collections,
    facets,
    fields,
    maps,
    failures,
    images,
    ingest,
    imports,
    searches,
    batch_searches,
    checks,
    dedup,
    plans,
    verdicts,
    jobs,
    classification,
    keys,
)
TAGS = [{"name": tag_of(_module), "description": _module.__doc__ or ""} for _module in _MODULES]


def include_all(app: FastAPI) -> None:
    """Let an app answer everything below /v1. The problems of all are documented in api/http/description.py.

    Without a router of their own around them, and the searches first: who looks for a handler asks one router after the
    other, and those inside of others several times.
    """
    for module in sorted(_MODULES, key=lambda module: module is not searches):
        app.include_router(
            module.router,
            prefix="/v1",
            tags=[tag_of(module)],
            dependencies=[bearer, *map(Depends, CHECKS)],
            generate_unique_id_function=operation_id,
        )
