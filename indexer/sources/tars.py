"""Pictures inside tar archives, WebDataset style: `key.jpg` with `key.json`, `key.txt` and `key.cls` beside it.

An archive is read once, from front to end, and nothing of it is put on a disk. A plain local one gives up only its
headers here, and its pictures when they are wanted; a compressed or remote one streams, so that its pictures travel on
in memory. To read single pictures again, a plain remote one can be asked for its headers by ranges, too. Of samples
samples.py knows.
"""

import bz2
import contextlib
import gzip
import lzma
import os
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote_from_bytes

from indexer.sources.found import (
    INSIDE,
    Found,
    FoundFile,
    IgnoredFile,
    Origin,
    Source,
    UnreadableFile,
    Visit,
    is_url,
    stamped,
)
from indexer.sources.local_files import named_like_an_image, reason_of
from indexer.sources.member_contents import CarriedContent, MemberContent, MemberOfArchive
from indexer.sources.network_errors import explained
from indexer.sources.remote_files import RemotePart, look_remote, open_by_ranges, open_remote
from indexer.sources.samples import Apart, Elsewhere, Sample, belongs, key_of, lies_beside
from indexer.sources.sidecars import MAX_SIDECAR_BYTES
from search.errors import BadImage

SUFFIXES: Final = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_PACKED: Final = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_UNPACK: Final[Mapping[str, Callable[[Any], Any]]] = {
    "gz": lambda file: gzip.GzipFile(fileobj=file, mode="rb"),
    "bz2": bz2.BZ2File,
    "xz": lzma.LZMAFile,
}
_SPARSE: Final = ("read_error", "it is stored as a sparse file, which is not read out of archives")
_DAMAGE: Final = (tarfile.TarError, EOFError, zlib.error, lzma.LZMAError, gzip.BadGzipFile)


class _Header(tarfile.TarInfo):
    """Remembers how the reading of headers ended: tarfile itself takes a broken one for the end."""

    @classmethod
    def fromtarfile(cls, tarfile: Any) -> "_Header":
        try:
            found: _Header = super().fromtarfile(tarfile)
        except Exception as error:
            tarfile.ended_by = error
            raise
        return found


def is_archive(name: str) -> bool:
    """Tell by its name whether a file is an archive."""
    return name.lower().endswith(SUFFIXES)


def stamp_of_archive(path: str) -> tuple[int, int]:
    """Return (size, date) of an archive; the date has the ETag in it.

    Raises:
        BadImage: it cannot be looked at.
    """
    if is_url(path):
        found = look_remote(path)
        if isinstance(found, UnreadableFile):
            raise BadImage(found.reason, found.detail)
        return found.size_bytes, found.mtime_ns
    try:
        status = os.stat(path)  # noqa: PTH116
    except OSError as error:
        raise BadImage(reason_of(error), error.strerror or str(error)) from error
    return status.st_size, status.st_mtime_ns


def walk_tar(source: Source, visit: Visit, stamp: tuple[int, int], max_bytes: int) -> Iterator[Found]:
    """Yield the pictures of an archive. What stops the reading is one entry for the ledger; what came before stays.

    stamp: as `stamp_of_archive` gave it. max_bytes: of a picture.
    """
    reader = ArchiveReader(source, stamp, max_bytes)
    for found in reader.walk(_elsewhere(source.path)):
        visit.images += isinstance(found, FoundFile)
        yield found
    visit.apart = reader.apart.samples
    visit.whole = reader.failure is None
    if reader.failure is not None:
        yield replace(reader.failure, detail=f"{reader.failure.detail}; what came before is indexed")


def _elsewhere(path: str) -> Elsewhere:
    """Return what a plain local archive keeps apart from the pictures it belongs to, by its headers alone."""
    elsewhere = Elsewhere()
    if is_url(path):
        return elsewhere
    with contextlib.ExitStack() as stack, contextlib.suppress(Exception):  # the pass that follows tells
        tar, carried = _opened(path, stack)
        sample = Sample()
        while not carried and (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]
            if member.isreg():
                sample = _with_header(path, member, sample, elsewhere)
        elsewhere.keep(sample)
    return elsewhere


