"""Waiting for a job of a server at the command line: what it is at, and how to leave it."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

from api.client import RunningJob
from api.client.following import Progress
from api.console import ProgressMode, Session, say
from api.shapes.jobs import Job
from api.work_progress import Advance, Unit, work_progress
from search.errors import Interrupted

# Of the stages of jobs (api/jobs): what they count, where it is no images.
UNITS: Final[dict[str, Unit]] = {
    "checked": "bytes",
    "restored": "bytes",
    "building the search index": "rows",
    "compared": "pairs",
}


def waited_for(session: Session, job: RunningJob) -> Job:
    """Return the job when it is done; how far it is is shown meanwhile.

    Raises:
        Interrupted: by Ctrl-C; the job goes on, and the message says how to follow and how to end it.
        RemoteError: it failed, or was cancelled.
    """
    with left_alone(session, job.id), stages(session.progress) as progress:
        return job.wait(progress)


@contextmanager
def left_alone(session: Session, job_id: int | str) -> Iterator[None]:
    """Let Ctrl-C end the wait for a job, and not the job.

    Raises:
        Interrupted: it was pressed.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(
            f"not waited for any longer; job {job_id} goes on at the server: `{session.call} jobs follow {job_id}` "
            f"waits for it, `{session.call} jobs cancel {job_id}` ends it"
        ) from None


@contextmanager
def stages(mode: ProgressMode) -> Iterator[Progress]:
    """Give what shows how far a job is: each of its stages by itself."""
    with ExitStack() as shown:
        yield _Stages(mode, shown).tell


class _Stages:
    def __init__(self, mode: ProgressMode, shown: ExitStack) -> None:
        self._mode = mode
        self._shown = shown
        self._stage: str | None = None
        self._advance: Advance | None = None

    def tell(self, job: Job) -> None:
        now = job.progress
        if job.state == "queued" and self._stage is None and self._mode in ("auto", "plain"):
            self._stage = ""
            say(f"job {job.id} waits for its turn")
        if now is None or job.state != "running":
            return
        if now.stage != self._stage:
            self._shown.close()
            self._stage = now.stage
            self._advance = self._shown.enter_context(
                work_progress(self._mode, now.stage, UNITS.get(now.stage, "images"))
            )
        if self._advance is not None and now.total is not None:
            self._advance(now.done, now.total)
