"""Pictures inside archives by their uris, for whoever wants them again: by a table of contents, or by passes.

A plain archive has a table: where each picture lies. A packed one can only be read from front to end; a pass remembers
how far it came, so that asking in its order reads it once.
"""

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from indexer.sources.found import MAX_FILE_BYTES, Content, Found, FoundFile, Source, UnreadableFile
from indexer.sources.member_contents import CarriedContent
from indexer.sources.tars import ArchiveReader
from search.errors import BadImage

TABLES: Final = 16  # tables of contents that are remembered,
TABLED_PICTURES: Final = 200_000  # of so many pictures together; the newest stays, however large
PASSES: Final = 4  # archives that are half read

Stamp = tuple[int, int]
Outcome = Content | BadImage


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive. path: local path, else its URL. uri: as images inside it are known. stamp: of stamp_of_archive."""

    path: str
    uri: str
    stamp: Stamp

    def reader(self, *, by_ranges: bool = False, scan_bytes: int | None = None) -> ArchiveReader:
        """Return a pass over it; the options are those of ArchiveReader."""
        source = Source(self.path, "archive", named=True, uri=self.uri)
        return ArchiveReader(source, self.stamp, MAX_FILE_BYTES, by_ranges=by_ranges, scan_bytes=scan_bytes)


@dataclass(frozen=True, slots=True)
class Table:
    """How to read each picture of a plain archive, by uri. failure: damage that hides what lies behind it.

    packed: the archive can have no table, whatever its name says.
    """

    pictures: Mapping[str, Outcome]
    failure: UnreadableFile | None
    packed: bool = False

    def find(self, uri: str) -> Outcome | None:
        """Return how to read a picture, None where the archive does not hold it.

        Raises:
            BadImage: the archive is damaged, and the picture not before the damage.
        """
        found = self.pictures.get(uri)
        if found is None and self.failure is not None:
            raise BadImage(self.failure.reason, self.failure.detail)
        return found


class Tables:
    """Tables of contents of the archives that were asked for last. Thread-safe."""

    def __init__(self) -> None:
        self._tables: OrderedDict[Archive, Table] = OrderedDict()
        self._lock = threading.Lock()
        self._making = threading.Lock()  # one at a time, so that threads which want the same one do not all read it

    def of(self, archive: Archive) -> Table:
        """Return the table of an archive.

        Raises:
            BadImage: it cannot be read now.
        """
        found = self._remembered(archive)
        if found is None:
            with self._making:
                found = self._remembered(archive) or self._remember(archive, _table(archive))
        return found

    def _remembered(self, archive: Archive) -> Table | None:
        with self._lock:
            if archive in self._tables:
                self._tables.move_to_end(archive)
            return self._tables.get(archive)

    def _remember(self, archive: Archive, table: Table) -> Table:
        with self._lock:
            self._tables[archive] = table
            while len(self._tables) > 1 and self._too_many():
                self._tables.popitem(last=False)
        return table

    def _too_many(self) -> bool:
        pictures = sum(len(one.pictures) for one in self._tables.values())
        return len(self._tables) > TABLES or pictures > TABLED_PICTURES


def _table(archive: Archive) -> Table:
    reader = archive.reader(by_ranges=True)
    pictures: dict[str, Outcome] = {}
    for found in reader.walk():
        if reader.carried:
            return Table({}, None, packed=True)
        pictures |= _outcome(found)
    if reader.failure is not None and not reader.lasting:
        raise BadImage(reader.failure.reason, reader.failure.detail)
    return Table(pictures, reader.failure)


def _outcome(found: Found) -> dict[str, Outcome]:
    """Return how to read a picture, or why that cannot be, by its uri; nothing for what is none."""
    if isinstance(found, FoundFile) and found.origin is not None and found.origin.content is not None:
        return {found.uri: found.origin.content}
    return {found.uri: BadImage(found.reason, found.detail)} if isinstance(found, UnreadableFile) else {}


class Passes:
    """Passes over packed archives, the last few of them half read. Thread-safe."""

    def __init__(self, scan_bytes: int | None, kept_bytes: int) -> None:
        """scan_bytes: how much of an archive, unpacked, may be looked through; None for all of it.

        kept_bytes: of pictures that one pass went by, kept for those who ask a little out of order.
        """
        self._scan_bytes = scan_bytes
        self._kept_bytes = kept_bytes
        self._passes: OrderedDict[str, _Pass] = OrderedDict()
        self._lock = threading.Lock()

    def find(self, archive: Archive, uri: str) -> Outcome | None:
        """Return how to read a picture, None where the archive does not hold it.

        Raises:
            BadImage: the archive cannot be read, or the picture lies too far from its front.
        """
        with self._lock:
            found = self._passes.pop(archive.uri, None)
            if found is None or found.archive.stamp != archive.stamp:
                found = _Pass(archive, self._scan_bytes, self._kept_bytes)
            self._passes[archive.uri] = found
            while len(self._passes) > PASSES:
                self._passes.popitem(last=False)
        return found.find(uri)

    def begun(self, uri: str) -> Archive | None:
        """Return an archive that is half read, None when there is none at this uri."""
        found = self._passes.get(uri)
        return None if found is None else found.archive


class _Pass:
    """Reads one archive from front to end, and again when something that it went by is wanted."""

    def __init__(self, archive: Archive, scan_bytes: int | None, kept_bytes: int) -> None:
        self.archive = archive
        self._scan_bytes = scan_bytes
        self._kept_bytes = kept_bytes
        self._lock = threading.Lock()
        self._known: set[str] = set()  # pictures met so far, by this reading or one before it
        self._complete = False  # nothing can be reached that is not known
        self._failure: UnreadableFile | None = None  # of the reading that came to an end last
        self._kept: OrderedDict[str, Outcome] = OrderedDict()
        self._used_bytes = 0
        self._reader = self._new_reader()
        self._walk: Iterator[Found] | None = self._reader.walk()

    def find(self, uri: str) -> Outcome | None:
        """As Passes.find. What was handed out is forgotten."""
        with self._lock:
            if uri not in self._kept:
                self._look_for(uri)
            found = self._kept.pop(uri, None)
            self._used_bytes -= _size(found)
            if found is None and self._failure is not None:
                raise BadImage(self._failure.reason, self._failure.detail)
            return found

    def _look_for(self, uri: str) -> None:
        if self._complete and uri not in self._known:
            return
        if self._walk is None or uri in self._known:
            self._reader = self._new_reader()
            self._walk = self._reader.walk()
        for found in self._walk:
            self._keep(_outcome(found))
            if uri in self._kept:
                return
        self._walk, self._failure = None, self._reader.failure
        self._complete = self._failure is None or self._reader.lasting

    def _new_reader(self) -> ArchiveReader:
        return self.archive.reader(scan_bytes=self._scan_bytes)

    def _keep(self, outcome: Mapping[str, Outcome]) -> None:
        for uri, content in outcome.items():
            self._known.add(uri)
            self._used_bytes += _size(content) - _size(self._kept.pop(uri, None))
            self._kept[uri] = content
        while self._used_bytes > self._kept_bytes and len(self._kept) > 1:
            self._used_bytes -= _size(self._kept.popitem(last=False)[1])


def _size(outcome: Outcome | None) -> int:
    return len(outcome.data) if isinstance(outcome, CarriedContent) else 0
