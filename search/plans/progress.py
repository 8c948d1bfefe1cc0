"""How far a job is, counted in bytes."""

from collections.abc import Callable

Progress = Callable[[int, int], None]


class Count:
    """Adds up what was done, for a progress."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def add(self, amount: int) -> None:
        """Count something done."""
        self._done += amount
        self._progress(min(self._done, self._total), self._total)
