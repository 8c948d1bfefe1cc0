"""The handler of duplicate groups."""

from typing import Annotated

from fastapi import APIRouter, Query, Request

from api.http.access import needs
from api.http.duplicate_reports import DuplicateReports
from api.http.request_parts import Cursor, Limit, Target
from api.shapes.groups import Group, Groups

router = APIRouter()


@router.get("/collections/{collection}/groups", response_model_exclude_unset=True)
@needs("read")
def groups(
    request: Request,
    target: Target,
    threshold: Annotated[float | None, Query(ge=-1, le=1, description="least cosine of a near copy")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Groups:
    """List duplicate groups, largest first. Computed once per state of the collection and threshold."""
    reports: DuplicateReports = request.app.state.reports
    chosen = request.app.state.workspace.duplicates.threshold(target, threshold)
    report = reports.get(target, chosen)
    start = int(cursor or 0)
    page = reports.shown(target, report.groups[start : start + limit])
    more = start + limit < len(report.groups)
    return Groups(
        items=[Group.model_validate(group.as_json()) for group in page],
        next_cursor=str(start + limit) if more else None,
        threshold=report.threshold,
        threshold_source=chosen.source,
        images=report.images,
        groups_total=len(report.groups),
        copies_total=sum(len(group.members) for group in report.groups),
        bytes_reclaimable=report.bytes_reclaimable,
    )
