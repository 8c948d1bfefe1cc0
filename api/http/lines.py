"""Who waits for what: a few threads for each kind of work, and a queue of bounded length in front of each.

    request -> Admission (admission.py beside it): is its line full? -> its body -> handler -> Line.run -> a thread

A queue that may grow without end makes everybody wait longer than anybody stays. So a line has places: who finds none
is told at once when to come again (503), and so is a client that holds most of them already (429). A few places are
always there. Many come at once now and then, for whom there is a reserve: each who finds the few taken uses up one of
it, and it fills again while nobody waits. So crowds that come and go are let in, but where more come all the time than
can be answered, the reserve is soon gone, and who is let in waits no longer than usually. Whoever hangs up leaves the
line, and what is being done for them stops at its next step (search/unwanted.py).

A request that is all there takes its place at once where the server can tell (early_refusals.py): `Held` keeps it on
the way to its line, so that those who come meanwhile see it.
"""

import asyncio
import math
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

from starlette.requests import ClientDisconnect, Request

from api.http.places import Places, client_of
from search.unwanted import Unwanted, stop_if_unwanted, while_wanted

T = TypeVar("T")
G = TypeVar("G")
P = ParamSpec("P")

WAITING: Final = 64  # requests in front of each line's threads, with all of the reserve
STANDING: Final = 8  # without it; fewer, where they would wait longer than this, but one for each thread:
STANDING_S: Final = 0.1
RESERVE_S: Final = 0.3  # with the reserve, too: fewer than WAITING, but STANDING in any case
REFILL_S: Final = 1.0  # of nobody waiting, in all, after which the reserve is whole again
HELD: Final = "lookalike.place"  # of a request's scope
WEIGHT: Final = 0.05  # of the newest in the mean time that work takes


class Line(Places):
    """Threads for one kind of work, and the queue before them. abandoned: requests whose clients hung up meanwhile.

    brief: work is over sooner than it could be stopped, so that only those who wait are watched for hanging up.
    """

    def __init__(self, name: str, threads: int, waiting: int = WAITING, *, brief: bool = False) -> None:
        super().__init__(name, threads + waiting, threads)
        self._waiting_most = waiting
        self._reserve = float(waiting)
        self._nobody_waits_since: float | None = time.monotonic()
        self.threads = threads
        self.abandoned = 0
        self.done = 0
        self._brief = brief
        self._mean_s = 0.0
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)

    @property
    def at_work(self) -> int:
        """How many requests are being answered at once, where so many are there."""
        return self.threads

    @property
    def waiting(self) -> int:
        """How many requests wait for a thread."""
        return max(0, self.inside - self.at_work)

    def most(self) -> int:
        """Return how many may be inside: few, and what is left of the reserve."""
        standing = self._standing()
        return self.at_work + min(self._longest(), int(max(self.waiting, standing) + self._reserve))

    def _longest(self) -> int:
        """Return how many may wait with all of the reserve."""
        within = int(min(self._waiting_most, self._answered_within(RESERVE_S)))
        return min(self._waiting_most, max(STANDING, self._standing(), within))

    def _standing(self) -> int:
        """Return how many may wait however long more come than can be answered."""
        return min(self._waiting_most, max(self.threads, int(min(STANDING, self._answered_within(STANDING_S)))))

    def _answered_within(self, seconds: float) -> float:
        return self.threads * seconds / self._mean_s if self._mean_s else math.inf

    def enter(self, client: str) -> None:
        """Let a request in (`Places.enter`)."""
        super().enter(client)
        standing, whole = self._standing(), self._longest() - self._standing()
        if self._nobody_waits_since is not None:
            now = time.monotonic()
            self._reserve += (now - self._nobody_waits_since) * self._waiting_most / REFILL_S
            self._nobody_waits_since = None if self.waiting else now
        self._reserve = max(0.0, min(whole, self._reserve) - (self.waiting > standing))

    def leave(self, client: str) -> None:
        """Let a request out."""
        super().leave(client)
        if not self.waiting and self._nobody_waits_since is None:
            self._nobody_waits_since = time.monotonic()

    def retry_after_s(self) -> int:
        """Return how long the whole line takes, in seconds, 1 or more."""
        return max(1, math.ceil(self.inside * self._mean_s / self.threads))

    def _let_in(self, request: Request) -> str:
        """Let a request in, to the place that it holds where it does; return its client.

        Raises:
            Busy: there is no place for it.
        """
        client = client_of(request.scope)
        held: Held | None = request.scope.get(HELD)
        if held is None or not held.handed_over(self):
            self.enter(client)
        return client

    async def run(self, request: Request, work: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
        """Return what some work gives, done in a thread of this line while its client waits for it.

        Raises:
            Busy: the line is full, or full of this client's requests.
            ClientDisconnect: the client hung up.
        """
        client, over = self._let_in(request), threading.Event()
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


class IngestLine(Line):
    """Pictures that are to be taken in. A request has one place for all that it brings; its pictures take turns with
    those of others, and go on when its client hangs up: what was sent is kept.
    """

    def __init__(self, name: str, at_once: int, waiting: int = WAITING) -> None:
        super().__init__(name, at_once, waiting)
        self._turns = asyncio.Semaphore(at_once)

    @contextmanager
    def place(self, request: Request) -> Iterator[None]:
        """Give a request its place until the end of the block.

        Raises:
            Busy: the line is full, or full of this client's requests.
        """
        client = self._let_in(request)
        try:
            yield
        finally:
            self.leave(client)
            self.done += 1

    async def take(self, fetch: Callable[[], Awaitable[G]], work: Callable[[G], T]) -> T:
        """Return what some work makes of a picture, in a thread of this line, when it is the picture's turn.

        fetch: gets the picture, perhaps from elsewhere; called when it is its turn.
        """
        async with self._turns:
            got = await fetch()
            over = threading.Event()
            return await asyncio.wrap_future(self._threads.submit(self._timed, over, partial(work, got)))


class Held:
    """A place in a line, on the way there: taken when its request is all there, given back when that is over."""

    def __init__(self, line: Line, client: str) -> None:
        self._line = line
        self._client = client
        self._is_taken = False
        self._is_over = False

    def take(self) -> None:
        """Take the place, if there is one still: a body may have been long on its way."""
        if not self._is_over and self._line.refusal(self._client) is None:
            self._line.enter(self._client)
            self._is_taken = True

    def handed_over(self, line: Line) -> bool:
        """Tell whether the caller has the place now; that in another line is given back."""
        if self._is_taken and self._line is line:
            self._is_taken = False
            return True
        self.give_back()
        return False

    def give_back(self) -> None:
        """Let somebody else have it, unless it was handed over."""
        self._is_over = True
        if self._is_taken:
            self._is_taken = False
            self._line.leave(self._client)


async def _hung_up(request: Request) -> None:
    """Return when the client has hung up; its body has been read."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
