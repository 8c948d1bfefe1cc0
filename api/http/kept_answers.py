"""What the server counted for a state of a collection, the newest few kept: counting takes a pass over all images."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from search.records import Collection

T = TypeVar("T")
KEPT = 32


class KeptAnswers(Generic[T]):
    """Counts when a collection has changed, one count at a time, and remembers. Thread-safe."""

    def __init__(self, kept: int = KEPT) -> None:
        self._most = kept
        self._kept: OrderedDict[tuple[int, int, int, Hashable], T] = OrderedDict()
        self._lock = threading.Lock()
        self._counting = threading.Lock()

    def get(self, target: Collection, question: Hashable, count: Callable[[], T]) -> T:
        """Return the answer to a question about a collection as it is now; count: finds it out."""
        name = (target.id, target.sequence, target.label_space_id, question)
        with self._lock:
            if name in self._kept:
                self._kept.move_to_end(name)
                return self._kept[name]
        with self._counting:
            with self._lock:
                if name in self._kept:  # somebody else counted it meanwhile
                    return self._kept[name]
            found = count()
        with self._lock:
            self._kept[name] = found
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
        return found
