"""Requests in number, cheaply enough to share two cores with the server they measure: raw sockets, kept open.

`closed_loop`: so many connections, each sending its next request when it has the answer to the last: what a server can
do at most. `open_loop`: requests arrive at random moments at a given rate, whatever becomes of the others, as those of
many strangers do; latencies count from the moment a request was due, so that a server that stalls is charged for
everybody who waited meanwhile (no coordinated omission). A request that finds no free connection opens one.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, TypeVar

import numpy as np
import uvloop

T = TypeVar("T")
OK = 200
BUSY = (429, 503)
GRACE_S = 30.0  # for answers to what was sent last
CLOSING_S = 0.05
YIELD_EVERY = 64  # requests
EDGE = "----------------------------lookalike"  # between the parts of a form
COMPLETE = b"\r\n\r\n"


@dataclass
class Load:
    """What came back. latencies: seconds of each answer, by status; lost: connections that ended without an answer.

    unexplained: answers of 429 and 503 that do not say when to come again. late: seconds that the generator itself was
    behind when it sent each, which the latencies contain.
    """

    seconds: float = 0.0
    latencies: dict[int, list[float]] = field(default_factory=dict)
    lost: int = 0
    unexplained: int = 0
    late: list[float] = field(default_factory=list)

    def add(self, status: int, seconds: float, head: bytes) -> None:
        self.latencies.setdefault(status, []).append(seconds)
        if status in BUSY and b"\r\nretry-after:" not in head.lower():
            self.unexplained += 1

    @property
    def good(self) -> list[float]:
        return self.latencies.get(OK, [])

    @property
    def rate(self) -> float:
        """Good answers a second."""
        return len(self.good) / self.seconds

    @property
    def statuses(self) -> Counter[int]:
        return Counter({status: len(times) for status, times in self.latencies.items()})

    @property
    def late_ms(self) -> float:
        """How far the generator was behind, 99th percentile."""
        return 1000 * float(np.quantile(self.late, 0.99)) if self.late else 0.0

    def milliseconds(self, quantile: float, statuses: Sequence[int] = (OK,)) -> float:
        times = [one for status in statuses for one in self.latencies.get(status, [])]
        return 1000 * float(np.quantile(times, quantile)) if times else float("nan")


class _Connection(asyncio.Protocol):
    """One connection, one request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes] | None] | None = None
        self._transport: asyncio.Transport | None = None
        self.open = True

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, bytes] | None]":
        """Send a request; the future gives status and head of the answer, None when the connection ended before."""
        self._answer = asyncio.get_running_loop().create_future()
        if self.open and self._transport is not None:
            self._transport.write(request)
        else:
            self._answer.set_result(None)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(COMPLETE)
        if end < 0:
            return
        head = bytes(self._received[:end])
        low = head.lower()
        place = low.find(b"\r\ncontent-length:")
        length = int(low[place + 17 :].split(b"\r\n", 1)[0])
        if len(self._received) < end + 4 + length:
            return
        self._received.clear()
        if b"\r\nconnection: close" in low:
            self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((int(head[9:12]), head))

    def connection_lost(self, _error: Exception | None) -> None:
        self.open = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def request_bytes(path: str, body: bytes, kind: str, method: str = "POST") -> bytes:
    """Return a request as it goes over the wire."""
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def picture_request(path: str, data: bytes, **fields: str) -> bytes:
    """Return an upload of a picture in the form field `image`, with other fields."""
    about = {f'name="{name}"': value.encode() for name, value in fields.items()}
    about['name="image"; filename="query.jpg"\r\nContent-Type: image/jpeg'] = data
    parts = [
        f"--{EDGE}\r\nContent-Disposition: form-data; {name}\r\n\r\n".encode() + value + b"\r\n"
        for name, value in about.items()
    ]
    body = b"".join([*parts, f"--{EDGE}--\r\n".encode()])
    return request_bytes(path, body, f"multipart/form-data; boundary={EDGE}")


def closed_loop(place: tuple[str, int], requests: Sequence[bytes], connections: int, seconds: float) -> Load:
    """Return what so many connections got that each send a request as soon as they have the last answer."""
    return _run(_closed(place, cycle(requests), connections, seconds))


