"""Progress over pictures a user named: a bar on a terminal, lines otherwise, JSON lines on request, or nothing."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from json import dumps

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from api.console import ProgressMode, say

LINE_EVERY_S = 5.0

Advance = Callable[[int, int], None]


@contextmanager
def picture_progress(mode: ProgressMode, total: int) -> Iterator[Advance]:
    """Give a function to call with the pictures done and failed so far; a single picture needs no bar."""
    if mode == "none" or (mode == "auto" and total == 1):
        yield lambda _done, _failed: None
    elif mode == "auto" and sys.stderr.isatty():
        with _bar() as bar:
            task = bar.add_task("", total=total, failed="")
            yield lambda done, failed: bar.update(
                task, completed=done, failed=f"[red]{failed} failed[/]" if failed else ""
            )
    else:
        yield _Lines(total, as_json=mode == "json").advance


class _Lines:
    """A line every few seconds, for logs."""

    def __init__(self, total: int, *, as_json: bool) -> None:
        self._total = total
        self._as_json = as_json
        self._began = self._last = time.monotonic()

    def advance(self, done: int, failed: int) -> None:
        """Print a line when the last one is old enough."""
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        rate = done / (now - self._began)
        if self._as_json:
            event = {"event": "progress", "total": self._total, "done": done, "failed": failed}
            say(dumps(event | {"images_per_second": rate}))
        else:
            say(f"{done} of {self._total} pictures, {failed} failed, {rate:.1f} images/s")


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=Console(stderr=True),
        transient=True,
    )
