"""`compact`, `repair`, `retry`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from api.console import Session, counted, out, print_json, say, shown_uri
from api.exits import ELSE, LEDGER
from search.errors import BadImage, LookalikeError, UsageError
from search.records import path_of_uri
from search.storing.store import Store
from search.upkeep.compaction import CompactSummary
from search.upkeep.compaction import compact as compact_store
from search.upkeep.repairing import Repair, repairs
from search.upkeep.verification import verify

SHOWN = 10


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (compact, repair, retry):
        app.command()(command)


def compact(context: typer.Context) -> None:
    """Merge segments and drop what removed images left behind, in all collections; searches go on meanwhile."""
    from api.work_progress import work_progress

    session: Session = context.obj
    with Store(session.store) as store, work_progress(session.progress, "copied", "rows") as advance:
        summary = compact_store(store, advance)
    if session.json:
        print_json(summary.as_json())
    else:
        _print_summary(summary)
    if summary.damaged or summary.not_published:
        names = ", ".join([*summary.damaged, *(f"the index of {name}" for name in summary.not_published)])
        say(f"left alone, because segments are damaged: {names}; `lookalike repair` tells what can be saved")
        raise typer.Exit(ELSE)


def repair(
    context: typer.Context,
    apply: Annotated[bool, typer.Option("--apply", help="Do it, instead of only telling.")] = False,
) -> None:
    """Tell what can be done about each fault that `verify --deep` finds; --apply does it."""
    session: Session = context.obj
    with Store(session.store) as store:
        faults = verify(store, deep=True)
        done = repairs(store, faults, apply=apply)
        left = verify(store, deep=True) if apply and faults else faults
    lost = sorted({uri for one in done for uri in one.lost})
    # What only waits for its file to be read again is no fault of the store any more.
    left = [one for one in left if not (apply and one.kind == "image_without_embedding")]
    if session.json:
        items = [one.as_json() for one in done]
        print_json({"ok": not left, "applied": apply, "repairs": items, "lost": lost, "left": len(left)})
    else:
        _print_repairs(done, lost, applied=apply)
    if left:
        raise typer.Exit(ELSE)


def _print_repairs(done: Sequence[Repair], lost: Sequence[str], *, applied: bool) -> None:
    console = out()
    for one in done:
        console.print(f"{one.fault.kind}: {one.fault.where}: {one.fault.detail}")
        console.print(f"  {'cannot be repaired: ' + one.hint if one.action is None else one.action}")
    for uri in lost[:SHOWN]:
        console.print(f"embedding lost: {shown_uri(uri)}")
    if lost:
        again = counted(len(lost), "file is", "files are")
        console.print(f"{again} read again by the next `lookalike index` or `lookalike retry`; keys and ids stay")
    if not done:
        console.print("all well; nothing to repair")
    elif not applied:
        console.print("nothing was changed; `lookalike repair --apply` does what can be done")


def retry(
    context: typer.Context,
    reason: Annotated[str | None, typer.Option(help="Only files with this reason in the ledger.")] = None,
    max_failed: Annotated[int, typer.Option(min=0, help="Files that fail again before the exit code says so.")] = 0,
) -> None:
    """Try the files of the ledger again, also those that were given up."""
    session: Session = context.obj
    if reason is not None and reason not in BadImage.REASONS:
        raise UsageError(f"--reason {reason!r} is not one of {', '.join(sorted(BadImage.REASONS))}")
    with Store(session.store) as store:
        entries = store.catalogue.failures(store.catalogue.collection(session.collection).id)
    chosen = [entry.uri for entry in entries if reason in (None, entry.reason)]
    sources, gone = _sources(chosen)
    if not sources:
        return _print_nothing(session, gone)
    from api.indexing import IndexRequest, run_index

    summary, _ = run_index(session, IndexRequest(sources, retry=True))
    if session.json:
        print_json(summary.as_json() | {"retried": len(chosen) - len(gone), "unreachable": gone})
    else:
        counts = f"{summary.counts.seen - summary.counts.failed} indexed, {summary.counts.failed} failed again"
        out().print(f"{session.collection}: {len(chosen) - len(gone)} tried: {counts}")
        _say_gone(gone)
    if summary.counts.failed > max_failed:
        raise typer.Exit(LEDGER)
    return None


def _sources(uris: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what to index so that these files are tried, and the uris that cannot be reached any more."""
    from indexer.sources.sources import resolve

    sources: dict[str, None] = {}
    gone = []
    for uri in uris:
        # A file inside an archive is reached through the archive; what else it holds is known and left alone.
        place = uri.split("!/", 1)[0]
        path = path_of_uri(place)
        argument = place if path is None else str(path)
        try:
            resolve([argument])
        except LookalikeError:
            gone.append(uri)
        else:
            sources[argument] = None
    return list(sources), gone


def _print_nothing(session: Session, gone: Sequence[str]) -> None:
    if session.json:
        print_json({"collection": session.collection, "retried": 0, "unreachable": list(gone)})
        return
    out().print("nothing to try again")
    _say_gone(gone)


def _say_gone(gone: Sequence[str]) -> None:
    for uri in gone[:SHOWN]:
        say(f"not there: {shown_uri(uri)}")
    if gone:
        say(f"{counted(len(gone), 'file is', 'files are')} not there; `lookalike index` of their folder forgets them")


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
