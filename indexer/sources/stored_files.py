"""Reading the files of stored images again, by their uris: local files, objects behind URLs, members of archives.

| archive | one picture | many, in the order of the archive |
|---|---|---|
| plain, on this machine | where it lies | where it lies |
| plain, in object storage | by a range, its headers read once | one pass |
| packed, or on the web | a pass up to it, `SCAN_BYTES` at most | one pass |
"""

import os
from typing import Final

from indexer.sources.archive_members import Archive, Outcome, Passes, Tables
from indexer.sources.found import INSIDE, MAX_FILE_BYTES
from indexer.sources.local_files import read_local
from indexer.sources.remote_files import RemoteContent, is_http
from indexer.sources.tars import stamp_of_archive
from search.errors import BadImage
from search.records import path_of_uri
from search.storing.uploads import SCHEME

PLAIN: Final = ".tar"  # any other is packed
SCAN_BYTES: Final = 256 << 20  # about a second of unpacking
KEPT_BYTES: Final = 16 << 20
# Threads that ask in order still overtake each other, and what was overtaken costs another pass when it was let go.
KEPT_BYTES_IN_ORDER: Final = 256 << 20


class StoredFiles:
    """Reads files again. Thread-safe; what it remembers of archives goes with it."""

    def __init__(self, *, remote: bool = True, in_order: bool = False) -> None:
        """remote: also what lies behind a network, which a server must not ask for because a visitor does.

        in_order: many pictures will be asked for, about in the order in which they were indexed.
        """
        self._remote = remote
        self._in_order = in_order
        self._tables = Tables()
        self._passes = Passes(None, KEPT_BYTES_IN_ORDER) if in_order else Passes(SCAN_BYTES, KEPT_BYTES)

    def read(self, uri: str, max_bytes: int = MAX_FILE_BYTES) -> bytes:
        """Return the bytes at the uri of an image.

        Raises:
            BadImage: it is gone, unreadable, larger than max_bytes, or too far inside an archive that must be read
                from front to end.
        """
        if uri.startswith(SCHEME):
            raise BadImage("vanished", "it was sent to a server that did not keep it")
        place, inside, _ = uri.partition(INSIDE)
        path = path_of_uri(place if inside else uri)
        if path is None and not self._remote:
            raise BadImage("read_error", "it is no file of this machine")
        if not inside:
            return read_local(os.fspath(path), max_bytes) if path is not None else RemoteContent(uri).read(max_bytes)
        outcome = self._member(place if path is None else os.fspath(path), place, uri)
        if outcome is None:
            raise BadImage("vanished", "its archive holds it no more")
        if isinstance(outcome, BadImage):
            raise BadImage(outcome.reason, outcome.detail)
        return outcome.read(max_bytes)

    def _member(self, path: str, place: str, uri: str) -> Outcome | None:
        """Return how to read a member of the archive at a place, None where it is not there."""
        # An archive that changes while a job goes through it is told by the checksums of what is read.
        archive = self._passes.begun(place) if self._in_order else None
        if archive is None:
            archive = Archive(path, place, stamp_of_archive(path))
            if self._has_table(archive) and not (table := self._tables.of(archive)).packed:
                return table.find(uri)
        return self._passes.find(archive, uri)

    def _has_table(self, archive: Archive) -> bool:
        local = archive.path != archive.uri
        plain = archive.path.lower().endswith(PLAIN)
        return plain and (local or not (self._in_order or is_http(archive.path)))


def is_remote(uri: str) -> bool:
    """Tell whether an image's file lies behind a network."""
    return path_of_uri(uri.partition(INSIDE)[0]) is None
