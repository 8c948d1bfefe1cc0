"""Fetches a picture from an address that a visitor names, without letting visitors reach what only this server can.

A name is resolved once for each hop; every answer must be an address that everybody can reach, and only those are
dialled, under the name that was asked for. Redirects are followed by hand, each under the same rules. Whatever goes
wrong is refused in the same words, so that nobody learns what lies behind this server; the log says what it was.
"""

import asyncio
import logging
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Protocol

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from api.http.public_addresses import is_public
from search.errors import UsageError

log = logging.getLogger(__name__)

# Gives the addresses of a host, as texts.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

SCHEMES = frozenset({"http", "https"})
PORTS = frozenset({80, 443})
MAX_HOPS = 3
MAX_LETTERS = 2048
CHUNK_BYTES = 64 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
# Letters that programs read differently, or not at all.
ODD_LETTERS = re.compile(r"[\x00-\x20\x7f\\\s]")
# Before the host: a name, a password, or nothing, which some programs take for the host.
USER = re.compile(r"[^/?#]*//[^/?#]*@")
# The last part of a host that some programs read as a number of an address: 2130706433, 0177.0.0.1, 0x7f.1.
NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")
HEADERS = {"User-Agent": "lookalike", "Accept": "image/*", "Accept-Encoding": "identity"}
OFF = "this server fetches no pictures by address: send the picture itself; its owner allows it with serve --allow-url"
REFUSED = (
    "the picture at this address cannot be fetched: give the http or https address of one that everybody can reach, on "
    "port 80 or 443, without a password in it"
)


class AddressRefused(UsageError):
    """A picture cannot be fetched from an address; why, only the log says."""


class _NotSafe(Exception):  # noqa: N818 -- never leaves this module
    """Why an address is refused."""


@dataclass(frozen=True, slots=True)
class FetchLimits:
    """What a fetch may cost: bytes, seconds in all, to connect and of silence, and how many happen at once."""

    most_bytes: int = 32 * 1024 * 1024
    total_s: float = 10.0
    connect_s: float = 3.0
    silence_s: float = 5.0
    at_once: int = 4


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Return what the system's resolver knows of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


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
        except (_NotSafe, aiohttp.ClientError, OSError, ValueError, TimeoutError) as error:
            log.info("a query by URL was refused: %s: %s", type(error).__name__, error)
            raise AddressRefused(REFUSED) from None

    async def _follow(self, url: URL) -> bytes:
        for _hop in range(1 + MAX_HOPS):
            answer = await self._one(url)
            if isinstance(answer, bytes):
                return answer
            url = _url(str(url.join(URL(answer))))
        raise _NotSafe(f"more than {MAX_HOPS} redirects")

    async def _one(self, url: URL) -> bytes | str:
        """Return the bytes at a URL, or where it redirects to."""
        pinned = await self._pinned(url)
        connector = aiohttp.TCPConnector(
            resolver=pinned, use_dns_cache=False, force_close=True, socket_factory=pinned.socket
        )
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

    async def _pinned(self, url: URL) -> "_Pinned":
        """Return the addresses of a host, all of which everybody can reach.

        Raises:
            _NotSafe: one of them is not, or there is none.
        """
        host, port = url.host or "", url.port or 0
        addresses = [host] if _is_address(host) else [*await self._resolve(host, port)]
        if not addresses or not all(is_public(one) for one in addresses):
            raise _NotSafe(f"{host} is at {', '.join(addresses) or 'no address'}")
        return _Pinned(addresses)

    async def _read(self, answer: aiohttp.ClientResponse) -> bytes:
        if answer.status != 200:  # noqa: PLR2004
            raise _NotSafe(f"{answer.url.host} answered {answer.status}")
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise _NotSafe(f"{answer.url.host} sent a compressed answer")
        most = self._limits.most_bytes
        if (answer.content_length or 0) > most:
            raise _NotSafe(f"{answer.url.host} wants to send {answer.content_length} bytes")
        data = bytearray()
        async for part in answer.content.iter_chunked(CHUNK_BYTES):
            data += part
            if len(data) > most:
                raise _NotSafe(f"{answer.url.host} sends more than {most} bytes")
        return bytes(data)


class _Pinned(AbstractResolver):
    """Knows the addresses of one host, and lets nothing else be dialled."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = tuple(dict.fromkeys(addresses))

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses that were looked at, for aiohttp; the name stays what is asked for by Host and SNI."""
        return [
            ResolveResult(
                hostname=host,
                host=one,
                port=port,
                family=socket.AF_INET6 if ":" in one else socket.AF_INET,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for one in self._addresses
        ]

    def socket(self, wanted: tuple[Any, ...]) -> socket.socket:
        """Return a socket for an address about to be dialled: whatever led there, it must be one that was looked at.

        Raises:
            OSError: it is another one.
        """
        family, kind, protocol, _, place = wanted
        if place[0] not in self._addresses:
            raise PermissionError(f"{place[0]} was not looked at")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """Nothing is held open."""


def _url(text: str) -> URL:
    """Return a URL that may be fetched if its host is one that everybody can reach.

    It is read by the library that will dial it: what two programs read differently is how such checks are passed by.

    Raises:
        _NotSafe: it is not of the kind that is fetched.
        ValueError: it is no URL.
    """
    if len(text) > MAX_LETTERS or ODD_LETTERS.search(text):
        raise _NotSafe("too long, or letters that no URL has")
    url = URL(text)
    if url.scheme not in SCHEMES or url.port not in PORTS:
        raise _NotSafe(f"scheme {url.scheme!r}, port {url.port}")
    if USER.match(text):
        raise _NotSafe("a name or password in the URL")
    if not url.host or "%" in url.host:
        raise _NotSafe("no host, or one with a zone")
    if not _is_address(url.host) and NUMBER.fullmatch(url.host.rstrip(".").rsplit(".", 1)[-1]):
        raise _NotSafe("a host that some programs read as a number")
    return url


def _is_address(host: str) -> bool:
    if ":" in host:
        return True
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True
