"""The events of a job as they happen, in the format of server-sent events."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Final

from fastapi.concurrency import run_in_threadpool

from api.http.job_requests import shape_of
from search.errors import LookalikeError
from search.storing.server_jobs import ServerJob, ServerJobs

LOOK_S: Final = 0.5
SILENCE_S: Final = 15.0  # after which a comment keeps the connection alive
MOST_STREAMS: Final = 128
COMMENT: Final = ": still there\n\n"


class JobEvents:
    """Follows jobs for those who listen. stopping: tells whether the server is about to end."""

    def __init__(self, jobs: ServerJobs, stopping: Callable[[], bool]) -> None:
        self._jobs = jobs
        self._stopping = stopping
        self._open = 0

    @property
    def full(self) -> bool:
        """Tell whether as many listen as may."""
        return self._open >= MOST_STREAMS

    async def follow(self, job: ServerJob, after: int | None) -> AsyncIterator[str]:
        """Yield a job now and whenever it changes, until it has ended. after: the version that the listener has."""
        self._open += 1
        try:
            seen, spoken = after, time.monotonic()
            while True:
                if job.version != seen:
                    seen, spoken = job.version, time.monotonic()
                    yield _event(job)
                if job.ended:
                    return
                changed = await self._changed(job)
                if changed is None:
                    return
                job = changed
                if time.monotonic() - spoken >= SILENCE_S:
                    spoken = time.monotonic()
                    yield COMMENT
        finally:
            self._open -= 1

    async def _changed(self, job: ServerJob) -> ServerJob | None:
        """Return a job a moment later; None when the server ends, or nobody remembers the job."""
        await asyncio.sleep(LOOK_S)
        if self._stopping():
            return None
        version = await run_in_threadpool(self._jobs.version, job.id)
        if version in (None, job.version):
            return job
        try:
            return await run_in_threadpool(self._jobs.get, job.id)
        except LookalikeError:
            return None


def _event(job: ServerJob) -> str:
    return f"event: job\nid: {job.version}\ndata: {shape_of(job).model_dump_json()}\n\n"
