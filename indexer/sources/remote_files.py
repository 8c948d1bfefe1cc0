"""Files behind URLs, by fsspec: read whole, and told unchanged by size, date and ETag. remote_folders.py walks them.

URLs are percent-decoded into the names of objects, and back; http and https ones are used as they are, and never
listed. What goes wrong with one object costs only that object.
"""

import datetime
import email.utils
import functools
import inspect
import io
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_from_bytes, unquote, urlsplit

from indexer.sources.found import FoundFile, Origin, UnreadableFile, stamped
from indexer.sources.local_files import require_size
from indexer.sources.network_errors import explained, refused
from search.errors import BadImage, UsageError

CONNECT_S: Final = 15.0
IDLE_S: Final = 30.0  # without a byte
TOTAL_S: Final = 600.0
_PIECE: Final = 1 << 20
_BLOCK: Final = 8 << 20  # read ahead of an archive's stream
_DATES: Final = ("LastModified", "last_modified", "Last-Modified", "mtime", "updated", "modified", "created")
_TAGS: Final = ("ETag", "etag", "md5", "Content-MD5", "checksum")
_EXTRAS: Final = {"s3": "s3", "s3a": "s3"}
_FETCH: Final = "fetch the files, or mount the place, and name them where they are then"


@dataclass(frozen=True, slots=True)
class RemoteContent:
    """An object that is read when it is needed."""

    url: str

    def read(self, max_bytes: int) -> bytes:
        """Return its bytes.

        Raises:
            BadImage: it is gone, too large, or the network says no.
        """
        try:
            with open_remote(self.url, stream=True) as file:
                data = _read_at_most(file, max_bytes + 1)
        except BadImage:
            raise
        except Exception as error:  # a backend raises whatever its own libraries do
            raise BadImage(*explained(error)) from error
        require_size(len(data), max_bytes)
        return data


@dataclass(frozen=True, slots=True)
class RemotePart:
    """A part of an object, asked for by its range. offset, size_bytes: in bytes."""

    url: str
    offset: int
    size_bytes: int

    def read(self, max_bytes: int) -> bytes:
        """Return its bytes, by one request.

        Raises:
            BadImage: the object is gone or shorter, the part too large, or the network says no.
        """
        require_size(self.size_bytes, max_bytes)
        try:
            system, path = file_system(self.url)
            data: bytes = system.cat_file(path, start=self.offset, end=self.offset + self.size_bytes)
        except Exception as error:  # a backend raises whatever its own libraries do
            raise BadImage(*explained(error)) from error
        if len(data) < self.size_bytes:
            raise BadImage("truncated", "its archive ends within it")
        return data


def is_http(url: str) -> bool:
    """Tell whether a URL is of the web, which has no folders."""
    return url.lower().startswith(("http://", "https://"))


