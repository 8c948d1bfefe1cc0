"""Reading the file of a stored image again, by its uri: a local file, a member of a tar, or an object behind a URL."""

import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Final

from indexer.sources.found import INSIDE, Content, FoundFile, Source
from indexer.sources.local_files import read_local, reason_of
from indexer.sources.remote_files import RemoteContent
from indexer.sources.sources import MAX_FILE_BYTES
from indexer.sources.tars import MemberContent, members_of
from search.errors import BadImage
from search.records import path_of_uri

PLAIN: Final = ".tar"  # any other is packed
ARCHIVES: Final = 16  # whose tables of contents are remembered


def read_stored(uri: str, max_bytes: int = MAX_FILE_BYTES, *, remote: bool = True) -> bytes:
    """Return the bytes at the uri of an image.

    remote: also what lies behind a network, which a server must not ask for because a visitor does.

    Raises:
        BadImage: it is gone, unreadable, larger than max_bytes, or inside an archive that must be read front to end.
    """
    archive, inside, _ = uri.partition(INSIDE)
    path = path_of_uri(archive if inside else uri)
    if path is None and not remote:
        raise BadImage("read_error", "it is no file of this machine")
    if not inside:
        return read_local(os.fspath(path), max_bytes) if path is not None else RemoteContent(uri).read(max_bytes)
    if path is None:
        raise BadImage("read_error", "a picture in a remote archive is read with the whole archive only")
    return _member(os.fspath(path), archive, uri).read(max_bytes)


def is_remote(uri: str) -> bool:
    """Tell whether an image's file lies behind a network."""
    return path_of_uri(uri.partition(INSIDE)[0]) is None


def _member(path: str, archive: str, uri: str) -> Content:
    try:
        status = os.stat(path)  # noqa: PTH116 -- as everywhere in the room of sources
    except OSError as error:
        raise BadImage(reason_of(error), error.strerror or str(error)) from error
    found = _members(path, archive, status.st_size, status.st_mtime_ns).get(uri)
    if found is None:
        raise BadImage("vanished", "its archive holds it no more, or is packed and must be read front to end")
    return found


@lru_cache(ARCHIVES)
def _members(path: str, archive: str, size_bytes: int, mtime_ns: int) -> Mapping[str, MemberContent]:
    """Return where the pictures of a plain tar lie, by uri; of a packed one, nothing."""
    if not path.lower().endswith(PLAIN):
        return {}
    source = Source(path, "archive", named=True, uri=archive)
    return {
        found.uri: found.origin.content
        for found in members_of(source, (size_bytes, mtime_ns), MAX_FILE_BYTES)
        if isinstance(found, FoundFile) and found.origin is not None and isinstance(found.origin.content, MemberContent)
    }
