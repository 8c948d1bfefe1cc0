"""The handlers of collections: counts and labels."""

from fastapi import APIRouter, Request

from api.http.access import CalledBy, needs
from api.http.label_counts import LabelCounts
from api.http.request_parts import Cursor, Limit, Target, Work
from api.shapes.base import Page
from api.shapes.collections import Collection
from api.shapes.images import LabelCount
from search.upkeep.status import collection_status

router = APIRouter()


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


@router.get("/collections/{collection}/labels", summary="Labels, most frequent first")
@needs("read")
def labels(request: Request, target: Target, limit: Limit = 100, cursor: Cursor = None) -> Page[LabelCount]:
    """List the labels of a collection with how many of its images have each, for facets."""
    counts: LabelCounts = request.app.state.label_counts
    found = counts.get(target)
    start = int(cursor or 0)
    items = [LabelCount.model_validate(one.as_json()) for one in found[start : start + limit]]
    return Page(items=items, next_cursor=str(start + limit) if start + limit < len(found) else None)
