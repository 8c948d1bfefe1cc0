"""The files of a backup, in a folder or in a plain .tar: `catalogue.sqlite`, `segments/*`, `plans/*`, `uploads/*/*`.

`backup.json`, the manifest, is written last: `{format, made_at, accept_license, collections, files: [{name, bytes,
sha256}], uploads, sha256}`, where the last sha256 is over all the rest of it. A backup without a whole manifest is
none. What is read is hostile until proved otherwise: names follow one pattern, links and other kinds of members are
refused, nothing is unpacked by a name of its own choosing.
"""

import hashlib
import json
import os
import re
import stat
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Protocol

import numpy as np
from numpy.typing import NDArray

from search.blobs.blobs import sync_folder
from search.errors import CorruptFile, LookalikeError, StoreTooNew, UsageError
from search.faults import fault
from search.moving import plan_copies, upload_copies

FORMAT = 3  # 1 had no plans, 2 no uploads
MANIFEST = "backup.json"
CATALOGUE = "catalogue.sqlite"
PLAIN = f"{plan_copies.COPIED.pattern}|{upload_copies.COPIED.pattern}"
NAME = re.compile(rf"catalogue\.sqlite|segments/[A-Za-z0-9][A-Za-z0-9._-]{{0,200}}|{PLAIN}")
PIECE_BYTES = 1 << 20
MAX_MANIFEST_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class BackupFile:
    """A file of a backup. sha256: 64 hexadecimal digits."""

    name: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a backup holds. made_at: ISO 8601, UTC. collections: {name, images, sequence} each.

    uploads: uri of the folder where the store had its uploads, None in backups without any.
    """

    made_at: str
    accept_license: str | None
    collections: tuple[Mapping[str, object], ...]
    files: tuple[BackupFile, ...]
    uploads: str | None = None

    def dump(self) -> bytes:
        """Return backup.json."""
        shape = {"format": FORMAT, **asdict(self)}
        return json.dumps(shape | {"sha256": _sum_of(shape)}, indent=1).encode()


def load_manifest(data: bytes, place: Path) -> Manifest:
    """Return the manifest that backup.json holds. place: for messages.

    Raises:
        CorruptFile: it is not what a backup wrote.
        StoreTooNew: a newer release wrote it.
    """
    try:
        shape = json.loads(data)
        said = shape.pop("sha256")
        if shape["format"] > FORMAT:
            raise StoreTooNew(
                f"{place} is a backup of format {shape['format']}; this release knows up to {FORMAT}: install a newer "
                "Lookalike"
            )
        if said != _sum_of(shape):
            raise ValueError("its own checksum differs")
        files = tuple(BackupFile(str(one["name"]), int(one["bytes"]), str(one["sha256"])) for one in shape["files"])
        uploads = shape.get("uploads")
        manifest = Manifest(shape["made_at"], shape["accept_license"], tuple(shape["collections"]), files, uploads)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptFile(f"the manifest of {place} is damaged ({error}); use another backup") from error
    for file in files:
        if not NAME.fullmatch(file.name):
            raise CorruptFile(f"the manifest of {place} names {file.name!r}, which no backup holds; do not use it")
    return manifest


def _sum_of(shape: Mapping[str, object]) -> str:
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


class BackupWriter(Protocol):
    """Takes the files of a backup, one after the other."""

    def add(self, name: str, data: NDArray[np.uint8]) -> BackupFile:
        """Write one file, (bytes,) uint8, and return it with the checksum of what was written.

        Raises:
            OSError: the disk is full or refuses the write.
        """
        ...

    def finish(self, manifest: bytes) -> Path:
        """Write the manifest and make everything durable; return what is to be renamed to the final name."""
        ...


class FolderWriter:
    """Writes a backup as files of a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, name: str, data: NDArray[np.uint8]) -> BackupFile:
        """Copy one file."""
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        pieces = _HashedPieces(data)
        with path.open("xb") as file:
            fault("backup.file")
            while piece := pieces.read(PIECE_BYTES):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        return BackupFile(name, len(data), pieces.sha256.hexdigest())

    def finish(self, manifest: bytes) -> Path:
        """Write the manifest."""
        fault("backup.manifest")
        with (self._folder / MANIFEST).open("xb") as file:
            file.write(manifest)
            file.flush()
            os.fsync(file.fileno())
        for folder in (path for path in self._folder.rglob("*") if path.is_dir()):
            sync_folder(folder)
        sync_folder(self._folder)
        return self._folder


class TarWriter:
    """Writes a backup as one tar, in the format of POSIX, uncompressed: embeddings do not compress."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = path.open("xb")
        self._tar = tarfile.TarFile(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)

    def add(self, name: str, data: NDArray[np.uint8]) -> BackupFile:
        """Append one file."""
        member = tarfile.TarInfo(name)
        member.size, member.mode = len(data), 0o600
        pieces = _HashedPieces(data)
        fault("backup.file")
        self._tar.addfile(member, pieces)
        return BackupFile(name, len(data), pieces.sha256.hexdigest())

    def finish(self, manifest: bytes) -> Path:
        """Append the manifest."""
        fault("backup.manifest")
        self.add(MANIFEST, np.frombuffer(manifest, np.uint8))
        self._tar.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        return self._path

    def close(self) -> None:
        """Let the file go, whatever became of it."""
        self._file.close()


class _HashedPieces:
    """A memory map as a file that is read once, with the sha256 of what was read."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self.sha256 = hashlib.sha256()
        self._data = data
        self._at = 0

    def read(self, size: int = PIECE_BYTES, /) -> bytes:
        piece = self._data[self._at : self._at + size].tobytes()
        self._at += len(piece)
        self.sha256.update(piece)
        return piece


class BackupReader:
    """An open backup, whose files are checked while they are read."""

    def __init__(self, place: Path, opened: "_Folder | _Tar") -> None:
        """Raises:
        CorruptFile: there is no manifest, or it is damaged.
        StoreTooNew: a newer release wrote the backup.
        """
        self._place = place
        self._opened = opened
        with opened.open(MANIFEST) as file:
            data = file.read(MAX_MANIFEST_BYTES)
        self.manifest = load_manifest(data, place)
        self._files = {file.name: file for file in self.manifest.files}

    def file(self, name: str) -> BackupFile:
        """Return what the manifest says of a file.

        Raises:
            CorruptFile: it does not name it.
        """
        if name not in self._files:
            raise CorruptFile(f"{self._place} holds no {name}, which its catalogue needs; use another backup")
        return self._files[name]

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield the bytes of a file; what came is only to be used once the iterator has ended.

        Raises:
            CorruptFile: it is missing, a link, or not what the manifest says: found at the end.
        """
        expected = self.file(name)
        sha256, size = hashlib.sha256(), 0
        with self._opened.open(name) as file:
            while piece := file.read(PIECE_BYTES):
                sha256.update(piece)
                size += len(piece)
                if size > expected.bytes:
                    break
                yield piece
        if (size, sha256.hexdigest()) != (expected.bytes, expected.sha256):
            raise CorruptFile(f"{name} of {self._place} is damaged: its checksum differs; use another backup")


@contextmanager
def open_backup(place: Path) -> Iterator[BackupReader]:
    """Open a backup for reading.

    Raises:
        UsageError: there is none at this place.
        CorruptFile: it is not whole, or has members that no backup has.
        StoreTooNew: a newer release wrote it.
    """
    if place.is_dir():
        yield BackupReader(place, _Folder(place))
        return
    try:
        file = place.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {place}: {error.strerror}; name a backup") from error
    try:
        with file, tarfile.open(fileobj=file, mode="r:") as tar:
            yield BackupReader(place, _Tar(place, tar))
    except tarfile.TarError as error:
        raise CorruptFile(f"{place} is no whole backup: {error}; use another") from error


class _Folder:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def open(self, name: str) -> IO[bytes]:
        path = self._folder / name
        try:
            # A link could lead to any file of this machine.
            above = (self._folder / one for one in Path(name).parents)
            if any(one.is_symlink() for one in above if one != self._folder) or not stat.S_ISREG(path.lstat().st_mode):
                raise CorruptFile(f"{path} is no plain file; do not use this backup")
            return os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb")
        except FileNotFoundError as error:
            raise _missing(name, self._folder) from error
        except OSError as error:
            raise LookalikeError(f"cannot read {path}: {error.strerror}") from error


class _Tar:
    def __init__(self, place: Path, tar: tarfile.TarFile) -> None:
        self._place = place
        self._tar = tar
        self._members: dict[str, tarfile.TarInfo] = {}
        for member in tar:
            plain = member.type in (tarfile.REGTYPE, tarfile.AREGTYPE) and not member.issparse()
            known = member.name == MANIFEST or NAME.fullmatch(member.name)
            if not (plain and known) or member.name in self._members:
                raise CorruptFile(f"{place} has a member {member.name!r} that no backup has; do not use it")
            self._members[member.name] = member

    def open(self, name: str) -> IO[bytes]:
        member = self._members.get(name)
        file = None if member is None else self._tar.extractfile(member)
        if file is None:
            raise _missing(name, self._place)
        return file


def _missing(name: str, place: Path) -> LookalikeError:
    if name == MANIFEST:
        return CorruptFile(f"{place} is no backup, or one that was not finished: it has no {MANIFEST}")
    return CorruptFile(f"{place} lacks {name}; use another backup")