def _with_header(path: str, member: tarfile.TarInfo, sample: Sample, elsewhere: Elsewhere) -> Sample:
    """Return the sample that a member belongs to: the one at hand, or the next."""
    name = member.name.removeprefix("./")
    if key_of(name) != sample.key:
        elsewhere.keep(sample)
        sample = Sample(key_of(name))
    if named_like_an_image(name):
        sample.pictured = sample.pictured or belongs(name)
    elif lies_beside(name):
        fits = member.size <= MAX_SIDECAR_BYTES and not member.issparse()
        sample.beside.append((name, MemberContent(path, member.offset_data, member.size) if fits else None))
    return sample


def count_members(path: str) -> int | None:
    """Return how many pictures a plain local archive holds by their names; None where that needs reading all of it."""
    if is_url(path):
        return None
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError, *_DAMAGE):
        tar, carried = _opened(path, stack)
        if carried:
            return None
        members = 0
        while (member := tar.next()) is not None:
            tar.members = []  # type: ignore[attr-defined]
            members += member.isreg() and named_like_an_image(member.name)
        return members
    return None


class ArchiveReader:
    """One pass over one archive.

    failure: what ended it before its end; lasting: it would end the next pass, too. carried: pictures travel in memory.
    apart: samples whose metadata was passed over, since it lies apart from their pictures.
    """

    def __init__(
        self,
        source: Source,
        stamp: tuple[int, int],
        max_bytes: int,
        *,
        by_ranges: bool = False,
        scan_bytes: int | None = None,
    ) -> None:
        """stamp, max_bytes: as of walk_tar. by_ranges: ask for the headers of a plain remote archive alone.

        scan_bytes: how much of it, unpacked, may be looked through.
        """
        self.failure: UnreadableFile | None = None
        self.lasting = False
        self.carried = False
        self.apart = Apart()
        self._source = source
        self._stamp = stamp
        self._mtime_ns = stamped(stamp[1], stamp[0])  # the date of all members
        self._max_bytes = max_bytes
        self._by_ranges = by_ranges
        self._scan_bytes = scan_bytes

    def walk(self, elsewhere: Elsewhere | None = None) -> Iterator[Found]:
        """Yield what the archive holds, a sample at a time. elsewhere: what lies apart and is to be joined."""
        known = elsewhere or Elsewhere()
        sample = Sample()
        for member, content in self._members():
            name = member.name.removeprefix("./")
            if key_of(name) != sample.key or sample.full:
                yield from self._finished(sample, known)
                sample = Sample(key_of(name))
            problem = None
            if named_like_an_image(name):
                problem = self._picture(name, member, content, sample)
            elif lies_beside(name):
                sample.beside.append((name, content))
                sample.carried_bytes += member.size if isinstance(content, CarriedContent) else 0
            else:
                problem = IgnoredFile(name)
            if problem is not None:
                yield problem
        yield from self._finished(sample, known)

    def _finished(self, sample: Sample, elsewhere: Elsewhere) -> Iterator[Found]:
        """Yield the pictures of a sample with what lies beside them; a broken JSON file costs no picture."""
        joined = elsewhere.members(sample.key)
        if sample.pictured or not joined:
            self.apart.note(sample)
        for name, content in (*sample.beside, *joined) if sample.pictures else ():
            try:
                sample.take(name, content)
            except BadImage as error:
                yield UnreadableFile(self._uri(name), error.reason, error.detail)
        yield from sample.described()

    def _members(self) -> Iterator[tuple[tarfile.TarInfo, MemberOfArchive | None]]:
        """Yield the files of the archive with what they hold, None for what nobody wants."""
        try:
            with contextlib.ExitStack() as stack:
                tar, self.carried = _opened(self._source.path, stack, by_ranges=self._by_ranges)
                while (member := tar.next()) is not None:
                    tar.members = []  # type: ignore[attr-defined]  # it would remember every header
                    if self._scan_bytes is not None and member.offset_data + member.size > self._scan_bytes:
                        self._fail("read_error", _too_far(self._scan_bytes), lasting=True)
                        return
                    if member.isreg():
                        yield member, self._content(tar, member)
                self._require_end(tar)
        except _DAMAGE as error:
            self._fail("damaged_archive", f"the archive cannot be read any further: {error or type(error).__name__}")
        except Exception as error:  # noqa: BLE001 -- a remote file raises whatever its own libraries do
            self._fail(*explained(error))

    def _content(self, tar: tarfile.TarFile, member: tarfile.TarInfo) -> MemberOfArchive | None:
        picture = named_like_an_image(member.name)
        if not picture and not lies_beside(member.name.removeprefix("./")):
            return None
        if member.size > (self._max_bytes if picture else MAX_SIDECAR_BYTES) or member.issparse():
            return None
        if picture and not self.carried:
            part = RemotePart if self._source.remote else MemberContent
            return part(self._source.path, member.offset_data, member.size)
        file = tar.extractfile(member)
        return CarriedContent(file.read() if file is not None else b"")

    def _require_end(self, tar: tarfile.TarFile) -> None:
        ended = getattr(tar, "ended_by", None)
        # This error has no public name; it stands for the empty blocks at the end of an archive.
        if type(ended).__name__ != "EOFHeaderError":
            said = "it ends without the mark of its end" if "Empty" in type(ended).__name__ else str(ended)
            self._fail("damaged_archive", f"the archive cannot be read any further: {said}")

    def _fail(self, reason: str, detail: str, *, lasting: bool = False) -> None:
        self.lasting = lasting or reason == "damaged_archive"
        self.failure = UnreadableFile(self._source.uri, reason, detail, *self._stamp)

    def _picture(
        self, name: str, member: tarfile.TarInfo, content: MemberOfArchive | None, sample: Sample
    ) -> Found | None:
        uri = self._uri(name)
        sample.pictured = sample.pictured or belongs(name)
        if not belongs(name) or self._source.exclude.matches(name):
            return IgnoredFile(name)
        if content is None:
            too_large = member.size > self._max_bytes
            reason = ("file_too_large", f"more than {self._max_bytes} bytes") if too_large else _SPARSE
            return UnreadableFile(uri, *reason, member.size, self._mtime_ns)
        sample.carried_bytes += member.size if isinstance(content, CarriedContent) else 0
        origin = Origin(content, source=self._source.uri)
        sample.pictures.append(FoundFile(name, uri, member.size, self._mtime_ns, origin))
        return None

    def _uri(self, name: str) -> str:
        return self._source.uri + INSIDE + quote_from_bytes(name.encode("utf-8", "surrogateescape"), safe="/~")


