"""Keypoints of indexed pictures in a folder of this machine, bounded: what was used least recently goes first.

A file is named by the sha256 of the picture's content, and carries a checksum; one that is damaged, or of another
release, is removed and made anew. Several processes may share the folder: files appear whole, by rename. The cache is a
convenience: where the folder cannot be read or written, keypoints are made from the picture each time, and the log says
so.
"""

import logging
import os
import threading
import time
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from search.errors import CorruptFile
from search.geometry.keypoints import Keypoints
from search.geometry.stored_keypoints import from_bytes, to_bytes

log = logging.getLogger(__name__)

SUFFIX = ".keypoints"
_PARTIAL = ".partial"
_PARTIAL_AGE_S = 3600.0
_SHARE = 8  # the folder is looked through whenever this share of the bound was added, and room for as much is made
_IN_MEMORY = 256  # pictures, about 17 MB


class KeypointCache:
    """The keypoints of many pictures. Thread-safe."""

    def __init__(self, folder: Path, max_bytes: int, in_memory: int = _IN_MEMORY) -> None:
        """max_bytes: of all files in the folder. in_memory: so many pictures used last are also kept in memory."""
        self.folder = folder
        self._max_bytes = max_bytes
        self._in_memory = in_memory
        self._recent: OrderedDict[str, Keypoints] = OrderedDict()
        self._added = max_bytes  # what others left there is looked at before the first file is added
        self._lock = threading.Lock()

    def get(self, sha256: str, make: Callable[[], Keypoints]) -> Keypoints:
        """Return the keypoints of a content, made and kept if they are not there.

        Raises:
            Whatever `make` raises.
        """
        found = self.find(sha256)
        if found is None:
            found = make()
            self.keep(sha256, found)
        return found

    def find(self, sha256: str) -> Keypoints | None:
        """Return the keypoints of a content, None where they are not there or no longer what was stored."""
        with self._lock:
            recent = self._recent.get(sha256)
            if recent is not None:
                self._recent.move_to_end(sha256)
                return recent
        found = self._read(sha256)
        if found is not None:
            self._remember(sha256, found)
        return found

    def keep(self, sha256: str, keypoints: Keypoints) -> None:
        """Store the keypoints of a content, making room for them."""
        self._remember(sha256, keypoints)
        data, place = to_bytes(keypoints), self._place(sha256)
        if len(data) > self._max_bytes // _SHARE:
            return
        with self._lock:
            self._added += len(data)
            crowded = self._added * _SHARE > self._max_bytes
            if crowded:
                self._added = len(data)
        try:
            if crowded:
                self._make_room()
            self._write(place, data)
        except OSError as error:
            log.warning("cannot keep keypoints in %s (%s); they are made again when needed", self.folder, error)

    def _read(self, sha256: str) -> Keypoints | None:
        place = self._place(sha256)
        try:
            found = from_bytes(place.read_bytes())
            with suppress(OSError):  # a folder that can only be read
                # Its time of use, by which the least recently used are dropped.
                os.utime(place, ns=(time.time_ns(), place.stat().st_mtime_ns))
        except FileNotFoundError:
            return None
        except CorruptFile as error:
            log.warning("%s: %s", place, error)
            with suppress(OSError):
                place.unlink()
            return None
        except OSError as error:
            log.warning("cannot read %s (%s); its keypoints are made again", place, error)
            return None
        return found

    def _write(self, place: Path, data: bytes) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.parent / f"{uuid.uuid4().hex}{_PARTIAL}"
        try:
            partial.write_bytes(data)
            partial.replace(place)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def _remember(self, sha256: str, keypoints: Keypoints) -> None:
        with self._lock:
            self._recent[sha256] = keypoints
            self._recent.move_to_end(sha256)
            while len(self._recent) > self._in_memory:
                self._recent.popitem(last=False)

    def _make_room(self) -> None:
        """Remove what was used least recently until an eighth of the bound is free."""
        files = sorted(self._files())
        used = sum(size for _, size, _ in files)
        for _, size, path in files:
            if used <= self._max_bytes - self._max_bytes // _SHARE:
                break
            path.unlink(missing_ok=True)
            used -= size

    def _files(self) -> Iterator[tuple[int, int, Path]]:
        for path in self.folder.glob("*/*"):
            with suppress(FileNotFoundError):  # another process dropped it meanwhile
                found = path.stat()
                if path.suffix == SUFFIX:
                    yield found.st_atime_ns, found.st_size, path
                elif path.suffix == _PARTIAL and found.st_mtime < time.time() - _PARTIAL_AGE_S:
                    path.unlink(missing_ok=True)

    def _place(self, sha256: str) -> Path:
        return self.folder / sha256[:2] / f"{sha256}{SUFFIX}"
