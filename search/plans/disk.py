"""Files as they are right now: opened without following a link, compared, hashed. Changes nothing.

Every folder on the way is opened by itself, so that a link that was put there meanwhile leads nowhere.
"""

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from search.errors import LookalikeError
from search.plans.plan import OnDisk
from search.records import displayable

PIECE: Final = 1 << 20
PASSING: Final = getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
LAST: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READING: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
LINK_MET: Final = (errno.ELOOP, errno.ENOTDIR)
REFUSED: Final = (errno.EACCES, errno.EPERM, errno.EROFS)


class Mismatch(LookalikeError):
    """A file is not what the plan says, or cannot be moved: its whole group is left alone. path: of that file."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{displayable(path)}: {why}")
        self.path = path
        self.why = why


class Signature(NamedTuple):
    """What differs when a file was replaced or written to. changed_ns: last change of it or of its names."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    changed_ns: int

    @property
    def data(self) -> tuple[int, int, int, int]:
        """Return what stays when only its names change."""
        return self[:4]

    @property
    def file(self) -> tuple[int, int]:
        """Return what two names of one file share."""
        return self[:2]


def signature(status: os.stat_result) -> Signature:
    """Return what `fstat` says, in short."""
    return Signature(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A regular file that is open for reading, in its open folder. handle, folder: descriptors."""

    path: Path
    folder: int
    handle: int

    @property
    def signature(self) -> Signature:
        """Return what the open file is now."""
        return signature(os.fstat(self.handle))

    def is_named(self) -> bool:
        """Return whether its path still leads to it, also through folders that were renamed."""
        found = seen(self.path)
        return found is not None and found.file == self.signature.file


def open_folder(path: Path) -> int:
    """Return a descriptor of a folder, no part of whose path is a link.

    Raises:
        OSError: it is not there, or a part of its path is a link or no folder.
    """
    names = path.parts[1:]
    handle = os.open(path.anchor, PASSING if names else LAST)
    for number, name in enumerate(names, start=1):
        try:
            below = os.open(name, LAST if number == len(names) else PASSING, dir_fd=handle)
        finally:
            os.close(handle)
        handle = below
    return handle


@contextmanager
def folder_at(path: Path) -> Iterator[int]:
    """Give a descriptor of a folder, as `open_folder` does."""
    handle = open_folder(path)
    try:
        yield handle
    finally:
        os.close(handle)


@contextmanager
def opened(path: Path) -> Iterator[OpenFile]:
    """Open a file by a path without links.

    Raises:
        Mismatch: it is gone, no regular file, behind a link, or may not be read.
        OSError: the disk does not answer.
    """
    with as_mismatch(path):
        folder = open_folder(path.parent)
    try:
        with as_mismatch(path):
            handle = _open_quietly(path.name, folder)
        try:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Mismatch(path, "is no regular file")
            yield OpenFile(path, folder, handle)
        finally:
            os.close(handle)
    finally:
        os.close(folder)


def _open_quietly(name: str, folder: int) -> int:
    """Open a file without a trace in its time of last access, where its owner or root may do so."""
    quiet = getattr(os, "O_NOATIME", 0)
    try:
        return os.open(name, READING | quiet, dir_fd=folder)
    except PermissionError:
        return os.open(name, READING, dir_fd=folder)


@contextmanager
def as_mismatch(path: Path) -> Iterator[None]:
    """Turn what the system says of one file into a Mismatch; what it says of the disk stays an OSError."""
    try:
        yield
    except OSError as error:
        why = _why(error)
        if why is None:
            raise
        raise Mismatch(path, why) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let what the disk says name a whole path: the system knows what it was asked for, a name in an open folder."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


def _why(error: OSError) -> str | None:
    if error.errno == errno.ENOENT:
        return "is gone"
    if error.errno in LINK_MET:
        return "a symbolic link is in its place, or in that of a folder above it"
    if error.errno in REFUSED:
        return f"it, or its folder, is closed to this user or read-only ({error.strerror})"
    if error.errno == errno.EXDEV:
        return "lies on another file system than its quarantine; index its own disk as a folder of its own"
    if error.errno == errno.EEXIST:
        return "another file has the name it should get"
    return None


def seen(path: Path) -> Signature | None:
    """Return what lies at a path now, None where nothing does or only a link leads there.

    Raises:
        OSError: the disk does not answer.
    """
    try:
        with folder_at(path.parent) as folder:
            status = os.stat(path.name, dir_fd=folder, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno in LINK_MET:
            return None
        raise
    return signature(status)


def require_as_planned(file: OpenFile, planned: OnDisk, device: int) -> None:
    """Compare an open file with what a plan says of it. device: what the planned one is called now.

    Raises:
        Mismatch: it was replaced or written to.
    """
    now = file.signature
    if now.inode != planned.inode or now.device != device:
        raise Mismatch(file.path, "is another file than when the plan was made")
    if (now.size_bytes, now.mtime_ns) != (planned.size_bytes, planned.mtime_ns):
        raise Mismatch(file.path, "was changed since the plan was made")


def sha256_of(file: OpenFile) -> str:
    """Return the sha256 of an open file, in hexadecimal digits.

    Raises:
        Mismatch: it is written to meanwhile.
        OSError: the disk does not answer.
    """
    before = file.signature
    digest = hashlib.sha256()
    for piece in _pieces(file):
        digest.update(piece)
    if file.signature.data != before.data:
        raise Mismatch(file.path, "is being written to")
    return digest.hexdigest()


def have_same_bytes(one: OpenFile, other: OpenFile) -> bool:
    """Return whether two open files hold the same bytes, compared one by one."""
    if one.signature.size_bytes != other.signature.size_bytes:
        return False
    return all(mine == theirs for mine, theirs in zip(_pieces(one), _pieces(other), strict=True))


def _pieces(file: OpenFile) -> Iterator[bytes]:
    at = 0
    while piece := os.pread(file.handle, PIECE, at):
        yield piece
        at += len(piece)
