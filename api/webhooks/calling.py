"""One call of a receiver: no redirects, no proxies, no cookies, nothing but a status read, and only addresses dialled
that were looked at (api/http/pinned.py).
"""

import asyncio
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import aiohttp

from api.client.waiting import retry_after_s
from api.http.pinned import NotSafe, Resolve, pinned
from api.webhooks.rules import Receiver

log = logging.getLogger(__name__)

TOTAL_S: Final = 15.0
CONNECT_S: Final = 5.0
HEADERS: Final = {"User-Agent": "lookalike", "Content-Type": "application/json", "Accept-Encoding": "identity"}


class CallFailed(Exception):  # noqa: N818 -- data: it is written down and tried again
    """A receiver did not answer; the message says why, and nothing of networks that not everybody can look into."""


@dataclass(frozen=True, slots=True)
class Called:
    """What a receiver answered. again_s: when it wants to be asked again, None where it does not say."""

    status: int
    again_s: float | None


async def call(receiver: Receiver, headers: Mapping[str, str], body: bytes, resolve: Resolve) -> Called:
    """Send a body to a receiver.

    Raises:
        CallFailed: no answer came.
    """
    try:
        async with asyncio.timeout(TOTAL_S):  # finding the host counts, too
            return await _call(receiver, headers, body, resolve)
    except (NotSafe, OSError, aiohttp.ClientError, ValueError, TimeoutError) as error:
        log.info("a webhook to %s was not sent: %s: %s", receiver.url.host, type(error).__name__, error)
        raise CallFailed(_in_words(error)) from None


async def _call(receiver: Receiver, headers: Mapping[str, str], body: bytes, resolve: Resolve) -> Called:
    try:
        connector = (await pinned(receiver.url, resolve, everybody=receiver.everybody)).connector()
    except OSError as error:
        raise NotSafe(f"{receiver.url.host} is not known: {error}") from None
    timeout = aiohttp.ClientTimeout(total=TOTAL_S, connect=CONNECT_S)
    session = aiohttp.ClientSession(connector=connector, timeout=timeout, headers=HEADERS, trust_env=False)
    async with session, session.post(receiver.url, data=body, headers=headers, allow_redirects=False) as answer:
        return Called(answer.status, retry_after_s({name.lower(): text for name, text in answer.headers.items()}))


def _in_words(error: Exception) -> str:
    if isinstance(error, NotSafe):  # the same whether nobody knows the host or it is a private one
        return "its host has no address that may be called"
    if isinstance(error, TimeoutError):
        return f"no answer came within {TOTAL_S:g} seconds"
    if isinstance(error, aiohttp.ClientConnectorCertificateError | aiohttp.ClientSSLError | ssl.SSLError):
        return "its certificate is not one that this server trusts, or it does not speak TLS"
    if isinstance(error, aiohttp.ClientConnectorError):
        return f"nobody answers there: {error.os_error.strerror}"
    return "it broke the connection"
