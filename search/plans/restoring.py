"""Bringing one file back from the quarantine to its path. A rename keeps its mode, times and extended attributes."""

import os
from dataclasses import replace
from typing import Final

from search.faults import fault
from search.plans.disk import Mismatch, Signature, as_mismatch, folder_at, opened, seen, sha256_of, signature
from search.plans.history import Move
from search.plans.places import made_folder
from search.plans.plan import path_of
from search.plans.renaming import CannotExchange, exchange, rename_to_free
from search.plans.settling import settle_exchanged

OPEN_TO_ALL: Final = 0o777  # less the umask: of folders that somebody removed since
EDITED: Final = "was changed since a link took its place; move it away, then undo again"
TAKEN: Final = "another file is there now; move it away, then undo again"
NO_EXCHANGE: Final = "its file system cannot exchange it with the link there; move that away, then undo again"


def found_again(move: Move) -> Move:
    """Return a move with the file that lies in the quarantine: another one where disks were copied, or restored.

    Raises:
        Mismatch: that holds other bytes than what was moved.
        OSError: a disk does not answer.
    """
    now = seen(move.hidden)
    if now is None or now.inode == move.inode:
        return move
    with opened(move.hidden) as file:
        if sha256_of(file) != move.sha256:
            raise Mismatch(move.hidden, "is not the file that was moved there; look at it, and move it by hand")
        return replace(move, inode=file.signature.inode)


def restore(move: Move) -> None:
    """Bring a file back. Nothing is overwritten but the link or clone that took its place, if nobody changed it.

    One that a person has moved back already is left as it is.

    Raises:
        Mismatch: something else is at its path, or it is not in the quarantine any more; nothing was changed.
        OSError: a disk does not answer.
    """
    path, hidden = move.path, move.hidden
    if not _is_hidden(move):
        return
    ours = None if move.action == "quarantine" or seen(path) is None else _require_ours(move)
    with (
        as_mismatch(path),
        folder_at(hidden.parent) as quarantine,
        made_folder(path.parent, path_of(move.root), OPEN_TO_ALL) as folder,
    ):
        fault("undo.move")
        try:
            if ours is None:
                rename_to_free(hidden.name, quarantine, path.name, folder)
            else:
                _exchange(move, quarantine, folder, ours)
        except FileExistsError as error:
            raise Mismatch(path, TAKEN) from error
        fault("undo.moved")


def _exchange(move: Move, quarantine: int, folder: int, ours: Signature) -> None:
    """Exchange a file with the link or clone at its path, and delete that. ours: what it was when it was hashed.

    Raises:
        Mismatch: somebody saved another file there in the very moment, or wrote to it; it has its path again.
    """
    try:
        exchange(move.hidden.name, quarantine, move.path.name, folder)
    except CannotExchange as error:
        raise Mismatch(move.path, NO_EXCHANGE) from error
    fault("undo.exchanged")
    taken = signature(os.stat(move.hidden.name, dir_fd=quarantine, follow_symlinks=False))
    if taken.data == ours.data:
        # Were only the deletion to reach the disk, the file itself would be what is deleted.
        os.fsync(folder)
        os.fsync(quarantine)
        os.unlink(move.hidden.name, dir_fd=quarantine)
        return
    settle_exchanged(move)
    now = seen(move.path)
    if now is None or now.inode != move.inode:
        raise Mismatch(move.path, TAKEN)


def require_restorable(move: Move) -> None:
    """Look whether a file could be brought back, and change nothing.

    Raises:
        Mismatch: it could not.
    """
    if not _is_hidden(move) or seen(move.path) is None:
        return
    if move.action == "quarantine":
        raise Mismatch(move.path, TAKEN)
    _require_ours(move)


def _is_hidden(move: Move) -> bool:
    """Tell whether a file is in the quarantine; not where it is at home.

    Raises:
        Mismatch: it is in neither place.
    """
    if seen(move.hidden) is not None:
        return True
    home = seen(move.path)
    if home is None or home.inode != move.inode:
        raise Mismatch(move.hidden, "is gone from the quarantine")
    return False


def _require_ours(move: Move) -> Signature:
    """Return what the link or clone at a path is.

    Raises:
        Mismatch: it is not the one that was put there.
    """
    with opened(move.path) as file:
        before = file.signature
        if move.action == "hardlink" and file.signature.inode != move.keeper_inode:
            raise Mismatch(move.path, TAKEN)
        # A link that was written to is still the same inode, and may be the last name of what was written.
        if sha256_of(file) != move.keeper_sha256:
            raise Mismatch(move.path, TAKEN if move.action != "hardlink" else EDITED)
        return before