def _too_far(scan_bytes: int) -> str:
    place = f"it lies behind the first {scan_bytes >> 20:,} MiB of an archive that is read from front to end"
    return f"{place}; pack the archive as .tar, or unpack it"


def _opened(path: str, stack: contextlib.ExitStack, *, by_ranges: bool = False) -> tuple[tarfile.TarFile, bool]:
    """Return the archive, and whether its pictures must be carried."""
    if is_url(path) and not by_ranges:
        return _streamed(stack.enter_context(open_remote(path, stream=True)), path, stack), True
    file = open_by_ranges(path) if is_url(path) else Path(path).open("rb")  # noqa: SIM115 -- the stack closes it
    stack.enter_context(file)
    packed = file.read(6).startswith(_PACKED)
    file.seek(0)
    if packed:
        return _streamed(file, path, stack), True
    return stack.enter_context(tarfile.open(fileobj=file, mode="r:", tarinfo=_Header)), False


def _streamed(file: Any, path: str, stack: contextlib.ExitStack) -> tarfile.TarFile:
    """Return an archive that is only read forwards, unpacked by a library that checks its checksums."""
    name = path.lower()
    unpack = next((unpack for ending, unpack in _UNPACK.items() if name.endswith(ending)), None)
    inner: Any = file if unpack is None else stack.enter_context(unpack(file))
    # Whatever its name says, an archive may be packed otherwise: tarfile looks.
    return stack.enter_context(tarfile.open(fileobj=inner, mode="r|*", tarinfo=_Header))
