"""The handlers of what a collection can be narrowed by: facets, and the timeline."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.http.access import needs
from api.http.kept_answers import KeptAnswers
from api.http.request_parts import Target, Work
from api.shapes import views
from search.conditions.where import MAX_LETTERS, Condition, parse
from search.storing.facets import Facets, facets, timeline

router = APIRouter()
Where = Annotated[str | None, Query(description="count only images that fulfil it", max_length=MAX_LETTERS)]


@router.get("/collections/{collection}/facets", summary="What a collection can be narrowed by")
@needs("read")
def collection_facets(request: Request, workspace: Work, target: Target, where: Where = None) -> views.Facets:
    """Count labels, folders, sizes and months; each with the condition that narrows a search or a list to it."""
    kept: KeptAnswers[Facets] = request.app.state.facets
    condition = _condition(where)
    found = kept.get(target, where, lambda: facets(workspace.store.database, target, condition))
    return views.Facets.model_validate(found.as_json())


@router.get("/collections/{collection}/timeline", summary="How many images were taken in each month")
@needs("read")
def collection_timeline(request: Request, workspace: Work, target: Target, where: Where = None) -> views.Timeline:
    """List the months in which images were taken, all of them, oldest first."""
    kept: KeptAnswers[views.Timeline] = request.app.state.timelines
    condition = _condition(where)

    def counted() -> views.Timeline:
        months, undated = timeline(workspace.store.database, target, condition)
        items = [views.Month(month=one.value, images=one.images, where=one.where) for one in months]
        return views.Timeline(items=items, next_cursor=None, undated=undated)

    return kept.get(target, where, counted)


def _condition(where: str | None) -> Condition | None:
    """Return what is to be fulfilled; a condition that cannot be read costs nothing."""
    return None if where is None else parse(where)
