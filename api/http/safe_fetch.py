"""Fetches a picture from an address that a visitor names, without letting visitors reach what only this server can.

A name is resolved once for each hop; every answer must be an address that everybody can reach, and only those are
dialled, under the name that was asked for. Redirects are followed by hand, each under the same rules. Whatever goes
wrong is refused in the same words, so that nobody learns what lies behind this server; the log says what it was.
"""

import asyncio
import logging
from dataclasses import dataclass
from typing import Protocol

import aiohttp
from yarl import URL

from api.http.pinned import NotSafe, Resolve, pinned, read_url, resolve_by_system
from search.errors import UsageError

log = logging.getLogger(__name__)

SCHEMES = frozenset({"http", "https"})
PORTS = frozenset({80, 443})
MAX_HOPS = 3
CHUNK_BYTES = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
HEADERS = {"User-Agent": "lookalike", "Accept": "image/*", "Accept-Encoding": "identity"}
OFF = "this server fetches no pictures by address: send the picture itself; its owner allows it with serve --allow-url"
REFUSED = (
    "the picture at this address cannot be fetched: give the http or https address of one that everybody can reach, on "
    "port 80 or 443, without a password in it"
)


class AddressRefused(UsageError):
    """A picture cannot be fetched from an address; why, only the log says."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a fetch may cost: bytes, seconds in all, to connect and of silence, and how many happen at once."""

    most_bytes: int = 32 * 1024 * 1024
    total_s: float = 10.0
    connect_s: float = 3.0
    silence_s: float = 5.0
    at_once: int = 4


class Fetch(Protocol):
    """Fetches pictures by address."""

    async def get(self, address: str) -> bytes:
        """Return the bytes at an address.

        Raises:
            UsageError: it is refused.
        """
        ...


class FetchNothing:
    """Where queries by address are off."""

    async def get(self, _address: str) -> bytes:
        """Refuse every address."""
        raise UsageError(OFF)


class SafeFetch:
    """Fetches pictures that everybody can reach."""

    def __init__(self, limits: FetchLimits | None = None, resolve: Resolve = resolve_by_system) -> None:
        self._limits = limits or FetchLimits()
        self._resolve = resolve
        self._slots = asyncio.Semaphore(self._limits.at_once)

    async def get(self, address: str) -> bytes:
        """Return the bytes at an address.

        Raises:
            AddressRefused: it is not one that everybody can reach, or it does not give a file of bearable size in time.
        """
        try:
            async with asyncio.timeout(self._limits.total_s), self._slots:
                return await self._follow(_url(address))
        except (NotSafe, aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            log.info("a query by URL was refused: %s: %s", type(error).__name__, error)
            raise AddressRefused(REFUSED) from None

    async def _follow(self, url: URL) -> bytes:
        for _hop in range(1 + MAX_HOPS):
            answer = await self._one(url)
            if isinstance(answer, bytes):
                return answer
            url = _url(str(url.join(URL(answer))))
        raise NotSafe(f"more than {MAX_HOPS} redirects")

    async def _one(self, url: URL) -> bytes | str:
        """Return the bytes at a URL, or where it redirects to."""
        connector = (await pinned(url, self._resolve)).connector()
        timeout = aiohttp.ClientTimeout(
            total=self._limits.total_s, connect=self._limits.connect_s, sock_read=self._limits.silence_s
        )
        # A session of its own for each hop: nothing that one server says, such as a cookie, is told to the next.
        async with (
            aiohttp.ClientSession(
                connector=connector,
                timeout=timeout,
                headers=HEADERS,
                trust_env=False,
                auto_decompress=False,
            ) as session,
            session.get(url, allow_redirects=False) as answer,
        ):
            if answer.status in REDIRECTS and "Location" in answer.headers:
                return answer.headers["Location"]
            return await self._read(answer)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.status != 200:  # noqa: PLR2004
            raise NotSafe(f"{answer.url.host} answered {answer.status}")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise NotSafe(f"{answer.url.host} sent a compressed answer")
        most = self._limits.most_bytes
        if (answer.content_length or 0) > most:
            raise NotSafe(f"{answer.url.host} wants to send {answer.content_length} bytes")
        data = bytearray()
        async for part in answer.content.iter_chunked(CHUNK_BYTES):
            data += part
            if len(data) > most:
                raise NotSafe(f"{answer.url.host} sends more than {most} bytes")
        return bytes(data)


def _url(text: str) -> URL:
    """Return a URL that may be fetched if its host is one that everybody can reach.

    Raises:
        NotSafe: it is not of the kind that is fetched.
        ValueError: it is no URL.
    """
    url = read_url(text)
    if url.scheme not in SCHEMES or url.port not in PORTS:
        raise NotSafe(f"scheme {url.scheme!r}, port {url.port}")
    return url
