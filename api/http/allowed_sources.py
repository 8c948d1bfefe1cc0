"""Where the server gets pictures of which only the address is sent: below folders that its owner named, and from
addresses of the internet, where its owner allows that (api/http/safe_fetch.py). A client must not read other files.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from fastapi.concurrency import run_in_threadpool

from api.http.safe_fetch import Fetch
from search.errors import BadImage, UsageError
from search.records import path_of_uri, uri_of_path

MAX_FILE_BYTES: Final = 512 * 1024 * 1024
REFUSED: Final = (
    "this server takes no pictures from there: send the picture itself; its owner allows folders with serve "
    "--allow-root, and addresses of the internet with --allow-url"
)


@dataclass(frozen=True, slots=True)
class Got:
    """A picture from an address. uri: where it lies and stays, None for one that is not to be asked for again.

    named: the address, as the image's name. mtime_ns: of its file.
    """

    data: bytes
    uri: str | None
    named: str
    mtime_ns: int | None = None


class AllowedSources:
    """Gets pictures from where that is allowed."""

    def __init__(self, roots: tuple[Path, ...], fetch: Fetch) -> None:
        """roots: folders that clients may name files of."""
        self._roots = tuple(root.resolve() for root in roots)
        self._fetch = fetch

    async def get(self, address: str) -> Got:
        """Return the picture at an address.

        Raises:
            UsageError: it is not one that may be asked for.
            BadImage: the file cannot be read.
        """
        if address.startswith(("http://", "https://")):
            return Got(await self._fetch.get(address), None, address)
        path = self.allowed(address)
        return await run_in_threadpool(_read, path, address)

    def allowed(self, address: str) -> Path:
        """Return the path of a file or folder that may be read.

        Raises:
            UsageError: it may not, or there is none; which of the two is not told.
        """
        path = path_of_uri(address) if address.startswith("file:") else Path(address)
        if path is None or not path.is_absolute() or "\0" in str(path):
            raise UsageError(REFUSED)
        real = Path(os.path.realpath(path))
        if not any(root == real or root in real.parents for root in self._roots) or not real.exists():
            raise UsageError(REFUSED)
        return real


def _read(path: Path, address: str) -> Got:
    try:
        # What has become a link meanwhile is not followed, and a pipe keeps nobody waiting.
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(handle, "rb") as file:
            known = os.fstat(handle)
            if not stat.S_ISREG(known.st_mode) or Path(os.path.realpath(path)) != path:
                raise UsageError(REFUSED)
            if known.st_size > MAX_FILE_BYTES:
                raise BadImage("file_too_large", f"{address} has {known.st_size} bytes")
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadImage("read_error", f"{address}: {error.strerror}") from error
    uri = uri_of_path(str(path))
    return Got(data, uri, uri, known.st_mtime_ns)
