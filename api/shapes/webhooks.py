"""The shapes of webhooks: what a server tells when a job has ended."""

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from api.shapes.base import Shape, Text
from api.shapes.jobs import Job

MOST_LETTERS = 2048


class StartsJob(Shape):
    """Base of the bodies that start a job: JSON alone, whose types are taken as they are."""

    model_config = ConfigDict(extra="forbid", strict=True)

    webhook: Annotated[
        Text | None,
        Field(
            max_length=MOST_LETTERS,
            description="address that is told when the job has ended, where the server has --allow-webhook",
            examples=["https://hooks.example/lookalike"],
        ),
    ] = None


class JobEvent(Job):
    """A job that has ended, as it is sent to its webhook. timestamp: of its end. truncated: the whole would be longer
    than 256 KiB, so `request` is left out, and where that is not enough `result`; the job itself tells them.
    """

    type: Literal["job.done", "job.failed", "job.cancelled"]
    timestamp: Annotated[str, Field(examples=["2026-11-23T14:02:00.000Z"], description="ISO 8601, UTC")]
    truncated: bool
