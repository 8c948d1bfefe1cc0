"""Folders that people name, and which files lie below them, whatever path leads to either.

A folder may be typed through a symbolic link or with `..`, and may be reached by a second path, as a mount: what it is
on disk (device and inode) tells it. Where nothing can be looked at, paths count alone.
"""

import os
from collections.abc import Sequence
from pathlib import Path

Identity = tuple[int, int]  # device and inode


def absolute(folder: str | os.PathLike[str]) -> Path:
    """Return a folder as people type it, from the root on, with `~` and without `..`.

    What `..` means after a symbolic link is what the system makes of it.
    """
    path = Path(folder).expanduser().absolute()
    return path.resolve() if ".." in path.parts else path


class NamedFolders:
    """Tells which of some folders a file lies below. Each folder above a file is looked at once."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """folders: as `absolute` gives them; they need not be there."""
        self.spellings = [_spellings(folder) for folder in folders]
        self._identities = [_identity(folder) for folder in folders]
        self._above: dict[Path, frozenset[int]] = {}

    def above(self, path: Path) -> frozenset[int]:
        """Return the numbers of the folders that a file lies below, or that it is itself."""
        if not self.spellings:
            return frozenset()
        named = {number for number, known in enumerate(self.spellings) if path in known}
        return self._around(path.parent) | named

    def hold(self, path: Path) -> bool:
        """Tell whether a file lies below one of them."""
        return bool(self.above(path))

    def all_spellings(self) -> tuple[Path, ...]:
        """Return every path that is known to lead to one of them: as typed, resolved, and met above files."""
        return tuple(dict.fromkeys(path for known in self.spellings for path in known))

    def _around(self, folder: Path) -> frozenset[int]:
        known = self._above.get(folder)
        if known is None:
            here = self._same_as(folder)
            known = here if folder.parent == folder else here | self._around(folder.parent)
            self._above[folder] = known
        return known

    def _same_as(self, folder: Path) -> frozenset[int]:
        identity = _identity(folder) if any(self._identities) else None
        found = set()
        for number, spellings in enumerate(self.spellings):
            if folder in spellings:
                found.add(number)
            elif identity is not None and identity == self._identities[number]:
                spellings.append(folder)
                found.add(number)
        return frozenset(found)


def _spellings(folder: Path) -> list[Path]:
    return list(dict.fromkeys((folder, folder.resolve())))


def _identity(folder: Path) -> Identity | None:
    """Return what a folder is on disk, None where it cannot be looked at."""
    try:
        status = folder.stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino
