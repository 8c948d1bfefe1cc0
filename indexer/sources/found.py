"""What sources are and what they yield: plain values that every kind of source shares.

A found file can lie anywhere: `read` of its content is the one way to its bytes. A local file has no content object,
so that walking millions of them makes nothing but what it always made.
"""

import fnmatch
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, Protocol
from urllib.parse import unquote

import xxhash

MAX_FILE_BYTES: Final = 512 * 1024 * 1024
INSIDE: Final = "!/"  # between the uri of an archive and the name of its member
ROW: Final = "#row="  # between the uri of a manifest and the number of a row; the first after the header is 1
_STAMP: Final = 1_000_000  # nanoseconds: a stamp moves a date by less than a millisecond

Metadata = Mapping[str, object]
Kind = Literal["folder", "file", "archive", "manifest", "offline"]


class Content(Protocol):
    """Where the bytes of a found file come from, when it is no local file."""

    def read(self, max_bytes: int) -> bytes:
        """Return all bytes.

        Raises:
            BadImage: they cannot be read, or are more than max_bytes.
        """
        ...


@dataclass(frozen=True, slots=True)
class Origin:
    """What a source says of a picture beyond its place; None where it says nothing.

    content: how to read it, None for a local file. sha256: 32 bytes that it must have. source: uri of the archive or
    manifest that names it.
    """

    content: Content | None = None
    key: str | None = None
    sha256: bytes | None = None
    metadata: Metadata | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class Sidecar:
    """A JSON file beside a picture. path: local path, else the uri. content: as of Origin."""

    path: str
    uri: str
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file that is, or claims to be, a picture.

    path: local path, elsewhere the name that people know it by. mtime_ns: see `stamped`.
    """

    path: str
    uri: str
    size_bytes: int
    mtime_ns: int
    origin: Origin | None = None
    sidecar: Sidecar | None = None


@dataclass(frozen=True, slots=True)
class Named:
    """What a row of a manifest names although it gives no picture now; None where it says nothing."""

    uri: str | None
    key: str | None


@dataclass(frozen=True, slots=True)
class UnreadableFile:
    """A file, folder or row that cannot be looked at, for the ledger. named: by a row of a manifest."""

    uri: str
    reason: str
    detail: str
    size_bytes: int = 0
    mtime_ns: int = 0
    named: Named | None = None


@dataclass(frozen=True, slots=True)
class IgnoredFile:
    """A file met while walking that is no image of a known format, or is excluded. named: as of UnreadableFile."""

    path: str
    named: Named | None = None


@dataclass(frozen=True, slots=True)
class UnchangedArchive:
    """An archive that is as it was when all its members were indexed; it was not opened. images: how many it holds."""

    uri: str
    images: int


Found = FoundFile | UnreadableFile | IgnoredFile | UnchangedArchive


@dataclass(frozen=True, slots=True)
class Exclusion:
    """Which files the user does not want, by globs."""

    globs: tuple[str, ...] = ()
    _pattern: re.Pattern[str] | None = field(init=False, default=None, compare=False)

    def __post_init__(self) -> None:
        # A leading **/ also stands for no folder at all, as in a shell.
        both = [*self.globs, *(one.removeprefix("**/") for one in self.globs)]
        joined = "|".join(fnmatch.translate(one.rstrip("/")) for one in both if one)
        object.__setattr__(self, "_pattern", re.compile(joined) if joined else None)

    def __bool__(self) -> bool:
        """Whether anything is excluded at all."""
        return self._pattern is not None

    def matches(self, relative: str) -> bool:
        """Tell whether a path relative to its source, one of the folders it lies in, or its bare name is excluded."""
        if self._pattern is None:
            return False
        parts = relative.split("/")
        return any(
            self._pattern.match(parts[depth]) is not None
            or self._pattern.match("/".join(parts[: depth + 1])) is not None
            for depth in range(len(parts))
        )


NOTHING: Final = Exclusion()


@dataclass(frozen=True, slots=True)
class Source:
    """One checked SOURCE argument. path: absolute and free of symbolic links, or a URL.

    named: by the user, and not merely matched by a glob. uri: percent-encoded. pattern: of a remote glob, what the
    whole remote path must match. An offline source was indexed before, and cannot be reached now. detail: why nothing
    that it does not show may be taken for gone, "" when it may.
    """

    path: str
    kind: Kind
    named: bool
    uri: str = ""
    exclude: Exclusion = NOTHING
    pattern: re.Pattern[str] | None = None
    detail: str = ""

    @property
    def remote(self) -> bool:
        """Whether it lies behind a URL."""
        return is_url(self.path)


@dataclass(slots=True)
class Visit:
    """What came of walking an archive, a manifest or a remote folder.

    stamp: what it looked like. whole: it was read to its end, so that what it did not show is not there. images: the
    pictures it named. unchanged: it was not opened, since all it holds is known. garbled: it has rows of which nobody
    knows what they name. apart: samples of an archive whose pictures lie apart from their metadata, which was passed
    over.
    """

    uri: str
    stamp: str = ""
    whole: bool = False
    images: int = 0
    unchanged: bool = False
    garbled: bool = False
    apart: int = 0


def is_url(text: str) -> bool:
    """Tell whether an argument is a URL rather than a local path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", text) is not None


def archive_of(uri: str) -> str | None:
    """Return the uri of the archive that a member lies in, None for what lies in none."""
    archive, inside, _ = uri.partition(INSIDE)
    return archive if inside else None


def relative_to(root: str, uri: str) -> str:
    """Return the decoded rest of a uri below a root that ends with a slash."""
    return unquote(uri[len(root) :], errors="surrogateescape")


def stamped(mtime_ns: int, *facts: object) -> int:
    """Return the date with a fingerprint of the facts in its last six digits, so that one number tells of both.

    A change of a fact alone goes unnoticed once in a million times.
    """
    digest = xxhash.xxh3_64_intdigest(repr((mtime_ns, facts)).encode("utf-8", "surrogateescape"))
    return mtime_ns - mtime_ns % _STAMP + digest % _STAMP


def suffix_of(name: str) -> str:
    """Return the suffix of a file name in lower case, with its dot; of a local path or of any other."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > name.rfind("/") + 1 else ""
