"""Runs the jobs of a store in a server: one at a time in each lane of a machine, each in a process of its own.

A lane is held by a lock on a file, which the system gives back when a server dies in whatever way; so a job that is
written down as run by this machine, while the lock is ours, was left by a server that is no more, and is begun again.
Jobs of other machines are taken over when their lease ends (search/storing/server_jobs.py).
"""

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final

from api.jobs.kinds import LANES, kinds_of
from api.jobs.machine_lock import held
from api.jobs.supervising import JobProcess, Launch, Outcome, job_died
from search.database.database import Database
from search.errors import LookalikeError
from search.storing.server_jobs import MOST_ATTEMPTS, Owner, ServerJob, ServerJobs

log = logging.getLogger(__name__)

POLL_S: Final = 1.0  # other servers of the store write jobs, too
LEASE_S: Final = 30.0
BEAT_S: Final = 5.0  # at least so often a running job is said to live
TELL_S: Final = 1.0  # at most so often how far it is
LOOK_S: Final = 0.5  # whether somebody wants its end
FORGET_EVERY_S: Final = 3_600.0
WRITE_AGAIN_S: Final = 2.0
WRITE_TRIES: Final = 60  # a catalogue that does not answer for so long is waited for by the next server
_DIED: Final = "the servers that ran it ended {} times, so it is not begun again; start it anew to try once more"


class JobRunner:
    """Runs jobs while it is open. wake: call it when a job was written down, so that it need not wait."""

    def __init__(self, database: Database, launch: Launch) -> None:
        self._jobs = ServerJobs(database)
        self._launch = launch
        self._owner = Owner(socket.gethostname(), f"{os.getpid()}-{secrets.token_hex(8)}", LEASE_S)
        self._stopping = threading.Event()
        self._wakes = {lane: threading.Event() for lane in LANES}
        self._threads = [threading.Thread(target=self._serve, args=(lane,), name=f"jobs-{lane}") for lane in LANES]

    def __enter__(self) -> "JobRunner":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop; what is running is given back, so that the next server goes on with it."""
        self._stopping.set()
        self.wake()
        for thread in self._threads:
            thread.join()

    def wake(self) -> None:
        """Look for jobs now."""
        for event in self._wakes.values():
            event.set()

    def _serve(self, lane: str) -> None:
        forgotten = float("-inf")
        while not self._stopping.is_set():
            try:
                if self._one(lane):
                    continue
                if time.monotonic() - forgotten > FORGET_EVERY_S:
                    forgotten = time.monotonic()
                    self._jobs.forget_old()
            except (LookalikeError, OSError) as error:
                log.warning("jobs of the lane %s wait: %s", lane, error)
            self._wakes[lane].wait(POLL_S)
            self._wakes[lane].clear()

    def _one(self, lane: str) -> bool:
        """Run one job; return False where there is none, or another server of this machine is at it."""
        with held(self._launch.root / f".jobs-{lane}.lock") as mine:
            job = self._jobs.take(kinds_of(lane), self._owner) if mine else None
            if job is None:
                return False
            if job.cancelled:
                self._end(job, Outcome("cancelled"))
            elif job.attempts > MOST_ATTEMPTS:
                self._end(job, Outcome("failed", problem=job_died(_DIED.format(job.attempts - 1))))
            else:
                self._run(job)
            return True

    def _run(self, job: ServerJob) -> None:
        """Run a job to its end, or until this server stops."""
        beaten = time.monotonic()
        with JobProcess(job, self._launch) as process:
            while (outcome := process.outcome(LOOK_S)) is None:
                if self._stopping.is_set():
                    process.end()
                    self._until_written(lambda: self._jobs.release(job.id, self._owner))
                    return
                if self._jobs.asked_to_end(job.id, self._owner):
                    process.end()
                    outcome = Outcome("cancelled")
                    break
                beaten = self._beat(job, process, beaten)
        self._end(job, outcome)

    def _beat(self, job: ServerJob, process: JobProcess, beaten: float) -> float:
        """Say how far a job is, and that it lives, where the last word about it is old; return when that was."""
        now = time.monotonic()
        if now - beaten < TELL_S:
            return beaten
        progress = process.progress()
        if progress is None and now - beaten < BEAT_S:
            return beaten
        try:
            self._jobs.beat(job.id, self._owner, progress)
        except LookalikeError as error:
            log.warning("the progress of job %d was not written: %s", job.id, error)
        return now

    def _end(self, job: ServerJob, outcome: Outcome) -> None:
        log.info("job %d (%s) ended: %s", job.id, job.kind, outcome.state)
        self._until_written(
            lambda: self._jobs.finish(
                job.id, self._owner, outcome.state, result=outcome.result, problem=outcome.problem
            )
        )

    def _until_written(self, write: Callable[[], object]) -> None:
        """Write how a job ended, again and again while the catalogue does not answer: its work is done."""
        for tried in range(1, WRITE_TRIES + 1):
            try:
                write()
            except LookalikeError as error:
                log.warning("the end of a job was not written: %s", error)
                if tried == WRITE_TRIES or self._stopping.wait(WRITE_AGAIN_S):
                    return
            else:
                return
