"""Connections to hosts that somebody else named: what is looked at is what is dialled, and nothing else.

A URL is read by the library that will dial it: what two programs read differently is how such checks are passed by. A
name is resolved once; all its addresses are looked at, and only those are dialled, under the name that was asked for.
"""

import asyncio
import re
import socket
from collections.abc import Awaitable, Callable, Sequence
from ipaddress import IPv4Address
from typing import Any

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from api.http.public_addresses import is_public

# Gives the addresses of a host, as texts.
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

MAX_LETTERS = 2048
# Letters that programs read differently, or not at all.
ODD_LETTERS = re.compile(r"[\x00-\x20\x7f\\\s]")
# Before the host: a name, a password, or nothing, which some programs take for the host.
USER = re.compile(r"[^/?#]*//[^/?#]*@")
# The last part of a host that some programs read as a number of an address: 2130706433, 0177.0.0.1, 0x7f.1.
NUMBER = re.compile(r"[0-9]+|0[xX][0-9a-fA-F]*")


class NotSafe(Exception):  # noqa: N818 -- told to nobody in these words
    """Why an address is not called."""


async def resolve_by_system(host: str, port: int) -> list[str]:
    """Return what the system's resolver knows of a host."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def read_url(text: str) -> URL:
    """Return a URL that all programs read alike; of which scheme and port, the caller must look at.

    Raises:
        NotSafe: programs may read it differently, or it holds a name or password.
        ValueError: it is no URL.
    """
    if len(text) > MAX_LETTERS or ODD_LETTERS.search(text):
        raise NotSafe(f"it has more than {MAX_LETTERS} letters, or some that no URL has")
    url = URL(text)
    if USER.match(text):
        raise NotSafe("it has a name or password before its host")
    if not url.host or "%" in url.host:
        raise NotSafe("it has no host, or one with a zone")
    if not is_address(url.host) and NUMBER.fullmatch(url.host.rstrip(".").rsplit(".", 1)[-1]):
        raise NotSafe("its host is one that some programs read as a number")
    return url


async def pinned(url: URL, resolve: Resolve, *, everybody: bool = True) -> "Pinned":
    """Return the addresses of a URL's host. everybody: all must be such that everybody can reach.

    Raises:
        NotSafe: one of them is not, or there is none.
        OSError: nobody knows the host.
    """
    host, port = url.host or "", url.port or 0
    addresses = [host] if is_address(host) else [*await resolve(host, port)]
    if not addresses or (everybody and not all(is_public(one) for one in addresses)):
        raise NotSafe(f"{host} is at {', '.join(addresses) or 'no address'}")
    return Pinned(addresses)


def is_address(host: str) -> bool:
    """Tell whether a host is an address and not a name."""
    if ":" in host:
        return True
    try:
        IPv4Address(host)
    except ValueError:
        return False
    return True


class Pinned(AbstractResolver):
    """Knows the addresses of one host, and lets nothing else be dialled."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self._addresses = tuple(dict.fromkeys(addresses))

    def connector(self) -> aiohttp.TCPConnector:
        """Return what dials these addresses, for one request."""
        return aiohttp.TCPConnector(resolver=self, use_dns_cache=False, force_close=True, socket_factory=self.socket)

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
