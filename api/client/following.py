"""A job of a server on its way to its end, as events and answers tell of it; the same for both clients."""

import time
from collections.abc import Callable
from typing import Final

from api.client.calls import Call, nothing
from api.client.errors import JobCancelled, JobFailed, RemoteError, WaitTimedOut
from api.shapes.jobs import Job
from search.records import JobState

EVENTS: Final = "text/event-stream"
SILENCE_S: Final = 40.0  # the server says something every 15 s
STREAMS: Final = 3  # that may break before the job is asked for now and then instead
LOST_S: Final = 60.0  # for which a server may be away, as it is when it starts again
FIRST_POLL_S: Final = 0.5
LONGEST_POLL_S: Final = 5.0
ENDED: Final[frozenset[JobState]] = frozenset({"done", "failed", "cancelled"})
Progress = Callable[[Job], None]


class Following:
    """One job on its way to its end, as events and answers tell of it. progress: is told of each change.

    Raises:
        WaitTimedOut: while it is told of something, when the time is up.
    """

    def __init__(self, job: Job, progress: Progress | None, timeout_s: float | None) -> None:
        self.job = job
        self._progress = progress or (lambda _job: None)
        self._until = None if timeout_s is None else time.monotonic() + timeout_s
        self._poll_s = FIRST_POLL_S
        self._streams = STREAMS
        self._event_id: str | None = None
        self._data: list[str] = []
        self._rest = b""
        self._heard = time.monotonic()

    @property
    def ended(self) -> bool:
        """Return whether nothing more will happen."""
        return self.job.state in ENDED

    @property
    def may_stream(self) -> bool:
        """Return whether events are worth asking for; they are not where they broke off again and again."""
        return self._streams > 0

    def stream(self) -> tuple[Call[None], float]:
        """Return the request for events from the last one on, and for how many seconds silence is not strange."""
        self._streams -= 1
        self._data, self._rest = [], b""
        headers = {"Accept": EVENTS} | ({} if self._event_id is None else {"Last-Event-ID": self._event_id})
        left = self._left_s()
        call = Call("GET", f"/v1/jobs/{self.job.id}/events", nothing, headers=headers)
        return call, SILENCE_S if left is None else min(SILENCE_S, max(left, 0.05))

    def hear(self, chunk: bytes) -> None:
        """Take what came of a stream of events, wherever it was cut."""
        self._left_s()
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        for line in lines:
            self._line(line.rstrip(b"\r").decode("utf-8", "replace"))

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self._event_id = value
        elif not line and self._data:
            text, self._data = "\n".join(self._data), []
            self.take(Job.model_validate_json(text, extra="ignore"))
            self._streams = STREAMS

    def lost(self, error: RemoteError) -> None:
        """Take that the server cannot be reached: it may be starting again, and its jobs outlive it.

        Raises:
            RemoteError: for too long now.
        """
        if time.monotonic() - self._heard > LOST_S:
            raise error

    def take(self, job: Job) -> None:
        """Take what an answer or an event says."""
        changed, self.job, self._heard = job != self.job, job, time.monotonic()
        if changed:
            self._poll_s = FIRST_POLL_S
            self._progress(job)

    def pause_s(self) -> float:
        """Return how long to wait before the job is asked for again: longer each time that nothing has changed."""
        pause, self._poll_s = self._poll_s, min(2 * self._poll_s, LONGEST_POLL_S)
        left = self._left_s()
        return pause if left is None else min(pause, left)

    def result(self) -> Job:
        """Return the job that has been done.

        Raises:
            JobFailed: it failed; its problem says why.
            JobCancelled: somebody ended it.
        """
        if self.job.state == "failed":
            raise JobFailed(self.job)
        if self.job.state == "cancelled":
            raise JobCancelled(self.job)
        return self.job

    def _left_s(self) -> float | None:
        if self._until is None:
            return None
        left = self._until - time.monotonic()
        if left <= 0:
            raise WaitTimedOut(self.job)
        return left
