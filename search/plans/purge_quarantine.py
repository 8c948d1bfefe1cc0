"""Job: delete for good what has lain in quarantines for long. The one place that deletes a user's file.

Never the last verified copy: right before, the keeper is opened and hashed again, and so is the file. Nor what people
have said since is to stay. A sidecar is deleted only where the keeper has one with the same bytes. Ages count by the
journal's own clock readings; one from before this program existed is a wrong clock, and such a file counts as moved
when that is noticed.
"""

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from search.database.database import chunks
from search.duplicates.sidecars import Beside
from search.faults import fault
from search.plans.acting import sync_folders
from search.plans.choosing import Opinions
from search.plans.disk import (
    Mismatch,
    OpenFile,
    as_mismatch,
    have_same_bytes,
    naming,
    opened,
    seen,
    sha256_of,
    signature,
)
from search.plans.durations import DAY_S
from search.plans.history import DATED, PURGING, Known, Move, announce, history
from search.plans.journal import Journal, read_journal
from search.plans.places import remove_empty
from search.plans.plan import path_of
from search.plans.plan_files import PlanFiles
from search.plans.progress import Count, Progress
from search.plans.renaming import rename_to_free, take_away
from search.plans.settling import record, settle
from search.plans.undo_plan import NotRestored, missing_root
from search.storing.store import Store
from search.storing.verdicts import Verdicts, opinions

DEFAULT_AGE_S: Final = 30 * DAY_S
EARLIEST: Final = 1_767_225_600.0  # 1 January 2026
AT_ONCE: Final = 256  # files of one intent
Data = tuple[int, int, int, int]  # Signature.data


@dataclass(frozen=True, slots=True)
class Old:
    """What one plan has in quarantine for long enough. young: files that it has not. gone: all that it has moved away
    and that did not come back, by uri.
    """

    plan: str
    files: tuple[Known, ...]
    young: int
    gone: Mapping[str, Move]

    @property
    def size_bytes(self) -> int:
        """Return the size of the old ones."""
        return sum(known.move.size_bytes for known in self.files)


@dataclass(slots=True)
class PurgeReport:
    """What was deleted. files, bytes: deleted; young: files that are not old enough; kept: old ones that are not
    deleted, and why; stopped: why it ended early. With dry_run, what would have been.
    """

    dry_run: bool
    plans: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0
    young: int = 0
    kept: list[NotRestored] = field(default_factory=list)
    stopped: str | None = None

    def as_json(self) -> dict[str, object]:
        """Return the object of `purge`."""
        names = ("dry_run", "plans", "files", "bytes", "young", "stopped")
        return {name: getattr(self, name) for name in names} | {"kept": [one.as_json() for one in self.kept]}


def old_files(store: Store, plan_ids: Sequence[str] | None, older_than_s: float) -> list[Old]:
    """Return what may be deleted of these plans, of all where None; changes nothing.

    Raises:
        CorruptFile: a journal was changed.
    """
    files = PlanFiles(store.root)
    found = []
    for plan_id in files.journalled() if plan_ids is None else plan_ids:
        known = history(read_journal(files.journal(plan_id)))
        hidden = known.at("quarantine")
        old = tuple(one for one in hidden if _age(one) >= older_than_s)
        if hidden:
            gone = {one.move.home: one.move for one in (*hidden, *known.at("purged"))}
            found.append(Old(plan_id, old, len(hidden) - len(old), gone))
    return found


def _age(known: Known) -> float:
    """Return for how many seconds a file has been in quarantine, by a clock that is to be believed."""
    return time.time() - known.since if known.since >= EARLIEST else 0.0


def purge(
    store: Store,
    plan_ids: Sequence[str] | None,
    older_than_s: float,
    *,
    dry_run: bool = False,
    progress: Progress = lambda done, total: None,
) -> PurgeReport:
    """Delete what is old. Hold `PlanFiles.locked` meanwhile. progress: called with (bytes checked, bytes to check).

    Raises:
        CorruptFile: a journal was changed.
        OSError: a journal cannot be written.
    """
    report = PurgeReport(dry_run)
    present = _present(store, plan_ids, report)
    if not dry_run:
        _settle_all(store, present)
    found = old_files(store, present, older_than_s)
    count = Count(progress, sum(one.size_bytes for one in found))
    said = opinions(Verdicts(store.database).all())
    for old in found:
        report.young += old.young
        if old.files and report.stopped is None:
            report.plans.append(old.plan)
            _purge_plan(store, _without_kept(old, said, report), report, count)
    return report


def _without_kept(old: Old, said: Opinions, report: PurgeReport) -> Old:
    """Return the files that nobody wants kept; the others are noted, with the sidecars that went with them."""
    moves = [known.move for known in old.files]
    kept = {one.home for one in moves if one.sidecar_of is None and said.get((one.keeper_sha256, one.sha256)) is False}
    for move in moves:
        if move.home in kept or move.sidecar_of in kept:
            why = f"is to stay, as people have said since: `undo {old.plan}` brings it back"
            report.kept.append(NotRestored(move.hidden, why))
    left = tuple(one for one in old.files if one.move.home not in kept and one.move.sidecar_of not in kept)
    return replace(old, files=left)


