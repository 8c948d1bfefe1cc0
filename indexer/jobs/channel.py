"""Bounded queues between threads, and the threads that work between them.

A channel ends when all its producers have ended; an error in any stage reaches the last consumer, and nothing blocks
afterwards.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


_waiting = threading.local()


def waited_s() -> float:
    """Return how long this thread has waited so far for room in a channel: time that is no work."""
    return getattr(_waiting, "seconds", 0.0)


class Aborted(Exception):
    """The channel was aborted while this thread waited; the thread just ends."""


class Channel(Generic[T]):
    """A bounded first-in first-out queue with an end and with abort. Thread-safe.

    weigh: the bytes an item keeps in memory; there is room only while all items weigh less than max_bytes.
    """

    def __init__(
        self, size: int, producers: int, *, weigh: Callable[[T], int] | None = None, max_bytes: int = 0
    ) -> None:
        self._items: deque[T] = deque()
        self._size = size
        self._weigh = weigh
        self._max_bytes = max_bytes
        self._bytes = 0
        self._producers = producers
        self._error: BaseException | None = None
        lock = threading.Lock()
        # Two conditions, so that an item wakes one consumer and a gap one producer, not everybody.
        self._room, self._news = threading.Condition(lock), threading.Condition(lock)

    def put(self, item: T) -> None:
        """Add an item, waiting while the channel is full.

        Raises:
            Aborted: the channel was aborted.
        """
        with self._room:
            began = time.perf_counter()
            self._room.wait_for(lambda: self._error is not None or self._has_room())
            _waiting.seconds = waited_s() + time.perf_counter() - began
            if self._error is not None:
                raise Aborted
            self._items.append(item)
            self._bytes += self._weigh(item) if self._weigh is not None else 0
            self._news.notify()

    def get(self, timeout_s: float | None = None) -> T | None:
        """Return the next item, or None when none came in time or the channel has ended (see `ended`).

        Raises:
            BaseException: the error the channel was aborted with.
        """
        with self._news:
            self._news.wait_for(lambda: self._error is not None or self._items or self._producers == 0, timeout_s)
            if self._error is not None:
                raise self._error
            if not self._items:
                return None
            item = self._items.popleft()
            self._bytes -= self._weigh(item) if self._weigh is not None else 0
            self._room.notify()
            return item

    def _has_room(self) -> bool:
        return len(self._items) < self._size and (self._weigh is None or self._bytes < self._max_bytes)

    @property
    def ended(self) -> bool:
        """Whether every producer has ended and every item was taken."""
        with self._news:
            return self._producers == 0 and not self._items

    def producer_ended(self) -> None:
        """Say that one producer will put nothing more."""
        with self._news:
            self._producers -= 1
            self._news.notify_all()

    def abort(self, error: BaseException) -> None:
        """Wake everybody; the first error given is the one consumers see."""
        with self._news:
            self._error = self._error or error
            self._news.notify_all()
            self._room.notify_all()

    def __iter__(self) -> Iterator[T]:
        """Yield items until the channel ends; None is no item."""
        while (item := self.get()) is not None:
            yield item


class Stage(Generic[In, Out]):
    """Threads that turn the items of one channel (or iterator) into calls of a function.

    The function sends its results on itself, since it may feed more than one channel.
    """

    def __init__(
        self, work: Callable[[In], None], inputs: Iterable[In], outputs: list[Channel[Out]], *, threads: int
    ) -> None:
        self._work = work
        self._inputs = inputs
        self._outputs = outputs
        self._busy = [0.0] * threads
        self._threads = [threading.Thread(target=self._run, args=(number,), daemon=True) for number in range(threads)]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """Wait for the threads to end."""
        for thread in self._threads:
            thread.join()

    @property
    def busy_share(self) -> float:
        """Seconds of work per thread so far."""
        return sum(self._busy) / len(self._busy)

    def _run(self, number: int) -> None:
        try:
            for item in self._inputs:
                began = time.perf_counter() - waited_s()
                self._work(item)
                self._busy[number] += time.perf_counter() - waited_s() - began
        except Aborted:
            pass
        except BaseException as error:  # noqa: BLE001 -- it is raised again in the thread that waits for results
            for channel in self._outputs:
                channel.abort(error)
        finally:
            for channel in self._outputs:
                channel.producer_ended()
