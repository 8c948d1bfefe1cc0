"""The server's end of the process that runs a job (api/jobs/child.py)."""

import json
import logging
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from search.records import JobState
from search.storing.server_jobs import ServerJob

log = logging.getLogger(__name__)

GRACE_S: Final = 10.0  # between asking for an end and making one
# Until there is something to end in order, SIGINT just ends it.
_BOOT: Final = (
    "import json, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); sys.path[:] = json.loads(sys.argv[1]);"
    "\nfrom api.loading import for_good\nwith for_good(): from api.jobs.child import be_child\nbe_child()"
)


@dataclass(frozen=True, slots=True)
class Launch:
    """With what jobs are run. root: the store's folder. The others: as of `serve`."""

    root: Path
    device: str = "auto"
    weights: Path | None = None
    roots: tuple[Path, ...] = ()
    allow_url: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended. problem: as of RFC 9457."""

    state: JobState
    result: Mapping[str, Any] | None = None
    problem: Mapping[str, Any] | None = None


class JobProcess:
    """A process that runs a job; nothing of it is left after the `with`."""

    def __init__(self, job: ServerJob, launch: Launch) -> None:
        """Raises:
        OSError: the system starts no process.
        """
        path = [str(Path(__file__).resolve().parents[2]), *(str(Path(entry).absolute()) for entry in sys.path)]
        self._process = subprocess.Popen(
            [sys.executable, "-c", _BOOT, json.dumps(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C at the server's terminal is the server's to handle
        )
        self._start = {
            "root": str(launch.root),
            "job_id": job.id,
            "kind": job.kind,
            "collection": job.collection,
            "request": job.request,
            "device": launch.device,
            "weights": None if launch.weights is None else str(launch.weights),
            "roots": [str(one) for one in launch.roots],
            "allow_url": launch.allow_url,
        }
        self._progress: Mapping[str, Any] | None = None
        self._last: Mapping[str, Any] = {}
        self._listening = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> "JobProcess":
        assert self._process.stdin is not None  # noqa: S101 -- it was asked for
        try:
            self._process.stdin.write(f"{json.dumps(self._start)}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # it died at once: `outcome` says so
        self._listening.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._listening.join()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        return self._process.pid

    def progress(self) -> Mapping[str, Any] | None:
        """Return how far the job is, None where it has said nothing new."""
        told, self._progress = self._progress, None
        return told

    def outcome(self, timeout_s: float) -> Outcome | None:
        """Return how the job ended, None while it runs; waits so long for its end."""
        self._listening.join(timeout_s)
        if self._listening.is_alive():
            return None
        code = self._process.wait()
        if "problem" in self._last:
            return Outcome("failed", self._last["result"], self._last["problem"])
        if "result" in self._last:
            return Outcome("done", self._last["result"])
        return Outcome(
            "failed", problem=job_died(f"its process ended with {_cause(code)}; the server's log may say why")
        )

    def end(self) -> None:
        """Ask for the end of the job, and make one where that takes long."""
        self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(GRACE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()

    def _listen(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 -- it was asked for
        for line in self._process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                continue  # the rest of a line that a killed process began
            if "progress" in message:
                self._progress = message["progress"]
            else:
                self._last = message


def job_died(why: str) -> dict[str, object]:
    """Return the problem of a job that ended without a word of its own."""
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    kind = "urn:lookalike:problem:JobDied"
    return {"type": kind, "title": status.phrase, "status": status.value, "detail": f"the job did not end: {why}"}


def _cause(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"
