"""The handler of fields: what conditions can be about, for those who type them."""

import time
from typing import Final

from fastapi import APIRouter, Request

from api.http.access import needs
from api.http.kept_answers import KeptAnswers
from api.http.request_parts import Target, Work
from api.shapes.base import Page
from api.shapes.fields import FieldValues
from search.storing.frequent_values import FieldValues as Found
from search.storing.frequent_values import frequent_values

router = APIRouter()
KEPT_S: Final = 60


@router.get("/collections/{collection}/fields", summary="What `where` can be about")
@needs("read")
def fields(request: Request, workspace: Work, target: Target) -> Page[FieldValues]:
    """List the fields of conditions with their frequent values, the keys of metadata among them."""
    kept: KeptAnswers[list[Found]] = request.app.state.fields
    # Metadata changes without a commit: what was counted is a minute old at most.
    found = kept.get(target, int(time.monotonic() / KEPT_S), lambda: frequent_values(workspace.store.database, target))
    return Page(items=[FieldValues.model_validate(one.as_json()) for one in found], next_cursor=None)
