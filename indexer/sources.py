"""Where files come from: folders, files and globs, walked lazily.

Named files that are no images go to the ledger; files merely met while walking are ignored. Symbolic links met while
walking are not followed: a link and its target are one picture, and links can form loops.
"""

import glob
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from indexer.formats import IMAGE_SUFFIXES, RAW_SUFFIXES, SNIFF_BYTES, is_supported, sniff
from search.errors import BadImage, UsageError
from search.records import displayable, uri_of_path

MAX_FILE_BYTES = 512 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that is, or claims to be, a picture."""

    path: str
    uri: str
    size_bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file or folder that cannot be looked at, for the ledger."""

    uri: str
    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file met while walking that is no image of a known format."""

    path: str


Found = FoundFile | UnreadableFile | IgnoredFile


@dataclass(frozen=True, slots=True)
class Source:
    """One checked SOURCE argument, absolute and free of symbolic links."""

    path: str
    kind: Literal["folder", "file"]
    named: bool


def resolve(arguments: Sequence[str]) -> list[Source]:
    """Return the sources behind the arguments, each place once; a source inside another is left out.

    Raises:
        UsageError: an argument names nothing that exists, or a symbolic link that leads nowhere.
    """
    sources: dict[str, Source] = {}
    for argument in arguments:
        for source in _expand(argument):
            sources.setdefault(source.path, source)
    folders = [path for path, source in sources.items() if source.kind == "folder"]
    return [source for source in sources.values() if not any(_inside(source.path, folder) for folder in folders)]


def walk(sources: Sequence[Source], skip: Path | None = None) -> Iterator[Found]:
    """Yield every file of the sources, folders in name order, without holding a listing of the whole tree.

    skip: a folder that is never entered (the store itself).
    """
    for source in sources:
        if source.kind == "file":
            yield _look(source.path, named=source.named)
        else:
            yield from _walk_folder(source.path, str(skip) if skip is not None else None)


def count(sources: Sequence[Source]) -> Iterator[int]:
    """Yield 1 for each file that may be an image, judging by names alone; fast, for progress bars."""
    for source in sources:
        if source.kind == "file":
            yield 1
            continue
        for _, folders, names in os.walk(source.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            yield sum(_suffix(name) in IMAGE_SUFFIXES and not name.startswith(".") for name in names)


def _expand(argument: str) -> Iterator[Source]:
    path = os.path.expanduser(argument)  # noqa: PTH111 -- pathlib would normalise names a user typed
    try:
        real = os.path.realpath(path, strict=True)
    except OSError as error:
        matches = sorted(glob.iglob(path, recursive=True)) if glob.has_magic(path) else []  # noqa: PTH207
        if not matches:
            raise UsageError(f"{argument}: {error.strerror}; name a folder, a file or a glob that exists") from error
        for match in matches:
            kind: Literal["folder", "file"] = "folder" if Path(match).is_dir() else "file"
            if kind == "folder" or not Path(match).is_symlink():
                yield Source(os.path.realpath(match), kind, named=False)
        return
    yield Source(real, "folder" if Path(real).is_dir() else "file", named=True)


def _inside(path: str, folder: str) -> bool:
    return path != folder and path.startswith(folder.rstrip("/") + "/")


def _walk_folder(root: str, skip: str | None) -> Iterator[Found]:
    pending = [root]
    while pending:
        folder = pending.pop()
        try:
            with os.scandir(folder) as listing:
                entries = sorted(listing, key=lambda entry: entry.name)
        except OSError as error:
            yield _unreadable(folder, error)
            continue
        below = []
        for entry in entries:
            if entry.is_dir(follow_symlinks=False):
                if not entry.name.startswith(".") and entry.path != skip:
                    below.append(entry.path)
            else:
                yield _meet(entry)
        pending += reversed(below)


def _meet(entry: os.DirEntry[str]) -> Found:
    """Judge a directory entry that is no folder: a picture, a nuisance, or nothing of ours."""
    # A name with a leading dot is a system's own file, such as the ._ twins macOS leaves beside pictures.
    if entry.name.startswith(".") or not entry.is_file(follow_symlinks=False):
        return IgnoredFile(entry.path)
    return _look(entry.path, named=False)


def _look(path: str, *, named: bool) -> Found:
    try:
        status = os.stat(path)  # noqa: PTH116 -- the walker's inner loop
        if not named and not _may_be_image(path):
            return IgnoredFile(path)
    except OSError as error:
        return _unreadable(path, error)
    if not os.path.isfile(path):  # noqa: PTH113
        return UnreadableFile(uri_of_path(path), "read_error", "neither a file nor a folder")
    return FoundFile(path, uri_of_path(path), status.st_size, status.st_mtime_ns)


def _may_be_image(path: str) -> bool:
    """Tell by its suffix, else by its first bytes, whether a file met while walking is worth decoding."""
    suffix = _suffix(path)
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix in RAW_SUFFIXES:  # many are TIFF inside and would decode to a stamp-sized preview
        return False
    with open(path, "rb") as file:  # noqa: PTH123
        return is_supported(sniff(file.read(SNIFF_BYTES)))


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1].lower()  # noqa: PTH122


def _unreadable(path: str, error: OSError) -> UnreadableFile:
    return UnreadableFile(uri_of_path(path), reason_of(error), f"{error.strerror} ({displayable(Path(path))})")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def reason_of(error: OSError) -> str:
    """Return the ledger reason of an operating-system error."""
    if isinstance(error, PermissionError):
        return "permission_denied"
    return "vanished" if isinstance(error, FileNotFoundError) else "read_error"


def read_file(found: FoundFile, max_bytes: int) -> bytes:
    """Return the bytes of a file.

    Raises:
        BadImage: it is gone, unreadable, or larger than max_bytes.
    """
    try:
        # Without waiting: a pipe under a picture's name would otherwise hold this thread for ever.
        with open(found.path, "rb", opener=_open_at_once) as file:  # noqa: PTH123
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise BadImage("read_error", "it is no regular file any more")
            data = file.read(max_bytes + 1)
    except OSError as error:
        raise BadImage(reason_of(error), error.strerror or str(error)) from error
    if len(data) > max_bytes:
        raise BadImage("file_too_large", f"more than {max_bytes} bytes; raise --max-file-bytes to allow it")
    return data
