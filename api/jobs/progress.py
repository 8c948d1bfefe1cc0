"""How far a job of a server is: the stage, what is done of it, and how long the rest may take."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from api.work_progress import Advance, Unit

TELL_EVERY_S: Final = 0.5
SURE_AFTER_S: Final = 1.0  # a stage has run, before anything is said about its rest

Tell = Callable[[Mapping[str, object]], None]


class Meter:
    """Turns what steps of a job report into its `progress`. tell: called with that now and then. Thread-safe enough:
    the last word of two threads counts.
    """

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._stage = ""
        self._began = 0.0
        self._first = 0
        self._told = float("-inf")

    def advance(self, stage: str, done: int, total: int | None) -> None:
        """Note how far a stage is. total: None where nobody knows it."""
        now = time.monotonic()
        if stage != self._stage:
            self._stage, self._began, self._first, self._told = stage, now, done, float("-inf")
        if now - self._told < TELL_EVERY_S and done != total:
            return
        self._told = now
        self._tell({"stage": stage, "done": done, "total": total, "left_s": self._left(now, done, total)})

    @contextmanager
    def bar(self, what: str, _unit: Unit) -> Iterator[Advance]:
        """Give what shows one step, as api/deduplicating.py asks for it."""
        yield lambda done, total: self.advance(what, done, total)

    def _left(self, now: float, done: int, total: int | None) -> float | None:
        passed, gone = now - self._began, done - self._first
        if total is None or gone <= 0 or passed < SURE_AFTER_S:
            return None
        return round(max(total - done, 0) * passed / gone, 1)
