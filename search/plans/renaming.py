"""Renaming a file to a name that must be free, in one step where the system can; by folder descriptors."""

import ctypes
import errno
import os
import sys
from collections.abc import Callable
from typing import Final

NOREPLACE: Final = 1  # RENAME_NOREPLACE of Linux
EXCL: Final = 4  # RENAME_EXCL of macOS
# What systems say that cannot do it in one step, or whose file system cannot.
UNABLE: Final = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)


def rename_to_free(name: str, folder: int, new_name: str, new_folder: int) -> None:
    """Rename a file; what already has the new name stays.

    folder, new_folder: descriptors. Where a file system cannot do it in one step, the file has both names for a moment.

    Raises:
        FileExistsError: the new name is taken.
        OSError: the system refuses.
    """
    code = _in_one_step(name, folder, new_name, new_folder)
    if code in UNABLE:
        os.link(name, new_name, src_dir_fd=folder, dst_dir_fd=new_folder, follow_symlinks=False)
        os.unlink(name, dir_fd=folder)
    elif code:
        raise OSError(code, os.strerror(code), new_name if code == errno.EEXIST else name)


def _in_one_step(name: str, folder: int, new_name: str, new_folder: int) -> int:
    """Return 0, or the number of the error."""
    call = _system_call()
    if call is None:
        return errno.ENOSYS
    flag = EXCL if sys.platform == "darwin" else NOREPLACE
    done = call(folder, os.fsencode(name), new_folder, os.fsencode(new_name), ctypes.c_uint(flag))
    return 0 if done == 0 else ctypes.get_errno()


def _system_call() -> Callable[..., int] | None:
    library = ctypes.CDLL(None, use_errno=True)
    return getattr(library, "renameatx_np" if sys.platform == "darwin" else "renameat2", None)
