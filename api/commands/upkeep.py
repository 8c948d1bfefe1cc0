"""`compact`, `repair`, `retry`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.progress import Progress as Bar

from api.console import Session, counted, out, print_json, say
from api.exits import ELSE
from search.compaction import CompactSummary, Progress
from search.compaction import compact as compact_store
from search.store import Store


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(compact)


def compact(context: typer.Context) -> None:
    """Merge segments and drop what removed images left behind, in all collections; searches go on meanwhile."""
    session: Session = context.obj
    with Store(session.store) as store, _bar(session, "copying embeddings") as progress:
        summary = compact_store(store, progress)
    if session.json:
        print_json(summary.as_json())
    else:
        _print_summary(summary)
    if summary.damaged or summary.not_published:
        names = ", ".join([*summary.damaged, *(f"the index of {name}" for name in summary.not_published)])
        say(f"left alone, because segments are damaged: {names}; `lookalike repair` tells what can be saved")
        raise typer.Exit(ELSE)


def _print_summary(summary: CompactSummary) -> None:
    console = out()
    console.print(f"segments: {summary.segments_before} before, {summary.segments_after} now")
    dropped = counted(summary.embeddings_dropped, "unused embedding", "unused embeddings")
    purged = counted(summary.tombstones_purged, "tombstone", "tombstones")
    console.print(f"dropped: {dropped}, {purged}, {counted(summary.files_removed, 'file', 'files')}")
    for name, rows in summary.published.items():
        console.print(f"{name}: index of {counted(rows, 'row', 'rows')} published")
    if summary.waiting:
        files = counted(summary.waiting, "replaced segment stays", "replaced segments stay")
        console.print(f"{files} until no index reads them; a later `compact` frees them")


@contextmanager
def _bar(session: Session, what: str) -> Iterator[Progress]:
    if session.progress not in ("auto", "plain") or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    with Bar(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
