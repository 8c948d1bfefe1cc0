"""`compact`, `repair`, `retry`."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.operations import in_place
from api.console import Session, counted, out, print_json, say, shown_uri
from api.exits import ELSE, LEDGER
from search.errors import BadImage, LookalikeError, UsageError
from search.records import Fault, LedgerEntry, path_of_uri
from search.storing.ledger import forget_failures
from search.storing.store import Store
from search.upkeep.compaction import CompactSummary
from search.upkeep.compaction import compact as compact_store
from search.upkeep.repairing import Repair, repairs
from search.upkeep.verification import verify

if TYPE_CHECKING:
    from indexer.jobs.summary import IndexSummary

SHOWN = 10
_ADVICE = re.compile(r"; the next `index[^`]*` rebuilds it$")


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
        done = [replace(one, fault=_without_advice(one.fault)) for one in repairs(store, faults, apply=apply)]
        left = verify(store, deep=True) if apply and faults else faults
    lost = sorted({uri for one in done for uri in one.lost})
    # What only waits for its file to be read again is no fault of the store any more.
    left = [one for one in left if not (apply and one.kind == "image_without_embedding")]
    if session.json:
        items = [one.as_json() for one in done]
        print_json({"ok": not left, "applied": apply, "repairs": items, "lost": lost, "left": len(left)})
    else:
        _print_repairs(done, applied=apply)
    if left:
        raise typer.Exit(ELSE)


def _without_advice(fault: Fault) -> Fault:
    """Return a fault that says where it is once, and not what else would mend it: the action beside it says how."""
    told = in_place(fault)
    return replace(told, detail=_ADVICE.sub("", told.detail))


def _print_repairs(done: Sequence[Repair], *, applied: bool) -> None:
    console = out()
    for one in done:
        console.print(f"{one.fault.kind}: {one.fault.where}: {one.fault.detail}")
        console.print(f"  {'cannot be repaired: ' + one.hint if one.action is None else one.action}")
    _print_lost(done, "embedding", "`lookalike index` or `lookalike retry`; keys and ids stay")
    _print_lost(done, "local features", "`lookalike index --local`; the images are found meanwhile")
    if not done:
        console.print("all well; nothing to repair")
    elif not applied:
        console.print("nothing was changed; `lookalike repair --apply` does what can be done")


def _print_lost(done: Sequence[Repair], what: str, brought_back: str) -> None:
    lost = sorted({uri for one in done if one.what == what for uri in one.lost})
    for uri in lost[:SHOWN]:
        out().print(f"{what} lost: {shown_uri(uri)}")
    if lost:
        files = counted(len(lost), "file is", "files are")
        out().print(f"{files} read again by the next {brought_back}")


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
        target = store.catalogue.collection(session.collection)
        before = store.catalogue.failures(target.id)
        tries = _tries([entry for entry in before if reason in (None, entry.reason)])
        if tries.forgotten:
            with store.database.writing() as connection:
                forget_failures(connection, target.id, tries.forgotten)
    if not tries.uris:
        return _print_nothing(session, tries)
    summary = _index(session, tries, before)
    with Store(session.store) as store:
        after = store.catalogue.failures(target.id)
        mended = tries.uris - {entry.uri for entry in after}
        cleared = len(mended) - len(store.catalogue.files(target.id, sorted(mended)))
    known = {entry.uri for entry in before}
    # A manifest or an archive that is read again may show failures that nobody knew of.
    failed = Counter(entry.reason for entry in after if entry.uri in tries.uris or entry.uri not in known)
    if session.json:
        counts = {"retried": len(tries.uris), "cleared": cleared, "failed_again": failed.total()}
        print_json(summary.as_json() | counts | tries.as_json())
    else:
        counted_up = f"{len(mended) - cleared} indexed, {f'{cleared} cleared, ' if cleared else ''}"
        out().print(f"{session.collection}: {len(tries.uris)} tried: {counted_up}{failed.total()} failed again")
        _say_failed(failed)
        _say_gone(tries)
    if failed.total() > max_failed:
        raise typer.Exit(LEDGER)
    return None


@dataclass(frozen=True, slots=True)
class _Tries:
    """What a retry can do. manifests, others: what to index, with the uris of the ledger that are tried by it.

    gone: uris of files that are not there. forgotten: uris of rows whose manifest is no more. held: uris of files that
    only their manifest can say the sha256 of; by themselves they would be indexed unchecked.
    """

    manifests: dict[str, list[str]] = field(default_factory=dict)
    others: dict[str, list[str]] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    forgotten: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    @property
    def uris(self) -> frozenset[str]:
        return frozenset(uri for uris in (self.manifests | self.others).values() for uri in uris)

    def as_json(self) -> dict[str, object]:
        return {"unreachable": self.gone, "forgotten": self.forgotten, "by_manifest": self.held}


def _tries(entries: Sequence[LedgerEntry]) -> _Tries:
    from indexer.sources.found import INSIDE, ROW
    from indexer.sources.sources import is_gone, resolve

    tries = _Tries(held=[entry.uri for entry in entries if entry.reason == "checksum_mismatch"])
    within: dict[str, list[str]] = {}
    for uri in (entry.uri for entry in entries if entry.reason != "checksum_mismatch"):
        # A member is reached through its archive, a row through its manifest; what else they hold is known.
        within.setdefault(uri.split(INSIDE, 1)[0].split(ROW, 1)[0], []).append(uri)
    for place, inside in within.items():
        path = path_of_uri(place)
        argument = place if path is None else str(path)
        try:
            found = resolve([argument])
        except LookalikeError:
            rows = [uri for uri in inside if ROW in uri]
            lost = rows if rows and is_gone(place) else []
            tries.forgotten.extend(lost)
            tries.gone.extend([uri for uri in inside if not lost or ROW not in uri])
        else:
            is_manifest = any(source.kind == "manifest" for source in found)
            (tries.manifests if is_manifest else tries.others)[argument] = inside
    return tries


def _index(session: Session, tries: _Tries, before: Sequence[LedgerEntry]) -> "IndexSummary":
    """Try again. Manifests come first: they may name the others, which then need no other name."""
    from api.indexing import IndexRequest, run_index

    if not tries.manifests or not tries.others:
        return run_index(session, IndexRequest([*tries.manifests, *tries.others], retry=True))[0]
    first, _ = run_index(session, IndexRequest([*tries.manifests], retry=True))
    with Store(session.store) as store:
        untried = {entry.uri for entry in {*store.catalogue.failures(first.collection.id)} & {*before}}
    left = [argument for argument, uris in tries.others.items() if not untried.isdisjoint(uris)]
    if not left:
        return first
    second, _ = run_index(session, IndexRequest(left, retry=True))
    second.counts.add(first.counts)
    return replace(second, seconds=first.seconds + second.seconds)


def _print_nothing(session: Session, tries: _Tries) -> None:
    if session.json:
        print_json({"collection": session.collection, "retried": 0} | tries.as_json())
        return
    out().print("nothing to try again")
    _say_gone(tries)


def _say_failed(failed: Mapping[str, int]) -> None:
    if failed:
        listed = ", ".join(f"{reason} {number}" for reason, number in sorted(failed.items()))
        out().print(f"failed again: {listed}; `lookalike failures` names the files")


def _say_gone(tries: _Tries) -> None:
    gone = tries.gone
    for uri in gone[:SHOWN]:
        say(f"not there: {shown_uri(uri)}")
    if gone:
        say(f"{counted(len(gone), 'file is', 'files are')} not there; `lookalike index` of their folder forgets them")
    if tries.held:
        files = counted(len(tries.held), "file has", "files have")
        say(f"{files} another sha256 than a manifest says; `lookalike index` of the manifest tries again")
    if tries.forgotten:
        rows = counted(len(tries.forgotten), "row left", "rows left")
        say(f"{rows} the ledger, as the manifest is gone")


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
