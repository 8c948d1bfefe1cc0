"""Progress of long work whose total is known: a bar on a terminal, lines otherwise, JSON lines, or nothing."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeRemainingColumn,
)

from api.console import ProgressMode, say, size_text

LINE_EVERY_S = 5.0

Advance = Callable[[int, int], None]
Unit = Literal["bytes", "rows", "images", "queries", "pairs", "groups"]


@contextmanager
def work_progress(mode: ProgressMode, what: str, unit: Unit) -> Iterator[Advance]:
    """Give a function to call with (done, total), as often as one likes. what: as people read it, such as `copied`."""
    if mode == "none":
        yield lambda _done, _total: None
    elif mode == "auto" and sys.stderr.isatty():
        amount = DownloadColumn() if unit == "bytes" else MofNCompleteColumn()
        columns = (SpinnerColumn(), TextColumn(what), BarColumn(), amount, TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(what, total=None)
            yield lambda done, total: bar.update(task, completed=done, total=total)
    else:
        yield _Lines(what, unit, as_json=mode == "json").advance


class _Lines:
    """A line every few seconds: for logs."""

    def __init__(self, what: str, unit: Unit, *, as_json: bool) -> None:
        self._what = what
        self._unit = unit
        self._as_json = as_json
        self._last = time.monotonic()

    def advance(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        if self._as_json:
            say(json.dumps({"event": "progress", "done": done, "total": total, "unit": self._unit}))
        elif self._unit == "bytes":
            say(f"{size_text(done)} of {size_text(total)} {self._what}")
        else:
            say(f"{done} of {total} {self._unit} {self._what}")
