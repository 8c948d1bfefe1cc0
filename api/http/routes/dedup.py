"""The handlers of duplicates: looking for them is a job, and its groups are shown."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from api.http.access import needs
from api.http.job_requests import iso, start_job
from api.http.request_parts import Cursor, Limit, Target, Work
from api.jobs.dedup_job import wanted
from api.shapes.base import Page
from api.shapes.dedup import DedupBody
from api.shapes.groups import Groups, Report
from api.shapes.jobs import Job
from search.duplicates.kept_reports import KeptReport, KeptReports, current_groups
from search.records import Collection

router = APIRouter()


@router.post("/collections/{collection}/dedup", status_code=HTTPStatus.ACCEPTED, summary="Look for duplicates")
@needs("dedup")
def dedup(request: Request, response: Response, workspace: Work, target: Target, body: DedupBody) -> Job:
    """Start a job that finds duplicate groups and writes a plan; it changes no file."""
    wanted(workspace.store, body)  # what cannot be is refused now, and not by the job
    return start_job(request, response, "dedup", target, body)


@router.get("/collections/{collection}/dedup", summary="The reports of dedup jobs that are kept, newest first")
@needs("read")
def reports(workspace: Work, target: Target) -> Page[Report]:
    """List the reports of a collection; `groups` shows the groups of one."""
    kept = KeptReports(workspace.store.database).all(target)
    return Page(items=[Report.model_validate(_told(one, target)) for one in kept], next_cursor=None)


@router.get("/collections/{collection}/groups", response_model_exclude_unset=True)
@needs("read")
def groups(
    workspace: Work,
    target: Target,
    threshold: Annotated[float | None, Query(ge=-1, le=1, description="of a report that somebody chose it for")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Groups:
    """List the duplicate groups that the last dedup job found, largest first, without what went since."""
    kept = KeptReports(workspace.store.database)
    report = kept.newest(target, threshold)
    page = kept.page(report, int(cursor or 0), limit)
    after = page[-1][0] + 1 if page else report.facts.groups_total
    now = current_groups(workspace.store.catalogue, target, [group for _, group in page])
    more = str(after) if after < report.facts.groups_total else None
    return Groups.model_validate({"items": now, "next_cursor": more} | _told(report, target))


def _told(report: KeptReport, target: Collection) -> dict[str, object]:
    facts = asdict(report.facts)
    sequence = facts.pop("sequence")
    return facts | {"made_at": iso(report.made_at), "changed": sequence != target.sequence}
