"""Pictures that came to the store itself: their originals, or small pictures of them, as files named by their sha256.

They lie beside the segments, in `uploads/`; where segments are in object storage, in the store's own folder. A file is
durable before the image that needs it is committed. It goes when no image names it any more; a lock that all who add
share keeps what is about to be named.
"""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from sqlalchemy import exists, select

from search.blobs.blobs import sync_folder
from search.database.tables import content, image
from search.errors import StoreUnavailable
from search.records import path_of_uri, uri_of_path
from search.settings import StoreSettings
from search.storing.store import Store

FOLDER: Final = "uploads"
SCHEME: Final = "upload:"  # of the uri of a picture whose file nobody kept
_FORMAT: Final = re.compile("[a-z0-9]{1,8}")
SMALL: Final = ".small.jpg"  # after the sha256: the small picture of a content


def is_upload(uri: str, folder: Path) -> bool:
    """Tell whether a picture came to a store itself. folder: of the uploads of that store."""
    path = path_of_uri(uri)
    return uri.startswith(SCHEME) or (path is not None and folder in path.parents)


def folder_of(settings: StoreSettings) -> Path:
    """Return where the uploads of a store lie; it may not be there yet."""
    blobs = settings.blobs
    return ((blobs if isinstance(blobs, Path) else settings.root) / FOLDER).absolute()


def place_of(name: str) -> str:
    """Return where a file lies below the folder of the uploads."""
    return f"{name[:2]}/{name}"


class Uploads:
    """The pictures that one store keeps. Safe for several threads and processes."""

    def __init__(self, store: Store) -> None:
        self._folder = folder_of(store.settings)
        self._database = store.database

    @property
    def folder(self) -> Path:
        """Return where the files lie; it may not be there yet."""
        return self._folder

    @contextlib.contextmanager
    def adding(self) -> Iterator[None]:
        """Keep files from being dropped until the images that name them are committed.

        Raises:
            StoreUnavailable: the folder cannot be written.
        """
        with self._locked(fcntl.LOCK_SH):
            yield

    def keep_original(self, data: bytes, sha256: bytes, kind: str) -> str:
        """Keep a picture as it came, durably, and return the uri of its file. kind: its format.

        Raises:
            StoreUnavailable: the disk is full or refuses the write.
        """
        suffix = kind if _FORMAT.fullmatch(kind) else "picture"
        return uri_of_path(str(self._write(f"{sha256.hex()}.{suffix}", data).absolute()))

    def keep_small(self, jpeg: bytes, sha256: bytes) -> None:
        """Keep a small picture of one that came, durably.

        Raises:
            StoreUnavailable: the disk is full or refuses the write.
        """
        self._write(f"{sha256.hex()}{SMALL}", jpeg)

    def small(self, sha256: bytes) -> bytes | None:
        """Return the small picture of a content, None where none is kept."""
        try:
            return self._place(f"{sha256.hex()}{SMALL}").read_bytes()
        except OSError:
            return None

    def drop_unused(self, uri: str, sha256: bytes) -> None:
        """Remove what is kept of a picture, if no image of any collection needs it. uri: that an image had.

        Raises:
            StoreUnavailable: the folder cannot be written, or the database does not answer.
        """
        path = path_of_uri(uri)
        mine = path is not None and self.folder in path.parents
        if not is_upload(uri, self.folder):
            return
        with self._locked(fcntl.LOCK_EX):
            if mine and path is not None and not self._named(image.c.uri == uri):
                path.unlink(missing_ok=True)
            if not self._named((content.c.sha256 == sha256) & image.c.uri.startswith(SCHEME)):
                self._place(f"{sha256.hex()}{SMALL}").unlink(missing_ok=True)

    def _named(self, condition: object) -> bool:
        living = select(image.c.id).join(content, content.c.id == image.c.content_id)
        query = select(exists(living.where(condition, ~image.c.deleted)))  # type: ignore[arg-type]
        with self._database.reading() as connection:
            return bool(connection.execute(query).scalar_one())

    def _place(self, name: str) -> Path:
        return self._folder / place_of(name)

    def _write(self, name: str, data: bytes) -> Path:
        path = self._place(name)
        if path.exists() and path.stat().st_size == len(data):
            return path
        partial = path.with_name(f".{name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
        try:
            self._made(path.parent)
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.rename(path)
            sync_folder(path.parent)
        except OSError as error:
            partial.unlink(missing_ok=True)
            raise StoreUnavailable(f"cannot keep {path}: {error.strerror}; free space or permissions") from error
        return path

    def _made(self, folder: Path) -> None:
        if folder.is_dir():
            return
        folder.mkdir(parents=True, exist_ok=True)
        sync_folder(self._folder)
        sync_folder(self._folder.parent)

    @contextlib.contextmanager
    def _locked(self, how: int) -> Iterator[None]:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StoreUnavailable(f"cannot write in {self._folder}: {error.strerror}") from error
        try:
            fcntl.flock(handle, how)
            yield
        finally:
            os.close(handle)
