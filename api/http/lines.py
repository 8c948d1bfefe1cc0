"""Who waits for what: a few threads for each kind of work, and a queue of bounded length in front of each.

    request -> Admission (admission.py beside it): is its line full? -> its body -> handler -> Line.run -> a thread

A queue that may grow without end makes everybody wait longer than anybody stays. So a line has places: who finds none
is told at once when to come again (503), and so is a client that holds most of them already (429). Many come at once
now and then, so there are many places; but where somebody has been waiting without a break for PATIENCE_S, more come
than can be answered, and waiting longer helps nobody: there are few places then, until nobody waits any more. Whoever
hangs up leaves the line, and what is being done for them stops at its next step (search/unwanted.py).
"""

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Any, Final, ParamSpec, TypeVar

from starlette.requests import ClientDisconnect, Request
from starlette.types import Scope

from indexer.devices import usable_cores
from search.unwanted import Unwanted, stop_if_unwanted, while_wanted

T = TypeVar("T")
P = ParamSpec("P")

WAITING: Final = 64  # requests in front of each line's threads
STANDING: Final = 16  # where somebody has waited for so long:
PATIENCE_S: Final = 1.0
SHARE: Final = 0.75  # of a line's places, for one client
WEIGHT: Final = 0.05  # of the newest in the mean time that work takes


class Busy(Exception):  # noqa: N818 -- an answer to a request, not a defect
    """A request cannot be taken now. status: 429 where it is its client's doing, else 503."""

    def __init__(self, status: HTTPStatus, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after_s = retry_after_s


def client_of(scope: Scope) -> str:
    """Return by what requests of one client are known: its key, else its address."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return str(hash(value))  # within this process; the key itself stays where it came
    client = scope.get("client")
    return client[0] if client else ""


class Places:
    """How many may be inside at once, and how many of them one client's. Of the event loop's thread alone."""

    def __init__(self, name: str, most: int, least_of_one: int = 1) -> None:
        self.name = name
        self._most = most
        self._least_of_one = least_of_one
        self.inside = 0
        self._of = Counter[str]()
        self.refused = Counter[int]()

    def most(self) -> int:
        """Return how many may be inside right now."""
        return self._most

    def refusal(self, client: str) -> Busy | None:
        """Return why a client's next request is not let in, None where it is."""
        most = self.most()
        if self._of[client] >= max(self._least_of_one, math.floor(SHARE * most)):
            return self._busy(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"you have {self._of[client]} requests here that are not answered yet, which is as many as one client "
                "may have; wait for answers, then send more",
            )
        if self.inside >= most:
            return self._busy(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.inside} requests of this kind are being answered or wait already; try again in a moment",
            )
        return None

    def enter(self, client: str) -> None:
        """Let a request in.

        Raises:
            Busy: there is no place for it.
        """
        refused = self.refusal(client)
        if refused is not None:
            raise refused
        self.inside += 1
        self._of[client] += 1

    def leave(self, client: str) -> None:
        """Let a request out."""
        self.inside -= 1
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]

    def retry_after_s(self) -> int:
        """Return after how many seconds there may be a place."""
        return 1

    def _busy(self, status: HTTPStatus, detail: str) -> Busy:
        self.refused[status] += 1
        return Busy(status, detail, self.retry_after_s())


class Line(Places):
    """Threads for one kind of work, and the queue before them. abandoned: requests whose clients hung up meanwhile.

    brief: work is over sooner than it could be stopped, so that only those who wait are watched for hanging up.
    """

    def __init__(self, name: str, threads: int, waiting: int = WAITING, *, brief: bool = False) -> None:
        super().__init__(name, threads + waiting, threads)
        self._few = threads + min(waiting, STANDING)
        self._waits_since: float | None = None
        self.threads = threads
        self.abandoned = 0
        self.done = 0
        self._brief = brief
        self._mean_s = 0.0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    @property
    def waiting(self) -> int:
        """How many requests wait for a thread."""
        return max(0, self.inside - self.threads)

    def most(self) -> int:
        """Return how many may be inside: few, where somebody has been waiting for too long."""
        since = self._waits_since
        return self._most if since is None or time.monotonic() - since < PATIENCE_S else self._few

    def enter(self, client: str) -> None:
        """Let a request in (`Places.enter`)."""
        super().enter(client)
        if self.waiting and self._waits_since is None:
            self._waits_since = time.monotonic()

    def leave(self, client: str) -> None:
        """Let a request out."""
        super().leave(client)
        if not self.waiting:
            self._waits_since = None

    def retry_after_s(self) -> int:
        """Return how long the whole line takes, in seconds, 1 or more."""
        return max(1, math.ceil(self.inside * self._mean_s / self.threads))

    async def run(self, request: Request, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Return what some work gives, done in a thread of this line while its client waits for it.

        Raises:
            Busy: the line is full, or full of this client's requests.
            ClientDisconnect: the client hung up.
        """
        client, over = client_of(request.scope), threading.Event()
        self.enter(client)
        future = self._threads.submit(self._timed, over, partial(work, *given, **named))
        running = asyncio.wrap_future(future)
        running.add_done_callback(partial(self._left, client))
        if self._brief and not self.waiting:
            return await running
        return await self._unless_hung_up(request, running, future, over)

    async def _unless_hung_up(
        self, request: Request, running: "asyncio.Future[T]", future: "Future[T]", over: threading.Event
    ) -> T:
        watching = asyncio.ensure_future(_hung_up(request))
        first: set[asyncio.Future[Any]] = {running, watching}
        try:
            await asyncio.wait(first, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                return running.result()
        except Unwanted:
            pass
        finally:
            over.set()  # also where the server ends: nothing more is begun
            watching.cancel()
        future.cancel()  # where it still waits; what runs stops at its next step, and keeps its place until then
        self.abandoned += 1
        raise ClientDisconnect

    def _timed(self, over: threading.Event, work: Callable[[], T]) -> T:
        began = time.perf_counter()
        with while_wanted(lambda: not over.is_set()):
            stop_if_unwanted()
            answer = work()
        self._mean_s += WEIGHT * (time.perf_counter() - began - self._mean_s)
        return answer

    def _left(self, client: str, running: "asyncio.Future[T]") -> None:
        self.leave(client)
        self.done += 1
        if not running.cancelled():
            running.exception()  # looked at: perhaps nobody else does

    def close(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def _hung_up(request: Request) -> None:
    """Return when the client has hung up; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a server. finds: searches by what is stored, without a condition. pictures: what must be decoded and
    embedded first, and conditions, which may take long.

    looks: what looks at the pixels of many images, and takes seconds.
    """

    finds: Line
    pictures: Line
    looks: Line

    @classmethod
    def for_cores(cls, cores: int | None = None, waiting: int = WAITING) -> "Lines":
        """Return the lines of a process that has so many cores, None for all it can use."""
        cores = cores or usable_cores()
        return cls(
            # One: it is busy with Python, of which one thread runs at a time, and a second would only keep the loop
            # that reads and answers from its turn. More cores are for more processes.
            Line("finds", 1, waiting, brief=True),
            # One for each core, and as many whose picture is being decoded meanwhile.
            Line("pictures", 2 * cores, waiting),
            Line("looks", max(1, cores // 2), waiting),
        )

    def all(self) -> tuple[Line, ...]:
        """Return all lines."""
        return self.finds, self.pictures, self.looks

    def close(self) -> None:
        """Begin nothing more."""
        for line in self.all():
            line.close()
