"""Where files are after a step, and the end of steps that were left half-way: by a kill, an error, or a race.

What a person or program saves at a path while it is acted on is theirs. It was never to be moved: where it was taken
from its path, it is put back there, and what is removed here is what this program has made, or a second name that it
gave.
"""

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from search.plans.disk import Mismatch, Signature, folder_at, opened, seen, sha256_of
from search.plans.history import MOVING, PLACED, PURGING, RESTORING, History, Move, Place, history
from search.plans.journal import Journal
from search.plans.renaming import exchange, rename_to_free

TRIES: Final = 10  # somebody may save there again and again


def record(journal: Journal, event: str, moves: Sequence[Move]) -> dict[str, Place]:
    """Look where files are, write it down and return it, by uri."""
    places = {move.home: settled(move, event) for move in moves}
    journal.append(PLACED, {"places": places})
    return places


def settle(journal: Journal) -> History:
    """Return what a journal says, after finishing what a killed process left between an intent and its outcome.

    Raises:
        OSError: a disk does not answer, or the journal cannot be written.
    """
    found = history(journal.lines)
    by_intent: dict[str, list[Move]] = {}
    for known in found.unsettled():
        by_intent.setdefault(known.intent, []).append(known.move)
    for event, moves in by_intent.items():
        record(journal, event, moves)
    return history(journal.lines) if by_intent else found


def settled(move: Move, event: str) -> Place:
    """Return where a file is, and take away what a half-done step left.

    event: what was being done. Under both its names it is at home, and the name in the quarantine goes. Home is also
    where somebody else's file has taken the path before anything was done, and nothing lies in the quarantine.
    """
    ends = {MOVING: _settle_moving, RESTORING: settle_exchanged, PURGING: _settle_purging}
    ends[event](move)
    home, hidden = seen(move.path), seen(move.hidden)
    if _is(move, home):
        _unlink_file(move, move.hidden)
        return "home"
    if _is(move, hidden):
        return "quarantine"
    if event == MOVING and home is not None and hidden is None:
        return "home"
    return "purged" if event == PURGING and hidden is None else "lost"


def settle_exchanged(move: Move) -> None:
    """End the exchange of a file in the quarantine with what had its path: the link or clone, or what was saved there.

    The link or clone goes, and anything else gets its path back.

    Raises:
        OSError: a disk does not answer.
    """
    home, hidden = seen(move.path), seen(move.hidden)
    if move.action == "quarantine" or hidden is None or _is(move, hidden) or not _is(move, home):
        return
    linked = move.action != "hardlink" or hidden.inode == move.keeper_inode
    if linked and _holds(move.hidden, move.keeper_sha256):
        # Were only the deletion to reach the disk, the file itself would be what is deleted.
        _sync(move.path.parent, move.hidden.parent)
        _unlink(move.hidden)
        return
    _exchange(move.hidden, move.path)
    if not _is(move, seen(move.hidden)):  # something was saved there once more, and is newer
        _exchange(move.hidden, move.path)


def _settle_moving(move: Move) -> None:
    if move.beside is not None:
        _settle_beside(move, move.beside)
    _settle_hidden(move)


def _settle_beside(move: Move, beside: Path) -> None:
    """End the exchange of a file with its link or clone: beside it lies either, or what was saved there meanwhile."""
    for _ in range(TRIES):
        lying = seen(beside)
        if lying is None:
            return
        if _is(move, lying):  # as it should be: the link or clone has its place
            _unlink(beside) if _is_anywhere_else(move) else _rename(beside, move.hidden)
        elif _is_made(move, beside, lying):
            _unlink(beside)
            if not _is(move, seen(move.path)):  # somebody saved there before, and their file stays
                _unlink_file(move, move.hidden)
        elif not _gave_path(move, beside):
            return  # two were saved there within a moment: the newer has the path, the other stays beside it


def _is_anywhere_else(move: Move) -> bool:
    return _is(move, seen(move.hidden)) or _is(move, seen(move.path))


def _is_made(move: Move, beside: Path, lying: Signature) -> bool:
    """Return whether what lies beside a file was made to replace it; a clone may be half made.

    The file has its name in the quarantine before anything is exchanged.
    """
    if _is_ours(move, beside, lying):
        return True
    begun = _is(move, seen(move.hidden))
    return not begun and (lying.size_bytes == 0 or _is(move, seen(move.path)))


def _gave_path(move: Move, beside: Path) -> bool:
    """Give what was saved at a path, and was taken from it, the path again; return whether it got it."""
    home = seen(move.path)
    if home is None:
        _rename(beside, move.path)
        return True
    if _is_ours(move, move.path, home):
        _exchange(beside, move.path)
        return True
    return False


def _settle_hidden(move: Move) -> None:
    """Put back what was taken for the file, and free the name in the quarantine where it only was to be kept free."""
    home, hidden = seen(move.path), seen(move.hidden)
    if hidden is None or _is(move, hidden):
        return
    if home is None:
        if not _holds(move.hidden, move.sha256):  # else it is the file itself, on a disk that was copied
            _rename(move.hidden, move.path)
    elif hidden.file == home.file or hidden.size_bytes == 0:
        _unlink(move.hidden)


def _settle_purging(move: Move) -> None:
    """Let what was not deleted after all have its name in the quarantine again."""
    if seen(move.going) is not None:
        _rename(move.going, move.hidden)


def _is(move: Move, found: Signature | None) -> bool:
    return found is not None and found.inode == move.inode


def _is_ours(move: Move, path: Path, found: Signature) -> bool:
    """Return whether what lies at a path is the link or clone that was made for a file."""
    return found.inode == move.keeper_inode if move.action == "hardlink" else _holds(path, move.keeper_sha256)


def _holds(path: Path, sha256: str) -> bool:
    """Return whether a file holds known bytes."""
    try:
        with opened(path) as file:
            return sha256_of(file) == sha256
    except Mismatch:
        return False


def _unlink_file(move: Move, path: Path) -> None:
    """Remove a name, if it is one of the file."""
    if _is(move, seen(path)):
        _unlink(path)


def _unlink(path: Path) -> None:
    with suppress(FileNotFoundError, NotADirectoryError), folder_at(path.parent) as folder:
        os.unlink(path.name, dir_fd=folder)


def _rename(path: Path, to: Path) -> None:
    """Rename to a name that is free; where it was taken this moment, or its folder is gone, nothing is done."""
    with (
        suppress(FileExistsError, FileNotFoundError, NotADirectoryError),
        folder_at(path.parent) as folder,
        folder_at(to.parent) as other,
    ):
        rename_to_free(path.name, folder, to.name, other)


def _exchange(path: Path, other: Path) -> None:
    """Exchange two files; where one went away this moment, nothing is done."""
    with suppress(FileNotFoundError), folder_at(path.parent) as folder, folder_at(other.parent) as other_folder:
        exchange(path.name, folder, other.name, other_folder)


def _sync(*folders: Path) -> None:
    for path in folders:
        with folder_at(path) as folder:
            os.fsync(folder)
