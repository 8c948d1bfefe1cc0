"""Local folders and files, walked lazily, and read without waiting.

Symbolic links met while walking are not followed: a link and its target are one picture, and links can form loops.
"""

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from indexer.decoding import raw_previews
from indexer.decoding.formats import IMAGE_SUFFIXES, RAW_SUFFIXES, SNIFF_BYTES, is_supported, sniff
from indexer.sources.found import Found, FoundFile, IgnoredFile, Sidecar, Source, UnreadableFile, stamped, suffix_of
from indexer.sources.sidecars import SUFFIX, sidecar_name
from search.errors import BadImage
from search.plans.places import QUARANTINE
from search.records import displayable, uri_of_path


def walk_folder(source: Source, skip: str | None) -> Iterator[Found]:
    """Yield every file of a folder and below, in name order, without holding a listing of the whole tree.

    skip: a folder that is never entered.
    """
    pending = [source.path]
    cut = len(source.path.rstrip("/")) + 1
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield unreadable(folder, error)
            continue
        sidecars = frozenset(entry.name for entry in entries if entry.name.endswith(SUFFIX))
        below = []
        for entry in entries:
            excluded = bool(source.exclude) and source.exclude.matches(entry.path[cut:])
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.path != skip and not excluded:
                    below.append(entry.path)
            else:
                yield IgnoredFile(entry.path) if excluded else _meet(entry, sidecars)
        pending += reversed(below)


def _meet(entry: os.DirEntry[str], sidecars: frozenset[str]) -> Found:
    """Judge a directory entry that is no folder: a picture, a nuisance, or nothing of ours."""
    # A name with a leading dot is a system's own file, such as the ._ twins macOS leaves beside pictures.
    if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
        return IgnoredFile(entry.path)
    found = look(entry.path, named=False)
    if sidecars and isinstance(found, FoundFile):
        return _beside(found, sidecar_name(entry.name, sidecars))
    return found


def look_with_sidecar(path: str, *, named: bool) -> Found:
    """Return what a single local file is, with the sidecar beside it."""
    found = look(path, named=named)
    if not isinstance(found, FoundFile):
        return found
    folder, name = os.path.split(path)
    stem = name.rpartition(".")[0]
    there = [one for one in (name + SUFFIX, stem + SUFFIX) if one != name and os.path.isfile(f"{folder}/{one}")]  # noqa: PTH113
    return _beside(found, sidecar_name(name, there))


def _beside(found: FoundFile, name: str | None) -> FoundFile:
    if name is None:
        return found
    path = f"{os.path.dirname(found.path)}/{name}"  # noqa: PTH120
    try:
        status = os.stat(path)  # noqa: PTH116 -- the walker's inner loop
    except OSError:
        return found  # it went between the listing and now; the next run sees the difference
    stamp = stamped(found.mtime_ns, status.st_mtime_ns, status.st_size)
    return replace(found, mtime_ns=stamp, sidecar=Sidecar(path, uri_of_path(path)))


def look(path: str, *, named: bool) -> Found:
    """Return what a single local file is. named: the user named it, so that it is never merely ignored."""
    if QUARANTINE in path and QUARANTINE in Path(path).parts:
        return UnreadableFile(uri_of_path(path), "vanished", "it lies in a quarantine") if named else IgnoredFile(path)
    try:
        status = os.stat(path)  # noqa: PTH116 -- the walker's inner loop
        if not named and not _may_be_image(path):
            return IgnoredFile(path)
    except OSError as error:
        return unreadable(path, error)
    if not stat.S_ISREG(status.st_mode):
        return UnreadableFile(uri_of_path(path), "read_error", "neither a file nor a folder")
    return FoundFile(path, uri_of_path(path), status.st_size, status.st_mtime_ns)


def named_like_an_image(name: str) -> bool:
    """Tell by its name alone whether a file is worth decoding."""
    suffix = suffix_of(name)
    return suffix in IMAGE_SUFFIXES or (suffix in RAW_SUFFIXES and raw_previews.installed())


def _may_be_image(path: str) -> bool:
    """Tell by its suffix, else by its first bytes, whether a file met while walking is worth decoding."""
    if named_like_an_image(path):
        return True
    if suffix_of(path) in RAW_SUFFIXES:  # many are TIFF inside and would decode to a stamp-sized preview
        return False
    with open(path, "rb") as file:  # noqa: PTH123
        return is_supported(sniff(file.read(SNIFF_BYTES)))


def unreadable(path: str, error: OSError) -> UnreadableFile:
    """Return the ledger's view of a local file or folder that cannot be looked at."""
    return UnreadableFile(uri_of_path(path), reason_of(error), f"{error.strerror} ({displayable(Path(path))})")


def reason_of(error: OSError) -> str:
    """Return the ledger reason of an operating-system error."""
    if isinstance(error, PermissionError):
        return "permission_denied"
    return "vanished" if isinstance(error, FileNotFoundError) else "read_error"


def read_local(path: str, max_bytes: int) -> bytes:
    """Return the bytes of a local file.

    Raises:
        BadImage: it is gone, unreadable, or larger than max_bytes.
    """
    try:
        # Without waiting: a pipe under a picture's name would otherwise hold this thread for ever.
        with open(path, "rb", opener=_open_at_once) as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadImage("read_error", "it is no regular file any more")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BadImage(reason_of(error), error.strerror or str(error)) from error
    require_size(len(data), max_bytes)
    return data


def require_size(size_bytes: int, max_bytes: int) -> None:
    """Raises:
    BadImage: a file of this size is larger than allowed.
    """
    if size_bytes > max_bytes:
        raise BadImage("file_too_large", f"more than {max_bytes} bytes")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
