"""The handlers of jobs: what the server does that outlasts a request."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import APIRouter, Header, HTTPException, Query, Request
from fastapi import Path as PathParameter
from fastapi.responses import StreamingResponse

from api.http.access import CalledBy, needs
from api.http.exact_numbers import Whole
from api.http.job_events import JobEvents
from api.http.job_requests import jobs_of, require_role, seen_by, shape_of, tell_again
from api.http.request_parts import Cursor, Limit, Work
from api.shapes.base import Page
from api.shapes.jobs import Job
from search.records import JobState
from search.storing.due_webhooks import DueWebhooks

router = APIRouter()
JobId = Annotated[Whole, PathParameter(ge=1, lt=2**53)]
EVENTS = "text/event-stream"
_streamed: dict[int | str, dict[str, Any]] = {
    200: {"content": {EVENTS: {"schema": {"type": "string"}}}, "description": "events named `job`, each with a Job"},
    429: {"description": "too many listen already"},
}


@router.get("/jobs", summary="Jobs, newest first")
@needs("read", across=True)
def jobs(
    request: Request,
    caller: CalledBy,
    state: Annotated[list[JobState] | None, Query(description="only in one of these states")] = None,
    collection: Annotated[str | None, Query(max_length=200, description="only of this collection")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
) -> Page[Job]:
    """List jobs; with a key for one collection, those of it."""
    if caller.only is not None and collection not in (None, caller.only):
        return Page(items=[], next_cursor=None)
    before = None if cursor is None else int(cursor)
    only = caller.only or collection
    found = jobs_of(request).page(states=state or (), collection=only, before=before, limit=limit)
    more = str(found[-1].id) if len(found) == limit else None
    return Page(items=[shape_of(job) for job in found], next_cursor=more)


@router.get("/jobs/{job_id}", summary="One job")
@needs("read", across=True)
def job(request: Request, caller: CalledBy, job_id: JobId) -> Job:
    """Return a job: how far it is, and what came of it."""
    return shape_of(seen_by(caller, jobs_of(request).get(job_id)))


@router.post("/jobs/{job_id}/cancel", status_code=HTTPStatus.ACCEPTED, summary="Ask for the end of a job")
@needs("write", across=True)
def cancel(request: Request, caller: CalledBy, job_id: JobId) -> Job:
    """End a job; one that runs ends within seconds, and what it did until then stays. An ended one stays as it is."""
    found = seen_by(caller, jobs_of(request).get(job_id))
    require_role(caller, found)
    ended = jobs_of(request).cancel(job_id)
    request.app.state.wake()
    return shape_of(ended)


@router.post(
    "/jobs/{job_id}/webhook",
    status_code=HTTPStatus.ACCEPTED,
    summary="Call a job's webhook again",
    responses={409: {"description": "the job has not ended"}, 422: {"description": "nobody may be called"}},
)
@needs("write", across=True)
def send_webhook(request: Request, workspace: Work, caller: CalledBy, job_id: JobId) -> Job:
    """Tell the job's receiver of its end now, whatever came of that before; it knows the event by its `webhook-id`."""
    found = seen_by(caller, jobs_of(request).get(job_id))
    require_role(caller, found)
    tell_again(DueWebhooks(workspace.store.database), request.app.state.webhooks, found)
    return shape_of(jobs_of(request).get(job_id))


@router.get("/jobs/{job_id}/events", summary="Follow a job", response_class=StreamingResponse, responses=_streamed)
@needs("read", across=True)
def events(
    request: Request,
    caller: CalledBy,
    job_id: JobId,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{0,16}$")] = None,
) -> StreamingResponse:
    """Follow a job: an event now and whenever it changes, until it has ended."""
    found = seen_by(caller, jobs_of(request).get(job_id))
    following: JobEvents = request.app.state.job_events
    if following.full:
        raise HTTPException(
            HTTPStatus.TOO_MANY_REQUESTS, "too many follow jobs already; ask for the job itself", {"Retry-After": "10"}
        )
    after = int(last_event_id) if last_event_id else None
    return StreamingResponse(
        following.follow(found, after),
        media_type=EVENTS,
        headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )
