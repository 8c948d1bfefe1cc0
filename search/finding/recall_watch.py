"""The recall that live searches actually have: now and then one of them is compared with an exact search.

In a thread beside them, for at most one hundredth of the time, so that large collections are checked as rarely as their
exact search is slow. Collections whose index is exact need no watching. A search for fewer than 10 images says nothing
about the 10 nearest, and is left out. One with a condition is compared with all images that fulfil it when it is
checked, a moment after it was answered: what changed its metadata meanwhile may count as a miss.
"""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from queue import Queue
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.errors import LookalikeError
from search.finding.ranked import Ranked
from search.finding.region_search import Searched
from search.finding.snapshot import BLOCK_ROWS
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
    snapshot: Searched
    query: Embeddings
    ranked: Ranked
    matching: Callable[[], NDArray[np.int64]] | None


class RecallWatch:
    """Takes note of searches, and checks some. Thread-safe."""

    def __init__(self, share_of_time: float = SHARE_OF_TIME) -> None:
        self._share = share_of_time
        self._waiting: Queue[_Search] = Queue()
        self._found: defaultdict[str, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))
        self._checks: defaultdict[str, int] = defaultdict(int)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._busy = False
        self._next = 0.0

    def observe(
        self,
        snapshot: Searched,
        query: Embeddings,
        ranked: Ranked,
        k: int = DEPTH,
        matching: Callable[[], NDArray[np.int64]] | None = None,
    ) -> None:
        """Hand in a search for k images and its answer; returns at once, and mostly does nothing.

        matching: of a search with a condition, names the images that fulfil it: ids (N,) int64, ascending.
        """
        if k < DEPTH or snapshot.is_exact:
            return
        with self._lock:
            if self._busy or time.monotonic() < self._next:
                return
            if self._thread is None:
                thread = threading.Thread(target=self._work, name="recall", daemon=True)
                thread.start()
                self._thread = thread
            self._busy = True
        self._waiting.put(_Search(snapshot, query, ranked, matching))

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
            self._check_next()

    def _check_next(self) -> None:
        """Check one search. It is forgotten with the end of this method, and the files that it holds open with it."""
        search = self._waiting.get()
        began = time.monotonic()
        try:
            self._check(search)
        except LookalikeError as error:  # a damaged segment, which the search itself will tell
            log.warning("recall could not be checked: %s", error)
        except Exception:  # nobody else would hear of it, and the next search can be checked all the same
            log.exception("recall could not be checked")
        finally:
            with self._lock:
                self._next = time.monotonic() + (time.monotonic() - began) * (1 / self._share - 1)
                self._busy = False
            self._waiting.task_done()

    def _check(self, search: _Search) -> None:
        true = _true_scores(search)
        if not len(true):
            return
        found = search.ranked.scores[:DEPTH]
        hits = min(len(true), int((found >= true[-1] - SAME_SCORE).sum()))
        name = search.snapshot.collection.name
        with self._lock:
            self._found[name].append(hits / len(true))
            self._checks[name] += 1


def _true_scores(search: _Search) -> NDArray[np.float32]:
    """Return the scores of the 10 nearest images, best first; of fewer where no more can be found."""
    if search.matching is None:
        return search.snapshot.exact_search(search.query, DEPTH).scores
    ids = search.matching()
    best = np.empty(0, np.float32)
    for start in range(0, len(ids), BLOCK_ROWS):
        part = search.snapshot.rank(search.query, DEPTH, ids[start : start + BLOCK_ROWS])
        best = np.sort(np.concatenate([best, part.scores]))[::-1][:DEPTH]
    return best
