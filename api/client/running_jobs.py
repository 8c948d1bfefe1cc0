"""A job of a server as a caller holds it: to look at, to wait for, to end."""

from __future__ import annotations

import time
from contextlib import aclosing, closing
from typing import TYPE_CHECKING

import anyio

from api.client.errors import Busy, ServerUnreachable
from api.client.following import Following
from api.client.server_jobs import cancel, job, send_webhook

if TYPE_CHECKING:
    from api.client.awaiting import AsyncClient
    from api.client.blocking import Client
    from api.client.following import Progress
    from api.shapes.jobs import Job
    from search.records import JobState

AWAY = (ServerUnreachable, Busy)  # perhaps it is starting again


class _Held:
    """What is known of a job. job: as it was when the server was last asked."""

    def __init__(self, job: Job) -> None:
        self.job = job

    @property
    def id(self) -> str:
        """Return its number."""
        return self.job.id

    @property
    def state(self) -> JobState:
        """Return how it was when the server was last asked: queued, running, done, failed or cancelled."""
        return self.job.state

    @property
    def result(self) -> dict[str, object] | None:
        """Return what came of it, by its kind; None before it is done."""
        return self.job.result

    def __repr__(self) -> str:
        return f"<job {self.job.id}: {self.job.kind}, {self.job.state}>"


class RunningJob(_Held):
    """A job of a server."""

    def __init__(self, client: Client, job: Job) -> None:
        super().__init__(job)
        self._client = client

    def refresh(self) -> Job:
        """Ask the server how it is now."""
        self.job = self._client._answer(job("", self.id))
        return self.job

    def cancel(self) -> Job:
        """Ask for its end; what it did until then stays."""
        self.job = self._client._answer(cancel("", self.id))
        return self.job

    def send_webhook(self) -> Job:
        """Let its webhook be called again now that it has ended, whatever came of that before.

        Raises:
            Conflict: it has not ended.
            Refused: it has no webhook, or one that the server does not call.
        """
        self.job = self._client._answer(send_webhook("", self.id))
        return self.job

    def wait(self, progress: Progress | None = None, *, timeout_s: float | None = None) -> Job:
        """Return the job when it is done. progress: is called with the job whenever something changes.

        A server that starts again meanwhile is waited for.

        Raises:
            JobFailed: its problem says why.
            JobCancelled: somebody ended it.
            WaitTimedOut: it takes longer than timeout_s; it goes on.
            RemoteError: by name (api/client/errors.py).
        """
        following = Following(self.job, progress, timeout_s)
        while not following.ended:
            if following.may_stream:
                with closing(self._client._events(*following.stream())) as chunks:
                    for chunk in chunks:
                        following.hear(chunk)
            if not following.ended:
                time.sleep(following.pause_s())
                try:
                    following.take(self._client._answer(job("", self.id)))
                except AWAY as error:
                    following.lost(error)
        self.job = following.job
        return following.result()


class AsyncRunningJob(_Held):
    """A job of a server; `refresh`, `cancel`, `send_webhook` and `wait` are awaited, else as of `RunningJob`."""

    def __init__(self, client: AsyncClient, job: Job) -> None:
        super().__init__(job)
        self._client = client

    async def refresh(self) -> Job:
        """Ask the server how it is now."""
        self.job = await self._client._answer(job("", self.id))
        return self.job

    async def cancel(self) -> Job:
        """Ask for its end; what it did until then stays."""
        self.job = await self._client._answer(cancel("", self.id))
        return self.job

    async def send_webhook(self) -> Job:
        """Let its webhook be called again, as `RunningJob.send_webhook`."""
        self.job = await self._client._answer(send_webhook("", self.id))
        return self.job

    async def wait(self, progress: Progress | None = None, *, timeout_s: float | None = None) -> Job:
        """Return the job when it is done, as `RunningJob.wait`.

        Raises:
            RemoteError: by name (api/client/errors.py).
        """
        following = Following(self.job, progress, timeout_s)
        while not following.ended:
            if following.may_stream:
                async with aclosing(self._client._events(*following.stream())) as chunks:
                    async for chunk in chunks:
                        following.hear(chunk)
            if not following.ended:
                await anyio.sleep(following.pause_s())
                try:
                    following.take(await self._client._answer(job("", self.id)))
                except AWAY as error:
                    following.lost(error)
        self.job = following.job
        return following.result()
