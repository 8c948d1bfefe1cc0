"""Progress of long jobs on stderr: a bar on a terminal, lines otherwise, JSON lines on request, or nothing."""

import json
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from api.console import ProgressMode, say
from indexer.jobs.outcomes import Counts
from indexer.jobs.progress import Progress as IndexProgress
from indexer.sources.sources import Source, count
from search.storing.image_rows import NewImage

LINE_EVERY_S = 5.0
DRAW_EVERY_S = 0.1


class Silent:
    """Says nothing."""

    def update(self, counts: Counts) -> None:
        """Ignore the counts."""

    def acknowledged(self, images: Sequence[NewImage]) -> None:
        """Ignore the images."""

    def publishing(self, done: int, total: int) -> None:
        """Ignore the index."""


class Lines:
    """A line every few seconds: for logs. As JSON objects when `as_json`."""

    def __init__(self, total: "Total", *, as_json: bool) -> None:
        self._total = total
        self._as_json = as_json
        self._began = self._last = time.monotonic()

    def update(self, counts: Counts) -> None:
        """Print a line when the last one is old enough."""
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        rate = (counts.indexed + counts.moved) / (now - self._began)
        if self._as_json:
            say(
                json.dumps(
                    {"event": "progress", "total": self._total.files, "images_per_second": rate} | counts.as_json()
                )
            )
        else:
            of = f" of {self._total.files}" if self._total.known else ""
            say(f"{counts.seen}{of} files, {counts.indexed} indexed, {counts.failed} failed, {rate:.1f} images/s")

    def acknowledged(self, images: Sequence[NewImage]) -> None:
        """Print what is durable now, in JSON only."""
        if self._as_json:
            say(json.dumps({"event": "acknowledged", "images": len(images)}))

    def publishing(self, done: int, total: int) -> None:
        """Print how far the index is when the last line is old enough."""
        now = time.monotonic()
        if now - self._last < LINE_EVERY_S:
            return
        self._last = now
        line = {"event": "publishing", "rows": done, "total": total}
        say(json.dumps(line) if self._as_json else f"search index: {done} of {total} embeddings")


class Bar:
    """A bar with images/s and the time left."""

    def __init__(self, bar: Progress, total: "Total") -> None:
        self._bar = bar
        self._total = total
        self._task = bar.add_task("indexing", total=None, rate="", failed="")
        self._began = time.monotonic()
        self._last = 0.0

    def update(self, counts: Counts) -> None:
        """Move the bar."""
        now = time.monotonic()
        if now - self._last < DRAW_EVERY_S:
            return
        self._last = now
        rate = (counts.indexed + counts.moved) / max(now - self._began, DRAW_EVERY_S)
        total = max(self._total.files, counts.seen) if self._total.known else None
        failed = f"[red]{counts.failed} failed[/]" if counts.failed else ""
        self._bar.update(self._task, completed=counts.seen, total=total, rate=f"{rate:.1f} images/s", failed=failed)

    def acknowledged(self, images: Sequence[NewImage]) -> None:
        """Nothing more to draw."""

    def publishing(self, done: int, total: int) -> None:
        """Move the bar once more, for the index."""
        self._bar.update(self._task, completed=done, total=total, rate="building the search index", failed="")


class Total:
    """Counts the files of the sources in the background, for the time left."""

    def __init__(self, sources: Sequence[Source]) -> None:
        self.files = 0
        self.known = False
        self._stopped = False
        threading.Thread(target=self._count, args=(sources,), daemon=True).start()

    def stop(self) -> None:
        """Stop counting."""
        self._stopped = True

    def _count(self, sources: Sequence[Source]) -> None:
        unknown = False
        for files in count(sources):
            unknown = unknown or files is None
            self.files += files or 0
            if self._stopped:
                return
        self.known = not unknown


@contextmanager
def index_progress(mode: ProgressMode, sources: Sequence[Source]) -> Iterator[IndexProgress]:
    """Give the progress of an indexing job in the wanted form; `auto` draws a bar on a terminal only."""
    if mode == "none":
        yield Silent()
        return
    total = Total(sources)
    try:
        if mode == "auto" and sys.stderr.isatty():
            with _bar() as bar:
                yield Bar(bar, total)
        else:
            yield Lines(total, as_json=mode == "json")
    finally:
        total.stop()


def _bar() -> Progress:
    return Progress(
        SpinnerColumn(),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=Console(stderr=True),
        transient=True,
    )
