"""Starting jobs by requests, and whose jobs a caller may see and end."""

from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus

from fastapi import HTTPException, Request, Response

from api.http.access import Caller
from api.jobs.kinds import KINDS
from api.shapes.jobs import Job
from api.shapes.webhooks import StartsJob
from api.webhooks.rules import WebhookRules
from search.errors import GuardRefused, JobNotFound, UsageError
from search.records import Collection, JobKind
from search.storing.due_webhooks import DueWebhooks
from search.storing.server_jobs import ServerJob, ServerJobs

MOST_WAITING = 1_000
RETRY_S = 60


@dataclass(frozen=True, slots=True)
class Started:
    """Writes down the jobs that requests start. webhooks: whom they may name to be told of the end."""

    jobs: ServerJobs
    webhooks: WebhookRules

    def start(self, kind: JobKind, target: Collection, body: StartsJob, plan: str | None) -> ServerJob:
        """Write down a job; it is durable when this returns.

        Raises:
            HTTPException: 429, too many wait already.
            WebhookRefused: the webhook that the body names is not called by this server.
        """
        if body.webhook is not None:
            self.webhooks.receiver(body.webhook)
        if self.jobs.waiting() >= MOST_WAITING:
            raise HTTPException(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"{MOST_WAITING} jobs wait already; try again later, or cancel some",
                {"Retry-After": str(RETRY_S)},
            )
        asked = {} if plan is None else {"plan": plan}
        asked |= body.model_dump(mode="json", exclude_unset=True, exclude={"webhook"})
        return self.jobs.create(kind, target.name, asked, body.webhook)


def start_job(  # noqa: PLR0913, PLR0917 -- of one place
    request: Request, response: Response, kind: JobKind, target: Collection, body: StartsJob, plan: str | None = None
) -> Job:
    """Start a job; the answer is 202 and says where it is. plan: that it acts on."""
    job = Started(jobs_of(request), request.app.state.webhooks).start(kind, target, body, plan)
    request.app.state.wake()
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return shape_of(job)


def jobs_of(request: Request) -> ServerJobs:
    """Return the jobs of the application's store."""
    jobs: ServerJobs = request.app.state.jobs
    return jobs


def seen_by(caller: Caller, job: ServerJob) -> ServerJob:
    """Return a job that a caller may see.

    Raises:
        JobNotFound: it is of a collection that the caller's key is not for; that it exists is not told.
    """
    if caller.only not in (None, job.collection):
        raise JobNotFound(f"there is no job {job.id} that your key may see")
    return job


def require_role(caller: Caller, job: ServerJob) -> None:
    """Hold a caller to the role that starts such jobs.

    Raises:
        HTTPException: 403.
    """
    role = KINDS[job.kind].role
    if not caller.has(role):
        detail = f"acting on this job needs a key of role {role} or a higher one; yours has {caller.role}"
        raise HTTPException(HTTPStatus.FORBIDDEN, detail)


def tell_again(due: DueWebhooks, webhooks: WebhookRules, job: ServerJob) -> None:
    """Let the receiver of a job be told of its end once more; who is told at this moment is not told twice.

    Raises:
        UsageError: it has no receiver, or one that this server does not call.
        GuardRefused: it has not ended.
    """
    if job.webhook is None:
        raise UsageError(f"job {job.id} has no webhook: name one as `webhook` when a job is started")
    webhooks.receiver(job.webhook)
    if not job.ended:
        raise GuardRefused(f"job {job.id} is {job.state}; its webhook is called when it has ended")
    due.again(job.id)


def shape_of(job: ServerJob) -> Job:
    """Return a job as HTTP shows it."""
    return Job.model_validate(
        {
            "id": str(job.id),
            "kind": job.kind,
            "collection": job.collection,
            "state": job.state,
            "created_at": _iso(job.created_at),
            "started_at": _iso(job.started_at),
            "ended_at": _iso(job.ended_at),
            "progress": job.progress,
            "request": job.request,
            "result": job.result,
            "problem": job.problem,
            "webhook": job.webhook,
            "webhook_delivery": _delivery(job),
        }
    )


def _delivery(job: ServerJob) -> dict[str, object] | None:
    if job.webhook is None or not job.ended:
        return None
    last = job.webhook_outcome or {}
    state = "due" if job.webhook_due is not None else last["state"]
    told: dict[str, object] = {"state": state, "attempts": job.webhook_attempts, "problem": last.get("problem")}
    return told | {"next_at": _iso(job.webhook_due)}


def _iso(moment: float | None) -> str | None:
    return None if moment is None else iso(moment)


def iso(moment: float) -> str:
    """Return a moment, in seconds since 1970, as HTTP shows it."""
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
