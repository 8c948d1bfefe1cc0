"""Where quarantined files lie: in `.lookalike-quarantine/PLAN/` of the folder that was indexed, as they lay in it.

So that a rename is enough, and that a person finds everything without this program. Walks never enter it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from search.faults import fault
from search.plans.disk import LAST, Mismatch, open_folder

QUARANTINE: Final = ".lookalike-quarantine"
PRIVATE: Final = 0o700


def place_of(path: Path, root: Path, plan_id: str) -> Path:
    """Return where a file of a root lies while it is quarantined."""
    return root / QUARANTINE / plan_id / path.relative_to(root)


@contextmanager
def made_folder(path: Path, root: Path, mode: int = PRIVATE) -> Iterator[int]:
    """Give a descriptor of a folder below a root, making what is missing; follows no link and leaves no file system.

    Raises:
        Mismatch: a part of it lies on another file system.
        OSError: a part of it is a link or no folder, or the system refuses.
    """
    handle = open_folder(root)
    try:
        device = os.fstat(handle).st_dev
        for name in path.relative_to(root).parts:
            below = _entered(handle, name, mode)
            os.close(handle)
            handle = below
            if os.fstat(handle).st_dev != device:
                raise Mismatch(path, "another file system is mounted there, so that nothing can be moved into it")
        yield handle
    finally:
        os.close(handle)


def _entered(handle: int, name: str, mode: int) -> int:
    """Return a descriptor of a folder in a folder, made durably where it was missing."""
    try:
        return os.open(name, LAST, dir_fd=handle)
    except FileNotFoundError:
        fault("quarantine.folder")
        with suppress(FileExistsError):
            os.mkdir(name, mode, dir_fd=handle)
            os.fsync(handle)
        return os.open(name, LAST, dir_fd=handle)


def remove_empty(root: Path, plan_id: str) -> None:
    """Remove the folders of a plan's quarantine that are empty, and the quarantine of the root when it is, too."""
    place = root / QUARANTINE / plan_id
    for folder, _, _ in os.walk(place, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)  # noqa: PTH106 -- as os.walk names it
    with suppress(OSError):
        place.parent.rmdir()
