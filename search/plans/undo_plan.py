"""Job: bring everything back that was done by a plan. Needs its journal alone; may be run again and never expires."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from search.database.database import chunks
from search.errors import GuardRefused, SourceUnavailable, UsageError
from search.plans.acting import sync_folders
from search.plans.disk import Mismatch, naming
from search.plans.forgetting import recall_restored
from search.plans.history import RESTORING, History, Known, announce, history
from search.plans.journal import Journal, read_journal
from search.plans.places import remove_empty
from search.plans.plan import path_of
from search.plans.plan_files import PlanFiles
from search.plans.progress import Count, Progress
from search.plans.restoring import found_again, require_restorable, restore
from search.plans.settling import record, settle
from search.records import displayable
from search.storing.store import Store

AT_ONCE: Final = 256  # files of one intent


@dataclass(frozen=True, slots=True)
class NotRestored:
    """A file that stays in the quarantine, and why."""

    path: Path
    why: str

    def as_json(self) -> dict[str, object]:
        """Return the item of `skipped` of `undo`."""
        return {"path": displayable(self.path), "reason": self.why}


@dataclass(slots=True)
class UndoReport:
    """What was brought back. files: images; sidecars: with them; purged: files that were deleted for good before.
    recalled: images that searches name again; to_index: those that only `index` can bring back. stopped: why it ended
    early. With dry_run, what would have been.
    """

    plan: str
    dry_run: bool
    files: int = 0
    sidecars: int = 0
    bytes: int = 0
    purged: int = 0
    recalled: int = 0
    to_index: int = 0
    skipped: list[NotRestored] = field(default_factory=list)
    stopped: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the object of `undo`."""
        names = ("plan", "dry_run", "files", "sidecars", "bytes", "purged", "recalled", "to_index", "stopped")
        return {name: getattr(self, name) for name in names} | {"skipped": [one.as_json() for one in self.skipped]}


def undo(
    store: Store, plan_id: str, *, dry_run: bool = False, progress: Progress = lambda done, total: None
) -> UndoReport:
    """Restore what was moved by a plan, the last first. Hold `PlanFiles.locked` meanwhile.

    progress: called with (bytes restored, bytes to restore).

    Raises:
        CorruptFile: the journal was changed.
        SourceUnavailable: a folder that was indexed is not there.
        OSError: the journal cannot be written.
    """
    path = PlanFiles(store.root).journal(plan_id)
    report = UndoReport(plan_id, dry_run)
    if not path.exists():
        if not dry_run:
            _tidy(store, plan_id, History())
        return report
    found = history(read_journal(path))
    missing = missing_root(found)
    if missing is not None:
        raise SourceUnavailable(f"{displayable(missing)} is not there; mount it, then run the same command again")
    if dry_run:
        _try(found, report)
        return report
    with Journal(path) as journal:
        found = settle(journal)
        report.purged = len(found.at("purged"))
        waiting = _waiting(found)
        count = Count(progress, sum(one.move.size_bytes for one in waiting))
        try:
            for part in chunks(waiting, AT_ONCE):
                _restore(journal, part, report)
                count.add(sum(one.move.size_bytes for one in part))
        except OSError as error:
            report.stopped = f"{error.filename or displayable(path)}: {error.strerror or error}"
        finally:
            report.recalled, report.to_index = recall_restored(store, journal)
    _tidy(store, plan_id, found)
    return report


def _tidy(store: Store, plan_id: str, found: History) -> None:
    """Remove the empty folders of a quarantine, also those of an `apply` that was killed before it moved anything."""
    roots = {known.move.root for known in found.files.values()}
    with suppress(UsageError, GuardRefused):  # a plan that is gone or was edited is needed for nothing else
        roots |= {root.uri for root in PlanFiles(store.root).load(plan_id).roots}
    for uri in roots:
        remove_empty(path_of(uri), plan_id)


def missing_root(found: History) -> Path | None:
    """Return a folder with quarantined files that is not there, as a disk that is not plugged in; None for none."""
    uris = {known.move.root for known in found.files.values() if known.place in ("quarantine", None)}
    return next((root for root in map(path_of, sorted(uris)) if not root.is_dir()), None)


def _waiting(found: History) -> list[Known]:
    """Return what is to be brought back; what was lost may be there again."""
    return [known for known in reversed(found.files.values()) if known.place in ("quarantine", "lost")]


def _restore(journal: Journal, files: list[Known], report: UndoReport) -> None:
    moves = []
    for known in files:
        try:
            with naming(known.move.hidden):
                moves.append(found_again(known.move))
        except Mismatch as mismatch:
            report.skipped.append(NotRestored(mismatch.path, mismatch.why))
    if not moves:
        return
    announce(journal, RESTORING, moves)
    try:
        for move in moves:
            try:
                with naming(move.hidden):
                    restore(move)
            except Mismatch as mismatch:
                report.skipped.append(NotRestored(mismatch.path, mismatch.why))
        sync_folders(moves)
    finally:
        places = record(journal, RESTORING, moves)
        for move in moves:
            if places[move.home] == "home":
                _count(report, known_as_sidecar=move.sidecar_of is not None, size_bytes=move.size_bytes)


def _count(report: UndoReport, *, known_as_sidecar: bool, size_bytes: int) -> None:
    report.files += not known_as_sidecar
    report.sidecars += known_as_sidecar
    report.bytes += size_bytes


def _try(found: History, report: UndoReport) -> None:
    report.purged = len(found.at("purged"))
    for known in [*found.unsettled(), *_waiting(found)]:
        try:
            require_restorable(found_again(known.move))
        except Mismatch as mismatch:
            report.skipped.append(NotRestored(mismatch.path, mismatch.why))
        else:
            _count(report, known_as_sidecar=known.move.sidecar_of is not None, size_bytes=known.move.size_bytes)
