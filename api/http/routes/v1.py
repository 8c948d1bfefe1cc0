"""Everything below /v1, put together: a new module of handlers is named here."""

from typing import Any

from fastapi import APIRouter

from api.http.access import bearer
from api.http.routes import checks, collections, dedup, facets, failures, images, jobs, maps, searches, verdicts
from api.shapes.problems import Problem

_PROBLEMS: dict[int | str, dict[str, Any]] = {
    status: {"model": Problem, "content": {"application/problem+json": {}}}
    for status in (400, 401, 403, 404, 413, 415, 422, 503)
}
router = APIRouter(prefix="/v1", responses=_PROBLEMS, dependencies=[bearer])
for _module in (collections, facets, maps, failures, images, searches, checks, dedup, verdicts, jobs):
    router.include_router(_module.router)
