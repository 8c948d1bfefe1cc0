"""What is done with one verified file: quarantined, or replaced by a link or clone of its keeper. Never deleted.

A link or clone is made beside the file, compared, and exchanged with it; before, the file gets a second name in the
quarantine. So its path is never empty, and what was there is never without a name. Whatever was taken from a path is
looked at afterwards: where it is not the file that was compared, but what somebody saved there in that moment, it gets
its path back.
"""

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from search.faults import fault
from search.plans.disk import Mismatch, OpenFile, as_mismatch, folder_at, have_same_bytes, opened, signature
from search.plans.history import Action, Move
from search.plans.places import made_folder
from search.plans.renaming import CannotExchange, exchange, rename_to_free, take_away
from search.plans.verifying import VerifiedFile, VerifiedGroup
from search.records import displayable

FICLONE: Final = 0x40049409  # of Linux: share all blocks of another file
REPLACED: Final = "was replaced or written to in the very moment"
NO_EXCHANGE: Final = "its file system cannot exchange two files in one step; the action quarantine works everywhere"


def act(move: Move, file: VerifiedFile, group: VerifiedGroup) -> None:
    """Move one file of a group into the quarantine, and put a link or clone in its place where that is asked for.

    Raises:
        Mismatch: it, or its keeper, changed since it was verified; `settled` takes away what was begun.
        OSError: a disk does not answer; `settled` (search/plans/settling.py) says where it is.
    """
    with as_mismatch(file.path), opened(file.path) as now, made_folder(move.hidden.parent, file.root) as hidden:
        if not file.is_as_seen(now):
            raise Mismatch(file.path, "was changed a moment ago")
        group.require_keeper()
        if move.action == "quarantine":
            _quarantine(move, now, file, group, hidden)
        else:
            _replace(move, now, file, group, hidden)


def _quarantine(move: Move, now: OpenFile, file: VerifiedFile, group: VerifiedGroup, hidden: int) -> None:
    fault("quarantine.move")
    take_away(now.path.name, now.folder, move.hidden.name, hidden)
    fault("quarantine.moved")
    try:
        _require_taken(move.hidden.name, hidden, now, file)
        # The same file through two mounts has two device numbers at times; then the keeper has just gone with it.
        group.require_keeper()
    except Mismatch as mismatch:
        _give_back(move, now, hidden, mismatch)
        raise


def _give_back(move: Move, now: OpenFile, hidden: int, why: Mismatch) -> None:
    try:
        rename_to_free(move.hidden.name, hidden, now.path.name, now.folder)
    except FileExistsError as error:
        there = f"{why.why}, and again; what was there before is {displayable(move.hidden)}"
        raise Mismatch(why.path, there) from error


def _replace(move: Move, now: OpenFile, file: VerifiedFile, group: VerifiedGroup, hidden: int) -> None:
    """What a failure, or a Mismatch, leaves beside the file is put right by `settled`, as after a kill."""
    if now.signature.device != group.keeper.signature.device:
        kept = displayable(group.keeper.path)
        raise Mismatch(now.path, f"lies on another file system than {kept}, so that they cannot share their data")
    temporary = move.temporary or ""
    fault("link.make")
    _make(move.action, temporary, now, group.keeper)
    os.fsync(now.folder)
    _require_copy(move.action, temporary, now, group.keeper)
    _name_in_quarantine(move, now, file, hidden)
    os.fsync(hidden)
    fault("link.keep")
    try:
        exchange(temporary, now.folder, now.path.name, now.folder)
    except CannotExchange as error:
        raise Mismatch(now.path, NO_EXCHANGE) from error
    fault("link.replace")
    _require_taken(temporary, now.folder, now, file)
    group.require_keeper()
    os.unlink(temporary, dir_fd=now.folder)


def _name_in_quarantine(move: Move, now: OpenFile, file: VerifiedFile, hidden: int) -> None:
    """Give a file its second name. What has taken its path meanwhile keeps its only one."""
    os.link(now.path.name, move.hidden.name, src_dir_fd=now.folder, dst_dir_fd=hidden, follow_symlinks=False)
    try:
        _require_taken(move.hidden.name, hidden, now, file)
    except Mismatch:
        os.unlink(move.hidden.name, dir_fd=hidden)
        raise


def _require_taken(name: str, folder: int, now: OpenFile, file: VerifiedFile) -> None:
    """Raises:
    Mismatch: what was taken from a path is not the file that was compared, or was written to since.
    """
    taken = signature(os.stat(name, dir_fd=folder, follow_symlinks=False))
    if taken.file != file.seen.file or now.signature.data != file.seen.data:
        raise Mismatch(file.path, REPLACED)


def _make(action: Action, temporary: str, now: OpenFile, keeper: OpenFile) -> None:
    if action == "hardlink":
        os.link(keeper.path.name, temporary, src_dir_fd=keeper.folder, dst_dir_fd=now.folder, follow_symlinks=False)
        return
    handle = os.open(temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=now.folder)
    try:
        clone(keeper.handle, handle)
        _take_after(now.handle, handle)
        os.fsync(handle)
    finally:
        os.close(handle)


def clone(source: int, target: int) -> None:
    """Let an empty file share the blocks of another one. Both are descriptors.

    Raises:
        OSError: the file system cannot, or the files lie on two of them.
    """
    fcntl.ioctl(target, FICLONE, source)


def _take_after(old: int, new: int) -> None:
    """Give a file the owner, mode, extended attributes and times of another one."""
    status = os.fstat(old)
    with suppress(PermissionError):
        os.fchown(new, status.st_uid, status.st_gid)
    os.fchmod(new, status.st_mode & 0o7777)
    if hasattr(os, "listxattr"):
        for name in os.listxattr(old):
            with suppress(OSError):  # some belong to the system, which sets them itself
                os.setxattr(new, name, os.getxattr(old, name))
    os.utime(new, ns=(status.st_atime_ns, status.st_mtime_ns))


def _require_copy(action: Action, temporary: str, now: OpenFile, keeper: OpenFile) -> None:
    """Raises:
    Mismatch: what is to take the file's place is not the keeper.
    """
    with opened(now.path.with_name(temporary)) as made:
        right = made.signature.file == keeper.signature.file if action == "hardlink" else have_same_bytes(made, keeper)
        if not right:
            raise Mismatch(now.path, f"what was to take its place is not {displayable(keeper.path)}")


def sync_folders(moves: Iterable[Move]) -> None:
    """Make the names of files durable, old ones and new ones.

    Raises:
        OSError: a disk does not answer.
    """
    fault("quarantine.sync")
    folders = {folder for move in moves for folder in (move.path.parent, move.hidden.parent)}
    for folder in sorted(folders):
        with suppress(FileNotFoundError, NotADirectoryError), folder_at(folder) as handle:
            os.fsync(handle)