def open_loop(place: tuple[str, int], requests: Sequence[bytes], rate: float, seconds: float, most: int = 500) -> Load:
    """Return what requests got that came at random moments, `rate` a second. most: connections at a time."""
    return _run(_opened(place, cycle(requests), _arrivals(rate, seconds), most))


def _run(loading: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_and_closed(loading))


async def _and_closed(loading: Coroutine[Any, Any, T]) -> T:
    """Load, and let what was closed be closed: connections take a turn of the loop for it."""
    load = await loading
    await asyncio.sleep(CLOSING_S)
    return load


def _arrivals(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Return at which seconds requests are due (a Poisson process)."""
    random = np.random.default_rng(seed)
    times = np.cumsum(random.exponential(1 / rate, int(rate * seconds * 1.5) + 100))
    return [float(one) for one in times[times < seconds]]


async def _connected(place: tuple[str, int]) -> _Connection:
    _, connection = await asyncio.get_running_loop().create_connection(_Connection, *place)
    return connection


async def _closed(place: tuple[str, int], requests: Iterator[bytes], connections: int, seconds: float) -> Load:
    load, began = Load(), time.perf_counter()
    ends = began + seconds

    async def client() -> None:
        connection = await _connected(place)
        while (sent := time.perf_counter()) < ends:
            answer = await connection.ask(next(requests))
            if answer is None:
                load.lost += 1
            elif (now := time.perf_counter()) < ends:
                load.add(answer[0], now - sent, answer[1])
            if not connection.open:
                connection.close()
                connection = await _connected(place)
        connection.close()

    await asyncio.gather(*(client() for _ in range(connections)))
    load.seconds = seconds
    return load


async def _opened(place: tuple[str, int], requests: Iterator[bytes], arrivals: Sequence[float], most: int) -> Load:
    crowd, began = _Crowd(place, requests, most), time.perf_counter()
    for number, arrival in enumerate(arrivals):
        due = began + arrival
        if due > (now := time.perf_counter()):
            await asyncio.sleep(due - now)
        elif number % YIELD_EVERY == 0:
            await asyncio.sleep(0)  # what came meanwhile must be read, however late this is
        crowd.arrive(due)
    crowd.load.seconds = max(arrivals[-1] if arrivals else 0.0, time.perf_counter() - began)
    await crowd.leave()
    return crowd.load


class _Crowd:
    """Strangers who know nothing of each other. most: connections at a time; who finds none waits for one."""

    def __init__(self, place: tuple[str, int], requests: Iterator[bytes], most: int) -> None:
        self.load = Load()
        self._place = place
        self._requests = requests
        self._left = most  # connections that may still be opened
        self._idle = deque[_Connection]()
        self._waiting = deque[float]()
        self._tasks = set[asyncio.Task[None]]()

    def arrive(self, due: float) -> None:
        """Send a request that was due at this moment, or let it wait for a connection."""
        self.load.late.append(max(0.0, time.perf_counter() - due))
        connection = None
        while self._idle and connection is None:
            connection = self._idle.pop()
            if not connection.open:  # the server ends those that nobody has used for a while
                connection.close()
                connection, self._left = None, self._left + 1
        if connection is None and not self._left:
            self._waiting.append(due)
            return
        self._left -= connection is None
        task = asyncio.get_running_loop().create_task(self._ask(connection, due))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, connection: _Connection | None, due: float) -> None:
        """Send a request, then those that found no connection."""
        connection = connection or await _connected(self._place)
        while True:
            answer = await connection.ask(next(self._requests))
            if answer is None:
                self.load.lost += 1
            else:
                self.load.add(answer[0], time.perf_counter() - due, answer[1])
            if not connection.open:
                connection.close()
                connection = await _connected(self._place)
            if not self._waiting:
                self._idle.append(connection)
                return
            due = self._waiting.popleft()

    async def leave(self) -> None:
        """Wait for the last answers, and close everything."""
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=GRACE_S)
            self.load.lost += len(late) + len(self._waiting)
            for task in late:
                task.cancel()
        for connection in self._idle:
            connection.close()
