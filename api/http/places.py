"""How many requests may be inside at once, and who is told to come again."""

import math
from collections import Counter
from http import HTTPStatus
from typing import Final

from starlette.types import Scope

SHARE: Final = 0.75  # of all places, for one client


class Busy(Exception):  # noqa: N818 -- an answer to a request, not a defect
    """A request cannot be taken now. status: 429 where it is its client's doing, else 503."""

    def __init__(self, status: HTTPStatus, detail: str, retry_after_s: int = 1) -> None:
        super().__init__(detail)
        self.status = status
        self.retry_after_s = retry_after_s


def client_of(scope: Scope) -> str:
    """Return by what requests of one client are known: its key, else its address."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            return str(hash(value))  # within this process; the key itself stays where it came
    client = scope.get("client")
    return client[0] if client else ""


class Places:
    """How many may be inside at once, and how many of them one client's. Of the event loop's thread alone."""

    def __init__(self, name: str, most: int, least_of_one: int = 1) -> None:
        self.name = name
        self._most = most
        self._least_of_one = least_of_one
        self.inside = 0
        self._of = Counter[str]()
        self.refused = Counter[int]()

    def most(self) -> int:
        """Return how many may be inside right now."""
        return self._most

    def refusal(self, client: str) -> Busy | None:
        """Return why a client's next request would not be let in, None where it would."""
        most = self.most()
        if self._of[client] >= max(self._least_of_one, math.floor(SHARE * most)):
            return Busy(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"you have {self._of[client]} requests here that are not answered yet, which is as many as one client "
                "may have; wait for answers, then send more",
                self.retry_after_s(),
            )
        if self.inside >= most:
            return Busy(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{self.inside} requests of this kind are being answered or wait already; try again in a moment",
                self.retry_after_s(),
            )
        return None

    def require_room(self, client: str) -> None:
        """Refuse a client's next request where there is no place for it.

        Raises:
            Busy: there is none.
        """
        refused = self.refusal(client)
        if refused is not None:
            self.refused[refused.status] += 1
            raise refused

    def enter(self, client: str) -> None:
        """Let a request in.

        Raises:
            Busy: there is no place for it.
        """
        self.require_room(client)
        self.inside += 1
        self._of[client] += 1

    def leave(self, client: str) -> None:
        """Let a request out."""
        self.inside -= 1
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]

    def retry_after_s(self) -> int:
        """Return after how many seconds there may be a place."""
        return 1
