"""Everything below /v1, put together: a new module of handlers is named here."""

from fastapi import APIRouter

from api.http.access import bearer
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
# The problems that they answer with are documented in api/http/description.py.
router = APIRouter(prefix="/v1", dependencies=[bearer], generate_unique_id_function=operation_id)
for _module in sorted(_MODULES, key=lambda module: module is not searches):  # what is asked most is looked for first
    router.include_router(_module.router, tags=[tag_of(_module)])
TAGS = [{"name": tag_of(_module), "description": _module.__doc__ or ""} for _module in _MODULES]
