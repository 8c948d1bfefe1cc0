"""What goes wrong between a client and a server.

    RemoteError                 (a LookalikeError)
    |-- ServerUnreachable       no answer came, or not in time
    |-- NotLookalike            what answered is no Lookalike server
    |-- JobCancelled            a job that was waited for was ended by somebody
    |-- WaitTimedOut            a job, or a map, was not waited for any longer
    |-- WebhookNotVerified      nobody can be sure who sent this webhook (webhooks.py)
    `-- Refused                 the server says why it does not do it
        |-- AccessRefused       401, 403: without a key, or with one that may not
        |-- NotFound            404: no such collection, image, job, ...
        |-- Conflict            409, 412: a guard refused, or it was changed meanwhile
        |-- Busy                429, 503: later, perhaps; what could be tried again was
        `-- JobFailed           a job that was waited for failed

Where the server spoke, messages are its own.
"""

from http import HTTPStatus

from api.shapes.jobs import Job
from api.shapes.problems import Problem
from search import errors
from search.errors import LookalikeError

_LIKE: dict[int, type[LookalikeError]] = {
    HTTPStatus.CONFLICT: errors.GuardRefused,
    HTTPStatus.TOO_MANY_REQUESTS: errors.StoreUnavailable,
    HTTPStatus.SERVICE_UNAVAILABLE: errors.StoreUnavailable,
} | dict.fromkeys((400, 401, 403, 404, 405, 413, 415, 422), errors.UsageError)


class RemoteError(LookalikeError):
    """Something went wrong between a client and a server. like: the error of one machine that means the same."""

    like: type[LookalikeError] = LookalikeError


class ServerUnreachable(RemoteError):
    """No answer came from the server, or not in time."""

    like = errors.StoreUnavailable


class NotLookalike(RemoteError):
    """What answered is no Lookalike server, or one that this client does not understand."""

    like = errors.UsageError


class Refused(RemoteError):
    """The server does not do it. problem: why, as it was sent; its fields are here, too.

    kind: the last word of the problem's type, such as ImageNotFound. retry_after_s: when to ask again, where it says.
    """

    def __init__(self, problem: Problem, retry_after_s: float | None = None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.kind = problem.type.rsplit(":", maxsplit=1)[-1]
        self.title = problem.title
        self.status = problem.status
        self.detail = problem.detail
        self.reason = problem.reason
        self.position = problem.position
        self.retry_after_s = retry_after_s
        named = getattr(errors, self.kind, None)
        self.like = _LIKE.get(problem.status, LookalikeError)
        if isinstance(named, type) and issubclass(named, LookalikeError):
            self.like = named


class AccessRefused(Refused):
    """The server wants a key, or another one."""


class NotFound(Refused):
    """The server has no such thing."""


class Conflict(Refused):
    """A guard refused, or what was to be changed is not what the caller last saw."""


class Busy(Refused):
    """The server cannot do it now."""


class JobFailed(Refused):
    """A job that was waited for failed; the problem says why."""

    def __init__(self, job: Job) -> None:
        unknown = Problem(type="urn:lookalike:problem:Unexpected", title="Failed", status=500, detail="the job failed")
        super().__init__(job.problem or unknown)
        self.job = job


class JobCancelled(RemoteError):
    """A job that was waited for was ended by somebody."""

    def __init__(self, job: Job) -> None:
        super().__init__(f"job {job.id} was cancelled")
        self.job = job


class WaitTimedOut(RemoteError):
    """A job was not waited for any longer; it goes on. job: None where it was a map."""

    def __init__(self, waited: Job | str) -> None:
        self.job = waited if isinstance(waited, Job) else None
        told = waited if isinstance(waited, str) else f"job {waited.id} is still {waited.state}"
        super().__init__(told if self.job is None else f"{told}; it goes on, and can be waited for again")


_BY_STATUS: dict[int, type[Refused]] = {
    HTTPStatus.UNAUTHORIZED: AccessRefused,
    HTTPStatus.FORBIDDEN: AccessRefused,
    HTTPStatus.NOT_FOUND: NotFound,
    HTTPStatus.CONFLICT: Conflict,
    HTTPStatus.PRECONDITION_FAILED: Conflict,
    HTTPStatus.TOO_MANY_REQUESTS: Busy,
    HTTPStatus.SERVICE_UNAVAILABLE: Busy,
}


def refusal(problem: Problem, retry_after_s: float | None = None) -> Refused:
    """Return the error of a problem document."""
    return _BY_STATUS.get(problem.status, Refused)(problem, retry_after_s)
