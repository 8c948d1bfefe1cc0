"""When a request is sent again: it does no harm twice, and the server is busy, still at it, or the connection broke."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Final

from httpx2 import ConnectError, NetworkError, RemoteProtocolError, Response, TransportError

from search.errors import UsageError

BUSY = (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE)
FIRST_WAIT_S: Final = 0.5  # doubled each time, where the server does not say how long


@dataclass(frozen=True, slots=True)
class Patience:
    """retries: how often a request is sent again at most. longest_s: for which a single wait is worth it."""

    retries: int = 3
    longest_s: float = 60.0

    def __post_init__(self) -> None:
        if not isinstance(self.retries, int) or self.retries < 0:
            raise UsageError(f"retries is {self.retries!r}, give 0 or more")


class Attempts:
    """The attempts of one request. repeatable: doing it twice is the same as doing it once."""

    def __init__(self, patience: Patience, *, repeatable: bool) -> None:
        self._left = patience.retries if repeatable else 0
        self._longest_s = patience.longest_s
        self._usual_s = FIRST_WAIT_S

    def wait_after(self, response: Response) -> float | None:
        """Return how many seconds to wait before the next attempt; None where this is the answer."""
        asked = retry_after_s(response.headers)
        # A conflict that names a time is with the same request, sent before, which is still at work.
        at_work = response.status_code == HTTPStatus.CONFLICT and asked is not None
        return self._next(asked) if at_work or response.status_code in BUSY else None

    def wait_without_answer(self, error: TransportError) -> float | None:
        """Return how many seconds to wait before the next attempt; None where there is none.

        A connection that broke may have been an old one of the pool; a server that cannot be reached at all, or takes
        longer than the timeout, is not asked again.
        """
        broken = isinstance(error, NetworkError | RemoteProtocolError) and not isinstance(error, ConnectError)
        return self._next(None) if broken else None

    def _next(self, asked_s: float | None) -> float | None:
        if self._left == 0 or (asked_s or 0) > self._longest_s:
            return None
        self._left -= 1
        # Clients that were refused together shall not come back together.
        usual = self._usual_s * random.uniform(0.5, 1)  # noqa: S311 -- no secret
        self._usual_s *= 2
        return usual if asked_s is None else asked_s


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return what a Retry-After header says, in seconds from now; None where there is none that can be read."""
    text = headers.get("retry-after", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except (ValueError, TypeError):
        return None
