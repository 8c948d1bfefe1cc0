"""Folders beside their final place, in which a result is put together: there lies all of it, or nothing."""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from search.errors import StoreUnavailable, UsageError


@contextmanager
def partial_folder(place: Path) -> Iterator[Path]:
    """Give an empty folder beside `place` to work in, held by a lock; it, or a file in it, is to be renamed to `place`.

    What a killed process left of one is cleared, and at the end whatever is still in it.

    Raises:
        UsageError: something is at the place already, or its folder cannot be written.
        StoreUnavailable: another process is writing there, or, from inside the `with`, the disk is full.
    """
    if os.path.lexists(place):
        raise UsageError(f"{place} exists; name a place where nothing is yet")
    if not place.parent.is_dir():
        raise UsageError(f"{place.parent} is no folder; make it first")
    partial = place.with_name(f"{place.name}.partial")
    try:
        partial.mkdir(exist_ok=True)
        lock = os.open(partial, os.O_RDONLY)
    except OSError as error:
        raise UsageError(f"cannot write in {place.parent}: {error.strerror}; choose another place") from error
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StoreUnavailable(f"another process is writing to {place}; try again") from error
        _clear(partial)
        try:
            yield partial
        except OSError as error:
            raise StoreUnavailable(
                f"cannot write {place}: {error.strerror or error}; free space, then run again"
            ) from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    finally:
        os.close(lock)


def _clear(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            with suppress(FileNotFoundError):
                path.unlink()
