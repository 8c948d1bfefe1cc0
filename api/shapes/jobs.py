"""The shapes of jobs: what a server does that outlasts a request."""

from typing import Annotated, Literal

from pydantic import Field

from api.shapes.base import Shape
from api.shapes.problems import Problem
from search.records import JobKind, JobState

Moment = Annotated[str | None, Field(examples=["2026-11-23T14:00:00.000Z"], description="ISO 8601, UTC")]


class JobProgress(Shape):
    """How far a job is. total, left_s: null where nobody knows. left_s: seconds that the stage may still take."""

    stage: Annotated[str, Field(examples=["looked at"])]
    done: int
    total: int | None
    left_s: float | None


class WebhookDelivery(Shape):
    """How telling somebody of a job's end goes. due: is tried at `next_at`. problem: of the last attempt."""

    state: Literal["due", "delivered", "failed"]
    attempts: int
    next_at: Moment
    problem: Problem | None


class Job(Shape):
    """A job. request: what it was asked for. result: of a finished one, by kind. problem: why it failed. webhook: the
    address that is told of its end, null for none; webhook_delivery: how that went, null before the end.
    """

    id: Annotated[str, Field(examples=["12"])]
    kind: JobKind
    collection: str | None
    state: JobState
    created_at: Annotated[str, Field(examples=["2026-11-23T14:00:00.000Z"], description="ISO 8601, UTC")]
    started_at: Moment
    ended_at: Moment
    progress: JobProgress | None
    request: dict[str, object]
    result: dict[str, object] | None
    problem: Problem | None
    webhook: str | None
    webhook_delivery: WebhookDelivery | None = None  # servers before it do not say