def _present(store: Store, plan_ids: Sequence[str] | None, report: PurgeReport) -> list[str]:
    """Return the plans by which something was done, and all of whose folders are there; the others are kept."""
    files = PlanFiles(store.root)
    present = []
    for plan_id in files.journalled() if plan_ids is None else plan_ids:
        missing = missing_root(history(read_journal(files.journal(plan_id))))
        if missing is not None:
            report.kept.append(NotRestored(missing, f"is not there, so nothing of the plan {plan_id} is deleted"))
        elif files.journal(plan_id).exists():
            present.append(plan_id)
    return present


def _settle_all(store: Store, plan_ids: Sequence[str]) -> None:
    """Finish what was killed half-way, and date what a wrong clock has dated."""
    for plan_id in plan_ids:
        with Journal(PlanFiles(store.root).journal(plan_id)) as journal:
            undated = [one.move.home for one in settle(journal).at("quarantine") if one.since < EARLIEST]
            if undated and time.time() >= EARLIEST:
                journal.append(DATED, {"files": undated})


def _purge_plan(store: Store, old: Old, report: PurgeReport, count: Count) -> None:
    path = PlanFiles(store.root).journal(old.plan)
    try:
        if report.dry_run:
            _delete(old.files, old.gone, report, count, really=False)
            return
        with Journal(path) as journal:
            for part in chunks(old.files, AT_ONCE):
                moves = [known.move for known in part]
                announce(journal, PURGING, moves)
                try:
                    _delete(part, old.gone, report, count, really=True)
                    sync_folders(moves)
                finally:
                    record(journal, PURGING, moves)
    except OSError as error:
        report.stopped = f"{error.filename or path}: {error.strerror or error}"
    for root in {known.move.root for known in old.files}:
        remove_empty(path_of(root), old.plan)


def _delete(
    files: Sequence[Known], gone: Mapping[str, Move], report: PurgeReport, count: Count, *, really: bool
) -> None:
    """Delete the files that are not the last verified copy; the others are noted as kept."""
    for move in (known.move for known in files):
        if seen(move.hidden) is None:
            continue  # somebody else has taken it away
        try:
            _purge(_as_kept_now(move, gone), really=really)
        except Mismatch as mismatch:
            why = mismatch.why if mismatch.path == move.hidden else str(mismatch)
            report.kept.append(NotRestored(move.hidden, why))
        else:
            report.files += 1
            report.bytes += move.size_bytes
        count.add(move.size_bytes)


def _as_kept_now(move: Move, gone: Mapping[str, Move]) -> Move:
    """Return a move with what is kept for the file now: a stand-in may itself have gone for its keeper's sake since."""
    then = gone.get(move.keeper)
    if then is None or seen(path_of(move.keeper)) is not None:
        return move
    exact = move.exact and then.exact
    kept = (then.keeper, then.keeper_sha256, then.keeper_inode)
    return replace(move, keeper=kept[0], keeper_sha256=kept[1], keeper_inode=kept[2], exact=exact)


def _purge(move: Move, *, really: bool) -> None:
    """Delete a quarantined file, if there is another copy of it.

    Raises:
        Mismatch: there is none, or it was replaced or written to since it was compared; it stays.
        OSError: a disk does not answer.
    """
    with opened(move.hidden) as file, opened(path_of(move.keeper)) as keeper:
        before = (file.signature.data, keeper.signature.data)
        require_another_copy(move, file, keeper)
        if really:
            with naming(move.hidden):
                _delete_compared(move, file, keeper, before)


def _delete_compared(move: Move, file: OpenFile, keeper: OpenFile, before: tuple[Data, Data]) -> None:
    """Delete the very file that was compared, not what has its name. before: what both were."""
    fault("purge.delete")
    going = move.going.name
    with as_mismatch(move.hidden):
        take_away(file.path.name, file.folder, going, file.folder)
    fault("purge.going")
    try:
        if signature(os.stat(going, dir_fd=file.folder, follow_symlinks=False)).data != before[0]:
            raise Mismatch(move.hidden, "was changed in the quarantine this moment")
        if keeper.signature.data != before[1] or not keeper.is_named():
            raise Mismatch(keeper.path, "the image that is kept for it went away or was changed this moment")
    except Mismatch:
        with suppress(FileExistsError):  # then it stays under the name that it has
            rename_to_free(going, file.folder, file.path.name, file.folder)
        raise
    os.unlink(going, dir_fd=file.folder)
    fault("purge.deleted")


def require_another_copy(move: Move, file: OpenFile, keeper: OpenFile) -> None:
    """Hash a quarantined file and what is kept for it.

    Raises:
        Mismatch: the file, or the image that is kept for it, is not what it was; or a sidecar has no other copy.
        OSError: a disk does not answer.
    """
    if file.signature.inode != move.inode or sha256_of(file) != move.sha256:
        raise Mismatch(move.hidden, "was changed in the quarantine")
    if keeper.signature.file == file.signature.file:
        raise Mismatch(move.hidden, "is the image to keep itself, under another name")
    if sha256_of(keeper) != move.keeper_sha256:
        raise Mismatch(keeper.path, "the image that is kept for it was changed")
    if move.exact and not have_same_bytes(file, keeper):
        raise Mismatch(keeper.path, "the image that is kept for it holds other bytes")
    if move.sidecar_of is not None and not _is_beside(keeper.path, move):
        raise Mismatch(move.hidden, "no sidecar of the image that is kept holds the same")


def _is_beside(keeper: Path, move: Move) -> bool:
    for path in Beside().sidecars_of(keeper):
        try:
            with opened(path) as other:
                if sha256_of(other) == move.sha256:
                    return True
        except Mismatch:
            continue
    return False
