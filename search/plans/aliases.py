"""Files that were indexed by two paths though they are one: through a second mount of their folder, say.

Not hard links: of those each name can be moved by itself. What is one name is one entry of one folder.
"""

from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """A name in a folder, whatever path led to the folder. device, folder: of the folder, its inode."""

    device: int
    folder: int
    name: str


def entry_at(path: Path | None) -> Entry | None:
    """Return the entry that a path leads to, None where its folder cannot be looked at, or there is no path."""
    try:
        folder = None if path is None else path.parent.stat()
    except OSError:
        return None
    return None if path is None or folder is None else Entry(folder.st_dev, folder.st_ino, path.name)


class Aliases:
    """Remembers files by what they are on disk. Two devices that are one, as some network mounts are, stay unknown."""

    def __init__(self) -> None:
        self._entries: dict[Entry, str] = {}
        self._alone: dict[tuple[int, int], str] = {}

    def of(self, uri: str, entry: Entry, file: tuple[int, int], names: int) -> str | None:
        """Return the uri by which a file was met before, None where it is met for the first time.

        file: device and inode. names: how many names it has; with a single one, whatever has its inode is that name,
        also where the folder's case or spelling hides it.
        """
        known = self._entries.setdefault(entry, uri)
        if known == uri and names == 1:
            known = self._alone.setdefault(file, uri)
        return None if known == uri else known
