"""The handlers of duplicates: looking for them is a job, and its groups are shown."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from fastapi.concurrency import run_in_threadpool

from api.http.access import needs
from api.http.exact_numbers import Number, Whole
from api.http.job_requests import iso, start_job
from api.http.repeats import SAME_REQUEST, OnceRoute, names_itself
from api.http.request_parts import Cursor, ImageId, Limit, Target, Work, lines
from api.http.routes.images import names_tag
from api.jobs.dedup_job import wanted
from api.shapes.base import Page
from api.shapes.dedup import DedupBody
from api.shapes.groups import Groups, Report
from api.shapes.jobs import Job
from search.duplicates.groups import DuplicateKind
from search.duplicates.kept_reports import KeptReport, KeptReports, current_groups, of_kinds
from search.records import Collection

router = APIRouter(route_class=OnceRoute)


@router.post(
    "/collections/{collection}/dedup",
    status_code=HTTPStatus.ACCEPTED,
    summary="Look for duplicates",
    dependencies=[names_itself],
    responses=SAME_REQUEST,
)
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


@router.get("/collections/{collection}/groups", response_model_exclude_unset=True, summary="Groups of duplicates")
@needs("read")
def groups(  # noqa: PLR0913, PLR0917 -- the parts of a request
    workspace: Work,
    target: Target,
    threshold: Annotated[
        Number | None, Query(ge=-1, le=1, description="of a report that somebody chose it for")
    ] = None,
    kind: Annotated[list[DuplicateKind] | None, Query(description="only copies of these kinds")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Groups:
    """List the duplicate groups that the last dedup job found, largest first, without what went since."""
    kept, kinds = KeptReports(workspace.store.database), kind or ()
    report = kept.newest(target, threshold)
    page = kept.page(report, int(cursor or 0), limit + 1, kinds)
    more = str(page[limit][0]) if len(page) > limit else None
    now = current_groups(workspace.store.catalogue, target, [group for _, group in page[:limit]])
    if kinds:
        now = [group for group in (of_kinds(one, kinds) for one in now) if group["members"]]
    return Groups.model_validate({"items": now, "next_cursor": more} | _told(report, target))


@router.get(
    "/collections/{collection}/images/{image_id}/difference",
    summary="What differs between a copy and its keeper",
    response_class=Response,
    responses={
        200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
        304: {"description": "unchanged"},
    },
)
@needs("read")
async def difference(
    request: Request,
    workspace: Work,
    target: Target,
    image_id: ImageId,
    keeper: Annotated[Whole, Query(ge=0, lt=2**53, description="id of the image that it is a copy of")],
) -> Response:
    """Return a JPEG of the keeper in pale grey, which glows where the image shows something else."""
    find = workspace.store.catalogue.image_by_id
    one, other = [await run_in_threadpool(find, target.id, number) for number in (image_id, keeper)]
    tag = f'"{one.sha256.hex()[:24]}-{other.sha256.hex()[:24]}"'
    headers = {"ETag": tag, "Cache-Control": "private, max-age=300", "Vary": "Authorization"}
    if names_tag(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    data = await lines(request).looks.run(request, workspace.difference, one, other)
    return Response(data, media_type="image/jpeg", headers=headers)


def _told(report: KeptReport, target: Collection) -> dict[str, object]:
    facts = asdict(report.facts)
    sequence = facts.pop("sequence")
    return facts | {"made_at": iso(report.made_at), "changed": sequence != target.sequence}
