"""The recall that live searches actually have: now and then one of them is compared with an exact search.

In a thread beside them, for at most one hundredth of the time, so that large collections are checked as rarely as their
exact search is slow. Collections whose index is exact need no watching.
"""

import logging
import queue
import threading
import time
from collections import defaultdict, deque
from dataclasses import dataclass
from typing import Final

import numpy as np

from search.errors import LookalikeError
from search.finding.snapshot import Ranked, Snapshot
from search.records import Embeddings

log = logging.getLogger(__name__)

SHARE_OF_TIME: Final = 0.01
REMEMBERED: Final = 500  # the newest checks, over which recall is taken
SAME_SCORE: Final = 1e-6
DEPTH: Final = 10  # recall@10, as the index is tuned


@dataclass(frozen=True, slots=True)
class ObservedRecall:
    """What the checks of one collection found. recall: of the 10 nearest, 0 to 1, over the newest checks."""

    collection: str
    recall: float
    checks: int


@dataclass(frozen=True, slots=True)
class _Search:
    snapshot: Snapshot
    query: Embeddings
    ranked: Ranked


class RecallWatch:
    """Takes note of searches, and checks some. Thread-safe."""

    def __init__(self, share_of_time: float = SHARE_OF_TIME) -> None:
        self._share = share_of_time
        self._waiting: queue.Queue[_Search] = queue.Queue(maxsize=1)
        self._found: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._checks: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._next = 0.0

    def observe(self, snapshot: Snapshot, query: Embeddings, ranked: Ranked) -> None:
        """Hand in a search and its answer; returns at once, and mostly does nothing."""
        if snapshot.is_exact or time.monotonic() < self._next:
            return
        try:
            self._waiting.put_nowait(_Search(snapshot, query, ranked))
        except queue.Full:
            return
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="recall", daemon=True)
                self._thread.start()

    def observed(self) -> list[ObservedRecall]:
        """Return what was found so far, by collection."""
        with self._lock:
            found = sorted(self._found.items())
            return [ObservedRecall(name, float(np.mean(hits)), self._checks[name]) for name, hits in found]

    def settle(self) -> None:
        """Wait until what was handed in is checked."""
        self._waiting.join()

    def _work(self) -> None:
        while True:
            search = self._waiting.get()
            began = time.monotonic()
            try:
                self._check(search)
            except LookalikeError as error:  # a damaged segment, which the search itself will tell
                log.warning("recall could not be checked: %s", error)
            finally:
                self._next = time.monotonic() + (time.monotonic() - began) * (1 / self._share - 1)
                self._waiting.task_done()

    def _check(self, search: _Search) -> None:
        depth = min(DEPTH, len(search.ranked.ids))
        true = search.snapshot.exact_search(search.query, depth)
        if not len(true.scores):
            return
        hits = int((search.ranked.scores[:depth] >= true.scores[-1] - SAME_SCORE).sum())
        name = search.snapshot.collection.name
        with self._lock:
            self._found[name].append(hits / len(true.scores))
            self._checks[name] += 1
