"""Pictures that a user named, one by one. What is no file is refused: a pipe would keep whoever reads it waiting."""

import os
import stat
from collections.abc import Sequence
from pathlib import Path

from search.errors import BadImage, UsageError

REMEDY = "name a picture that can be read"


def real_path(path: Path) -> Path:
    """Return where a named file is, with ~ as the home folder; ~draft.jpg is a name like any other."""
    return Path(os.path.expanduser(path))  # noqa: PTH111 -- Path.expanduser fails on such names


def require_pictures(paths: Sequence[Path]) -> None:
    """Refuse what can be no picture, before anything heavy is loaded.

    Raises:
        UsageError: a path does not exist, or is no regular file.
    """
    for path in paths:
        try:
            mode = real_path(path).stat().st_mode
        except OSError as error:
            raise UsageError(f"{path}: {error.strerror}; {REMEDY}") from error
        except ValueError as error:  # a NUL in it
            raise UsageError(f"{str(path)!r} is no path: {error}; {REMEDY}") from error
        if stat.S_ISDIR(mode):
            raise UsageError(f"{path} is a folder: name its pictures, such as {path}/*.jpg (`index` takes folders)")
        if not stat.S_ISREG(mode):
            raise UsageError(f"{path} is no regular file, but a pipe or a device; save the picture as a file first")


def read_picture(path: Path) -> bytes:
    """Return the bytes of a picture the user named.

    Raises:
        UsageError: there is no such file, it is no regular one, or it cannot be read.
        BadImage: it is empty.
    """
    require_pictures([path])
    try:
        data = real_path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; {REMEDY}") from error
    if not data:
        raise BadImage("empty", f"{path} has no bytes")
    return data
