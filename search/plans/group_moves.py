"""Moving verified groups between one intent and one outcome. Each group is moved whole or not at all."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from search.plans.acting import act, sync_folders
from search.plans.disk import Mismatch, naming, seen
from search.plans.history import MOVING, Action, Move, announce
from search.plans.journal import Journal
from search.plans.places import place_of
from search.plans.restoring import restore
from search.plans.settling import record, settled
from search.plans.verifying import VerifiedFile, VerifiedGroup
from search.records import displayable, uri_of_path

ALIAS: Final = "is the same file as {}, through another mount; index one of the two alone"
# With these the disk itself is in doubt, and nothing more is asked of it.
IN_DOUBT: Final = (errno.EIO, errno.ENXIO, errno.ENODEV, errno.ESTALE)


@dataclass(slots=True)
class Moved:
    """What became of groups. groups: those that were moved; mismatches: the numbers of those that were not, and why;
    error: of a disk, which ended it.
    """

    groups: list[VerifiedGroup] = field(default_factory=list)
    mismatches: list[tuple[int, Mismatch]] = field(default_factory=list)
    error: OSError | None = None


def move_groups(journal: Journal, plan_id: str, action: Action, groups: Sequence[VerifiedGroup]) -> Moved:
    """Write down what is to be moved, move it, write down where everything is.

    A group with a file that changed in the meantime is as it was afterwards, and so is one that a full disk refuses.
    """
    # A group may be there twice, once around its keeper and once around a stand-in.
    each = [_moves(plan_id, f"{number}.{group.number}", action, group) for number, group in enumerate(groups)]
    together = [move for one in each for move in one]
    moved = Moved()
    with _noting_errors(moved):
        announce(journal, MOVING, together)
        try:
            for group, moves in zip(groups, each, strict=True):
                _move(group, moves, moved)
                if moved.error is not None:
                    break
            sync_folders(together)
        finally:
            record(journal, MOVING, together)
    return moved


@contextmanager
def _noting_errors(moved: Moved) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        moved.error = moved.error or error


def _move(group: VerifiedGroup, moves: Sequence[Move], moved: Moved) -> None:
    begun: list[Move] = []
    try:
        for move, file in zip(moves, group.files, strict=True):
            begun.append(move)
            with naming(file.path):
                act(move, file, group)
    except Mismatch as mismatch:
        same = _put_back(begun, mismatch.path)
        why = mismatch.why if same is None else ALIAS.format(displayable(same))
        moved.mismatches.append((group.number, Mismatch(mismatch.path, why)))
    except OSError as error:
        moved.error = error
        if error.errno not in IN_DOUBT:
            _put_back(begun)
    else:
        moved.groups.append(group)


def _put_back(moves: Sequence[Move], missed: Path | None = None) -> Path | None:
    """Bring files back; return the one with which a missed file came back, too: they are one."""
    same = None
    for move in reversed(moves):
        gone = missed is not None and not _is_there(missed)
        # It was not moved, or it stays in the quarantine: the outcome says which.
        with suppress(Mismatch, OSError):
            settled(move, MOVING)
            restore(move)
        if missed is not None and gone and move.path != missed and _is_there(missed):
            same = move.path
    return same


def _is_there(path: Path) -> bool:
    try:
        return seen(path) is not None
    except OSError:
        return False


def _moves(plan_id: str, mark: str, action: Action, group: VerifiedGroup) -> list[Move]:
    """Return a move of each file. mark: tells this group from all others of one intent."""
    names = (f".lookalike-{plan_id}-{mark}-{number}.partial" for number in range(len(group.files)))
    return [_planned_move(plan_id, action, group, file, name) for name, file in zip(names, group.files, strict=True)]


def _planned_move(plan_id: str, action: Action, group: VerifiedGroup, file: VerifiedFile, temporary: str) -> Move:
    hidden = place_of(file.path, file.root, plan_id)
    return Move(
        group=group.number,
        action=action,
        home=uri_of_path(str(file.path)),
        quarantine=uri_of_path(str(hidden)),
        root=uri_of_path(str(file.root)),
        inode=file.seen.inode,
        size_bytes=file.seen.size_bytes,
        sha256=file.sha256,
        keeper=uri_of_path(str(group.keeper.path)),
        keeper_sha256=group.keeper_sha256,
        keeper_inode=group.keeper_seen.inode,
        exact=file.exact,
        temporary=None if action == "quarantine" else temporary,
        sidecar_of=None if file.sidecar_of is None else uri_of_path(str(file.sidecar_of)),
    )
