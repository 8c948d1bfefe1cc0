"""The handlers of collections: beginning one, counts and labels."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Body, Path, Request, Response

from api.beginning import begin_collection
from api.http.access import CalledBy, needs
from api.http.exact_json import ExactRoute
from api.http.kept_answers import KeptAnswers
from api.http.request_parts import Cursor, Limit, Target, Work
from api.shapes.base import Page
from api.shapes.collections import Collection, NewCollection
from api.shapes.images import LabelCount
from api.shapes.views import Status
from search.records import LabelCount as Counted
from search.upkeep.status import collection_status

router = APIRouter(route_class=ExactRoute)
_begun: dict[int | str, dict[str, Any]] = {
    200: {"description": "it was there before"},
    201: {"model": Collection, "description": "it is new, and empty"},
    409: {"description": "it has another backbone"},
}


@router.get("/collections", summary="All collections")
@needs("read", across=True)
def collections(workspace: Work, caller: CalledBy) -> Page[Collection]:
    """List every collection that the key is for with its counts."""
    items = [Collection.model_validate(one.as_json()) for one in workspace.status(caller.only)]
    return Page(items=items, next_cursor=None)


@router.get("/collections/{collection}", summary="One collection")
@needs("read")
def collection_counts(workspace: Work, target: Target) -> Collection:
    """Tell what a collection holds and whether all of it can be found."""
    return Collection.model_validate(collection_status(workspace.store, target).as_json())


@router.put("/collections/{collection}", summary="Begin a collection", responses=_begun)
@needs("admin")
def begin(
    response: Response,
    workspace: Work,
    collection: Annotated[str, Path(min_length=1, max_length=200, pattern=r"^[^\x00]+$")],
    body: Annotated[NewCollection, Body(default_factory=NewCollection)],
) -> Collection:
    """Begin a collection, to which pictures can be sent then, with the built-in backbone; one that is there stays."""
    begun = begin_collection(workspace.store, collection, builtin=body.backbone is not None)
    response.status_code = HTTPStatus.CREATED if begun.is_new else HTTPStatus.OK
    return Collection.model_validate(collection_status(workspace.store, begun.collection).as_json())


@router.get("/collections/{collection}/status", summary="Whether all of it is found")
@needs("read")
def collection_health(workspace: Work, target: Target) -> Status:
    """Tell what a collection holds, what is missing, and what live searches found of the nearest images."""
    counts = collection_status(workspace.store, target).as_json()
    observed = (one for one in workspace.recall_watch.observed() if one.collection == target.name)
    live = next(({"recall": one.recall, "checks": one.checks} for one in observed), None)
    return Status.model_validate(counts | {"live": live})


@router.get("/collections/{collection}/labels", summary="Labels, most frequent first")
@needs("read")
def labels(
    request: Request, workspace: Work, target: Target, limit: Limit = 100, cursor: Cursor = None
) -> Page[LabelCount]:
    """List the labels of a collection with how many of its images have each, for facets."""
    kept: KeptAnswers[list[Counted]] = request.app.state.label_counts
    found = kept.get(target, None, lambda: workspace.store.catalogue.labels.counts(target))
    start = int(cursor or 0)
    items = [LabelCount.model_validate(one.as_json()) for one in found[start : start + limit]]
    return Page(items=items, next_cursor=str(start + limit) if start + limit < len(found) else None)
