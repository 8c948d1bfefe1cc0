"""Renaming and exchanging files in one step, so that nothing is ever overwritten; by folder descriptors.

Between a look at a path and a rename somebody may save another file there. A plain rename over it would lose that file;
what is renamed to a free name, or exchanged with another file, can be looked at afterwards, and put back.
"""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import Final

NOREPLACE: Final = 1  # RENAME_NOREPLACE of Linux
EXCL: Final = 4  # RENAME_EXCL of macOS
EXCHANGE: Final = 2  # RENAME_EXCHANGE of Linux, RENAME_SWAP of macOS
# What systems say that cannot do it in one step, or whose file system cannot.
UNABLE: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


class CannotExchange(OSError):
    """The system, or its file system, cannot exchange two files in one step."""


def rename_to_free(name: str, folder: int, new_name: str, new_folder: int) -> None:
    """Rename a file of ours, as one in a quarantine; what already has the new name stays.

    folder, new_folder: descriptors. Where a file system cannot do it in one step, the file has both names for a moment:
    so it must be one that nobody else replaces meanwhile.

    Raises:
        FileExistsError: the new name is taken.
        OSError: the system refuses.
    """
    code = _in_one_step(name, folder, new_name, new_folder, _free())
    if code in UNABLE:
        os.link(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)
        os.unlink(name, dir_fd=folder)
    elif code:
        raise OSError(code, os.strerror(code), new_name if code == errno.EEXIST else name)


def take_away(name: str, folder: int, new_name: str, new_folder: int) -> None:
    """Rename whatever has a name, which others may use at any moment, to a free name in a folder of ours.

    Where a file system cannot do it in one step, an empty file keeps the new name free until then.

    Raises:
        FileExistsError: the new name is taken.
        OSError: the system refuses.
    """
    code = _in_one_step(name, folder, new_name, new_folder, _free())
    if code in UNABLE:
        os.close(os.open(new_name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=new_folder))
        try:
            os.rename(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder)
        except OSError:
            os.unlink(new_name, dir_fd=new_folder)
            raise
    elif code:
        raise OSError(code, os.strerror(code), new_name if code == errno.EEXIST else name)


def exchange(name: str, folder: int, other_name: str, other_folder: int) -> None:
    """Let two files have each other's name, in one step.

    Raises:
        CannotExchange: the system, or its file system, knows no such step; nothing was changed.
        OSError: one of them is gone, or the system refuses.
    """
    code = _in_one_step(name, folder, other_name, other_folder, EXCHANGE)
    if code:
        raise (CannotExchange if code in UNABLE else OSError)(code, os.strerror(code), name)


def _free() -> int:
    return EXCL if sys.platform == "darwin" else NOREPLACE


def _in_one_step(name: str, folder: int, new_name: str, new_folder: int, flag: int) -> int:
    """Return 0, or the number of the error."""
    call = _system_call()
    if call is None:
        return errno.ENOSYS
    done = call(folder, os.fsencode(name), new_folder, os.fsencode(new_name), ctypes.c_uint(flag))
    return 0 if done == 0 else ctypes.get_errno()


def _system_call() -> Callable[..., int] | None:
    library = ctypes.CDLL(None, use_errno=True)
    return getattr(library, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
