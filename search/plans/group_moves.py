"""Moving verified groups between one intent and one outcome. Each group is moved whole or not at all."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Final

from search.plans.acting import act, sync_folders
from search.plans.disk import Mismatch, naming
from search.plans.history import MOVING, Action, Move, announce, record
from search.plans.journal import Journal
from search.plans.places import place_of
from search.plans.restoring import restore
from search.plans.verifying import VerifiedFile, VerifiedGroup
from search.records import uri_of_path

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
    moves = {group.number: _moves(plan_id, action, group) for group in groups}
    together = [move for one in moves.values() for move in one]
    moved = Moved()
    with _noting_errors(moved):
        announce(journal, MOVING, together)
        try:
            for group in groups:
                _move(group, moves[group.number], moved)
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
        moved.mismatches.append((group.number, mismatch))
        _put_back(begun)
    except OSError as error:
        moved.error = error
        if error.errno not in IN_DOUBT:
            _put_back(begun)
    else:
        moved.groups.append(group)


def _put_back(moves: Sequence[Move]) -> None:
    for move in reversed(moves):
        # It was not moved, or it stays in the quarantine: the outcome says which.
        with suppress(Mismatch, OSError):
            restore(move)


def _moves(plan_id: str, action: Action, group: VerifiedGroup) -> list[Move]:
    return [_planned_move(plan_id, action, group, file, number) for number, file in enumerate(group.files)]


def _planned_move(plan_id: str, action: Action, group: VerifiedGroup, file: VerifiedFile, number: int) -> Move:
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
        temporary=None if action == "quarantine" else f".lookalike-{plan_id}-{group.number}-{number}.partial",
        sidecar_of=None if file.sidecar_of is None else uri_of_path(str(file.sidecar_of)),
    )
