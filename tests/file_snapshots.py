"""A folder as it was and as it is: what was lost, and what `undo` did not restore. The oracle of the tests of plans."""

import hashlib
import os
from pathlib import Path
from typing import NamedTuple


class File(NamedTuple):
    """What must be the same after `undo`. links: where a symbolic link leads to."""

    kind: int
    inode: int
    digest: str
    mode: int
    mtime_ns: int
    attributes: tuple[tuple[str, bytes], ...]
    links: str


def snapshot(root: Path) -> dict[str, File]:
    """Return everything below a folder, by its relative path, folders' own times apart."""
    found = {}
    for folder, folders, names in os.walk(root):
        for name in [*folders, *names]:
            path = Path(folder, name)
            status = path.lstat()
            link = str(path.readlink()) if path.is_symlink() else ""
            plain = path.is_file() and not link
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if plain else ""
            mtime = status.st_mtime_ns if plain or link else 0
            found[str(path.relative_to(root))] = File(
                status.st_mode >> 12, status.st_ino, digest, status.st_mode & 0o7777, mtime, attributes(path), link
            )
    return found


def attributes(path: Path) -> tuple[tuple[str, bytes], ...]:
    """Return the extended attributes of a file."""
    if path.is_symlink() or not hasattr(os, "listxattr"):
        return ()
    return tuple((name, os.getxattr(path, name)) for name in sorted(os.listxattr(path)) if name.startswith("user."))


def by_inode(files: dict[str, File]) -> dict[int, File]:
    """Return the regular files, each once whatever its names are."""
    return {file.inode: file for file in files.values() if file.digest}


def contents(files: dict[str, File]) -> set[str]:
    """Return the sha256 of all regular files."""
    return {file.digest for file in files.values() if file.digest}


def lost(before: dict[str, File], after: dict[str, File]) -> list[str]:
    """Return what is wrong in the middle: each file, known by its inode, is there as it was, under whatever name."""
    now, wrong = by_inode(after), []
    for inode, file in by_inode(before).items():
        names = [path for path, one in before.items() if one.inode == inode]
        if inode not in now:
            wrong.append(f"{names} is lost")
        elif now[inode] != file:
            wrong.append(f"{names} was changed: {file} -> {now[inode]}")
    if not contents(before) <= contents(after):
        wrong.append("a content is lost")
    return wrong


def lost_to_a_race(before: dict[str, File], after: dict[str, File]) -> list[str]:
    """Return what is wrong where somebody else changed files meanwhile: nobody deleted one, so all inodes are there."""
    missing = by_inode(before).keys() - by_inode(after).keys()
    return [f"{[path for path, one in before.items() if one.inode == inode]} is lost" for inode in missing]


def differences(before: dict[str, File], after: dict[str, File]) -> list[str]:
    """Return what `undo` did not restore."""
    wrong = [f"{path!r}: {file} -> {after.get(path)}" for path, file in before.items() if after.get(path) != file]
    return wrong + [f"{path!r} is left" for path in after.keys() - before.keys()]
