"""Where a server is, and how it is asked: what the blocking and the async client share."""

import os
import re
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from httpx2 import URL, InvalidURL, Limits, Timeout, TransportError

from api.client.errors import ServerUnreachable
from api.client.waiting import Patience
from api.python_arguments import require_texts
from search.errors import UsageError

KEY_VARIABLE = "LOOKALIKE_API_KEY"
CONNECT_S = 10.0
# The server ends connections that were idle for 5 s; one that is about to be ended must not be used again.
IDLE_S = 3.0
# What can be looked up: parts of letters, digits, - and _. The HTTP library takes more, and fails when it asks.
HOST = re.compile(rb"(?=.{1,253}$)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?")
PORTS = range(1, 65536)


@dataclass(frozen=True, slots=True)
class Connection:
    """address: of the server, without a slash at its end. key: None asks without one. timeout_s: for an answer.

    Raises:
        UsageError: the address is none of a server, or the key cannot be sent.
    """

    address: str
    key: str | None = field(repr=False)
    timeout_s: float
    patience: Patience

    def __post_init__(self) -> None:
        try:
            url = URL(self.address)
        except InvalidURL as error:
            raise UsageError(f"{self.address!r} is no address of a server: {error}") from error
        if url.scheme not in ("http", "https") or not _is_host(url) or url.query or url.fragment:
            raise UsageError(f"{self.address!r} is no address of a server; give one like http://127.0.0.1:8080")
        if url.port is not None and url.port not in PORTS:
            raise UsageError(f"{self.address!r} has the port {url.port}; give one of 1 to 65535")
        if url.path.rstrip("/").endswith("/v1"):
            raise UsageError(f"{self.address!r} ends in /v1, which requests bring themselves; leave it out")
        if self.key is not None and not (self.key.isascii() and self.key.isprintable()):
            raise UsageError("the key holds letters that cannot be sent; `lookalike keys create` makes keys")

    def options(self) -> dict[str, Any]:
        """Return how the HTTP library is to ask."""
        headers = {"User-Agent": "lookalike"}
        if self.key is not None:
            headers["Authorization"] = f"Bearer {self.key}"
        return {
            "headers": headers,
            "timeout": Timeout(self.timeout_s, connect=min(CONNECT_S, self.timeout_s)),
            "limits": Limits(keepalive_expiry=IDLE_S),
        }

    def unreachable(self, error: TransportError) -> ServerUnreachable:
        """Return the error of a server from which no answer came."""
        why = str(error) or f"no answer in {self.timeout_s:g} s"
        return ServerUnreachable(f"{self.address} cannot be reached: {why}; is `lookalike serve` running there?")

    def broken_off(self, error: TransportError) -> ServerUnreachable:
        """Return the error of an answer that ended before its end."""
        why = str(error) or f"nothing came for {self.timeout_s:g} s"
        return ServerUnreachable(f"the answer of {self.address} broke off: {why}; ask again for all of it")


def _is_host(url: URL) -> bool:
    """Tell whether a URL has a host that can be looked up, or an IPv6 address, which the HTTP library has checked."""
    return ":" in url.host or HOST.fullmatch(url.raw_host) is not None


def connection_to(url: str, key: str | None, timeout_s: float, retries: int) -> Connection:
    """Return the connection to a server. key: None takes LOOKALIKE_API_KEY, where it is set.

    Raises:
        UsageError: the address is none of a server, or the key cannot be sent.
    """
    chosen = os.environ.get(KEY_VARIABLE) if key is None else key
    require_texts(url=url, key=chosen)
    if not isinstance(timeout_s, Real) or not timeout_s > 0:
        raise UsageError(f"timeout_s is {timeout_s!r}; give seconds, more than 0")
    return Connection(url.strip().rstrip("/"), (chosen or "").strip() or None, timeout_s, Patience(retries))