def file_system(url: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URL, and the path in it.

    Raises:
        UsageError: nothing here speaks this protocol, or it needs an extra that is missing, or more than a URL.
    """
    protocol = urlsplit(url).scheme.lower()
    system = _system(protocol)
    return system, url if is_http(url) else system._strip_protocol(f"{protocol}://{_below(url)}")


@functools.cache
def _system(protocol: str) -> Any:
    import fsspec

    options: dict[str, object] = {"use_listings_cache": False}
    if protocol in ("http", "https"):
        options["client_kwargs"] = {"timeout": _timeout()}
    try:
        made = fsspec.get_filesystem_class(protocol)
    except (ImportError, ValueError) as error:
        extra = _EXTRAS.get(protocol)
        remedy = f"install 'lookalike[{extra}]'" if extra else "install the package that fsspec names"
        raise UsageError(f"{protocol}:// cannot be read here: {error}; {remedy}") from error
    # Those that must be told a server cannot be made without it; half made, some fail once more when they are dropped.
    parameters = inspect.signature(made.__init__).parameters.values()
    asked = [one.name for one in parameters if one.default is one.empty and one.kind is one.POSITIONAL_OR_KEYWORD]
    if len(asked) > 1:  # self
        raise UsageError(f"{protocol}:// cannot be read here: fsspec wants its {', '.join(asked[1:])}; {_FETCH}")
    try:
        return made(**options)
    except Exception as error:  # whatever its own libraries raise
        raise UsageError(f"{protocol}:// cannot be read here: {error}; {_FETCH}") from error


def _timeout() -> object:
    import aiohttp

    return aiohttp.ClientTimeout(total=TOTAL_S, connect=CONNECT_S, sock_read=IDLE_S)


def _below(url: str) -> str:
    return unquote(url.partition("://")[2], errors="surrogateescape")


def uri_of_object(protocol: str, path: str) -> str:
    """Return the percent-encoded uri of an object by its path in the file system."""
    if is_http(path):
        return path
    return f"{protocol}://" + quote_from_bytes(path.lstrip("/").encode("utf-8", "surrogateescape"), safe="/~")


def canonical(url: str) -> str:
    """Return a URL as images of it are known: percent-encoded, without a slash at its end."""
    if is_http(url):
        return url
    return uri_of_object(urlsplit(url).scheme.lower(), _below(url)).rstrip("/")


def open_remote(url: str, *, stream: bool = False) -> Any:
    """Open an object for reading. stream: from front to end only, at the cost of one request where possible."""
    system, path = file_system(url)
    if is_http(url):
        return system.open(path, "rb", block_size=0) if stream else io.BytesIO(_whole(system, path))
    return system.open(path, "rb", block_size=_BLOCK, cache_type="readahead")


def open_by_ranges(url: str) -> Any:
    """Open an object, but no page of the web, for reading here and there: a request for each place and what follows.

    Raises:
        Exception: whatever the backend does.
    """
    system, path = file_system(url)
    return system.open(path, "rb", block_size=_PIECE, cache_type="readahead")


def _whole(system: Any, path: str) -> bytes:
    """Return a web page that must be read back and forth."""
    with system.open(path, "rb", block_size=0) as file:
        data = _read_at_most(file, (1 << 31) + 1)
    require_size(len(data), 1 << 31)
    return data


def _read_at_most(file: Any, size: int) -> bytes:
    """Read until the end or a size; a network file gives what it has, not what was asked for."""
    pieces: list[bytes] = []
    missing = size
    while missing > 0 and (piece := file.read(min(missing, _PIECE))):
        pieces.append(piece)
        missing -= len(piece)
    return b"".join(pieces)


def kind_of(url: str) -> str:
    """Return "folder" or "file".

    Raises:
        UsageError: there is nothing there, or it may not be read.
        SourceUnavailable: the network does not answer.
    """
    if is_http(url):
        return "file"
    system, path = file_system(url)
    try:
        return "folder" if system.info(path)["type"] == "directory" else "file"
    except Exception as error:  # a backend raises whatever its own libraries do
        raise refused(url, error) from error


def look_remote(url: str) -> FoundFile | UnreadableFile:
    """Return what a single object is; where only reading it can tell, as a file of unknown size."""
    system, path = file_system(url)
    uri = canonical(url)
    try:
        info = system.info(path)
    except FileNotFoundError as error:
        return UnreadableFile(uri, *explained(error))
    except Exception:  # noqa: BLE001 -- servers that answer no HEAD still give the picture, or say why not when it is read
        info = {}
    return found_object(uri, info)


def found_object(uri: str, info: Mapping[str, Any]) -> FoundFile:
    """Return what a listing says of an object."""
    size = info.get("size") or info.get("Size") or 0
    return FoundFile(shown(uri), uri, int(size), stamp_of(info), Origin(RemoteContent(uri)))


def shown(uri: str) -> str:
    """Return the decoded text of a uri, for suffixes and for people."""
    return unquote(urlsplit(uri).path if is_http(uri) else uri, errors="surrogateescape")


def stamp_of(info: Mapping[str, Any]) -> int:
    """Return a date with the ETag in it. An object that tells neither counts as new each time."""
    date = next((moment for name in _DATES if (moment := _moment(info.get(name))) is not None), None)
    tags = [str(info[name]) for name in _TAGS if info.get(name)]
    if date is None and not tags:
        return time.time_ns()
    return stamped(date or 0, *tags, info.get("size"))


def _moment(value: object) -> int | None:
    """Return a date of a listing in nanoseconds since 1970."""
    if isinstance(value, str):
        try:
            value = email.utils.parsedate_to_datetime(value)
        except ValueError:
            return None
    if isinstance(value, datetime.datetime):
        value = value.timestamp()
    return int(value * 1_000_000_000) if isinstance(value, int | float) else None


def glob_source(url: str) -> tuple[str, re.Pattern[str]]:
    """Return the folder that a remote glob can match below, and what the paths of matches look like.

    Raises:
        UsageError: the glob has no bucket or is one of the web, which has no listings.
    """
    from fsspec.utils import glob_translate

    if is_http(url):
        raise UsageError(f"{url}: the web cannot be listed; name the files, or a manifest of them")
    system, path = file_system(url)
    magic = re.search(r"[*?\[]", path)
    folder = path[: magic.start()].rpartition("/")[0] if magic else path
    if not folder:
        raise UsageError(f"{url}: name the bucket or folder before the first * or ?")
    protocol = urlsplit(url).scheme.lower()
    return uri_of_object(protocol, folder), re.compile(glob_translate(path))
