"""The handler of failures: files that could not be indexed."""

from typing import Annotated

from fastapi import APIRouter, Query

from api.http.access import needs
from api.http.request_parts import Cursor, Limit, Target, Work
from api.shapes.views import Failure, Failures
from search.storing.ledger import failures_by_reason, failures_page

router = APIRouter()


@router.get("/collections/{collection}/failures", summary="Files that could not be indexed")
@needs("read")
def failures(
    workspace: Work,
    target: Target,
    reason: Annotated[str | None, Query(description="only files that failed for it", max_length=100)] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Failures:
    """List the ledger in the order in which files came into it, with how many there are for each reason."""
    database = workspace.store.database
    page = failures_page(database, target.id, after=int(cursor or 0), limit=limit, reason=reason)
    items = [Failure.model_validate(entry.as_json()) for _, entry in page]
    more = str(page[-1][0]) if len(page) == limit else None
    return Failures(items=items, next_cursor=more, reasons=failures_by_reason(database, target.id))
