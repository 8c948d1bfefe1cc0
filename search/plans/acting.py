"""What is done with one verified file: quarantined, or replaced by a link or clone of its keeper. Never deleted.

A link or clone is made beside the file, compared, and renamed over it; before, the file gets a second name in the
quarantine. So its path is never empty, and what was there is never without a name.
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
from search.plans.renaming import rename_to_free
from search.plans.verifying import VerifiedFile, VerifiedGroup
from search.records import displayable

FICLONE: Final = 0x40049409  # of Linux: share all blocks of another file


def act(move: Move, file: VerifiedFile, group: VerifiedGroup) -> None:
    """Move one file of a group into the quarantine, and put a link or clone in its place where that is asked for.

    Raises:
        Mismatch: it, or its keeper, changed since it was verified; it is where it was.
        OSError: a disk does not answer; `settled` (search/plans/history.py) says where it is.
    """
    with as_mismatch(file.path), opened(file.path) as now, made_folder(move.hidden.parent, file.root) as hidden:
        if not file.is_as_seen(now):
            raise Mismatch(file.path, "was changed a moment ago")
        group.require_keeper()
        if move.action == "quarantine":
            _quarantine(move, now, file, group, hidden)
        else:
            _replace(move, now, group, hidden)


def _quarantine(move: Move, now: OpenFile, file: VerifiedFile, group: VerifiedGroup, hidden: int) -> None:
    fault("quarantine.move")
    rename_to_free(now.path.name, now.folder, move.hidden.name, hidden)
    fault("quarantine.moved")
    try:
        moved = os.stat(move.hidden.name, dir_fd=hidden, follow_symlinks=False)
        if signature(moved).file != file.seen.file or now.signature.data != file.seen.data:
            raise Mismatch(file.path, "was replaced or written to in the very moment")
        # The same file through two mounts has two device numbers at times; then the keeper has just gone with it.
        group.require_keeper()
    except Mismatch:
        rename_to_free(move.hidden.name, hidden, now.path.name, now.folder)
        raise


def _replace(move: Move, now: OpenFile, group: VerifiedGroup, hidden: int) -> None:
    """What a failure leaves beside the file is taken away by `settled`, as after a kill."""
    if now.signature.device != group.keeper.signature.device:
        kept = displayable(group.keeper.path)
        raise Mismatch(now.path, f"lies on another file system than {kept}, so that they cannot share their data")
    temporary = move.temporary or ""
    fault("link.make")
    _make(move.action, temporary, now, group.keeper)
    os.fsync(now.folder)
    _require_copy(move.action, temporary, now, group.keeper)
    os.link(now.path.name, move.hidden.name, src_dir_fd=now.folder, dst_dir_fd=hidden, follow_symlinks=False)
    os.fsync(hidden)
    fault("link.keep")
    os.rename(temporary, now.path.name, src_dir_fd=now.folder, dst_dir_fd=now.folder)
    fault("link.replace")


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
