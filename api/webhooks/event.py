"""What a receiver is sent when a job has ended."""

from typing import Final

from api.http.job_requests import shape_of
from api.shapes.webhooks import JobEvent
from search.storing.server_jobs import ServerJob

MOST_BYTES: Final = 256 * 1024


def id_of(job: ServerJob) -> str:
    """Return the name of what is told: the same at every attempt, and of no other job of any server."""
    return f"job_{job.id}_{round(job.created_at * 1000)}"


def body_of(job: ServerJob) -> bytes:
    """Return the event of a job that has ended, as JSON; without what is long, where that is too long to be sent."""
    shown = shape_of(job).model_dump() | {"webhook_delivery": None}
    event = JobEvent.model_validate(
        {**shown, "type": f"job.{job.state}", "timestamp": shown["ended_at"], "truncated": False}
    )
    body = event.model_dump_json().encode()
    if len(body) <= MOST_BYTES:
        return body
    short = event.model_copy(update={"truncated": True, "request": {}})
    body = short.model_dump_json().encode()
    return body if len(body) <= MOST_BYTES else short.model_copy(update={"result": None}).model_dump_json().encode()
