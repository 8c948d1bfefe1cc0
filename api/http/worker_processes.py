"""Several processes that answer on one socket: `serve --workers N`.

    this process: listens, starts the workers, watches them      answers nothing itself
    worker (worker.py): the whole server, on the same socket     maps the same index files into its memory

The system gives each new connection to a worker that is free, and a worker takes none before everything is loaded. One
that ends by itself, or is killed, is started anew; when that happens again and again, the server ends and says so,
instead of keeping the machine busy. Each has its share of the cores. A worker's standard input stays open as long as
this process lives: when it ends, so does the worker, after the requests it is at.
"""

import json
import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from indexer.devices import CORES_VARIABLE, usable_cores
from search.errors import LookalikeError

log = logging.getLogger(__name__)

BOOT: Final = (
    "import json, sys; start = json.loads(sys.argv[1]); sys.path[:] = start.pop('path');"
    "\nfrom api.loading import for_good\nwith for_good(): from api.http.worker import be_worker\nbe_worker(start)"
)
STARTED: Final = b"started\n"
LOOK_S: Final = 0.5
MOST_DEATHS: Final = 5  # within the next; more are not a mishap
DEATHS_WITHIN_S: Final = 60.0
GRACE_S: Final = 5.0  # beyond the time that requests have to finish


class Workers:
    """The workers of a server. start: what each is told, as JSON. ready: called once, when all have started."""

    def __init__(self, count: int, start: Mapping[str, Any], listening: socket.socket) -> None:
        self._count = count
        self._start = start
        self._listening = listening
        self._living: set[_Worker] = set()
        self._deaths = deque[float](maxlen=MOST_DEATHS)
        self._signal: int | None = None

    def run(self, ready: Callable[[], None], shutdown_s: float) -> None:
        """Keep the workers at work until SIGTERM or SIGINT. shutdown_s: that requests have to finish then.

        Raises:
            KeyboardInterrupt: SIGINT ended it.
            LookalikeError: the workers die again and again.
        """
        with self._signals():
            try:
                self._living = {self._started(number) for number in range(self._count)}
                told = False
                while self._signal is None:
                    self._look()
                    if not told and all(worker.has_started for worker in self._living):
                        told = True
                        ready()
            finally:
                self._end_all(shutdown_s + GRACE_S)
        if self._signal == signal.SIGINT:
            raise KeyboardInterrupt

    def _started(self, number: int) -> "_Worker":
        return _Worker({**self._start, "number": number}, self._listening, max(1, usable_cores() // self._count))

    def _look(self) -> None:
        """Hear what the workers say, and start anew those that have ended."""
        with selectors.DefaultSelector() as selector:
            for worker in self._living:
                selector.register(worker.said, selectors.EVENT_READ, worker)
            for key, _ in selector.select(LOOK_S):
                worker = key.data
                if not worker.hear() and self._signal is None:
                    self._replace(worker)

    def _replace(self, worker: "_Worker") -> None:
        how = worker.end(0.0)
        self._living.discard(worker)
        log.warning("worker process %d %s", worker.pid, how)
        self._deaths.append(time.monotonic())
        if len(self._deaths) == MOST_DEATHS and self._deaths[-1] - self._deaths[0] < DEATHS_WITHIN_S:
            raise LookalikeError(
                f"{MOST_DEATHS} worker processes ended within {DEATHS_WITHIN_S:g} seconds, the last one {how}; "
                "what they said is above; serve without --workers shows more"
            )
        self._living.add(self._started(worker.number))

    def _end_all(self, within_s: float) -> None:
        for worker in self._living:
            worker.ask_to_end()
        ends = time.monotonic() + within_s
        for worker in self._living:
            how = worker.end(max(0.0, ends - time.monotonic()))
            if worker.has_crashed:
                log.warning("worker process %d was asked to end and %s", worker.pid, how)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        def note(number: int, _frame: FrameType | None) -> None:
            self._signal = number

        before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


class _Worker:
    """One worker. said: what it writes. number: of its place among the others, from 0."""

    def __init__(self, start: Mapping[str, Any], listening: socket.socket, cores: int) -> None:
        path = [str(Path(entry).absolute()) for entry in sys.path]
        self.number: int = start["number"]
        given = {**start, "socket": listening.fileno(), "path": path}
        self._process = subprocess.Popen(
            [sys.executable, "-c", BOOT, json.dumps(given)],
            pass_fds=[listening.fileno()],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={"OMP_NUM_THREADS": str(cores), CORES_VARIABLE: str(cores), **os.environ},
            # Ctrl-C is this process's to judge: it asks each worker once.
            start_new_session=True,
        )
        assert self._process.stdout is not None  # noqa: S101 -- it is a pipe
        self.said = self._process.stdout
        self.pid = self._process.pid
        self.has_started = False

    def hear(self) -> bool:
        """Take what the worker says; return False when it has ended."""
        word = os.read(self.said.fileno(), len(STARTED))
        self.has_started = self.has_started or word == STARTED
        return bool(word)

    def ask_to_end(self) -> None:
        """Ask it to finish the requests it is at, and to end."""
        self._process.terminate()

    @property
    def has_crashed(self) -> bool:
        """Whether it has ended in another way than one that is asked to: before it serves, by the signal itself."""
        return self._process.returncode not in (0, -signal.SIGTERM)

    def end(self, within_s: float) -> str:
        """Wait for its end, then make it end; return how it ended, for people."""
        try:
            code = self._process.wait(within_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        return f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
