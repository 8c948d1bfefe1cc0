"""What comes of an attempt to tell a receiver, and when the next one is due."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, Literal

from api.webhooks.calling import Called

# Seconds from one attempt to the next: ten in two days, most of them in the first hours.
DELAYS_S: Final = (5, 30, 2 * 60, 10 * 60, 3_600, 3 * 3_600, 8 * 3_600, 16 * 3_600, 24 * 3_600)
JITTER: Final = 0.2  # receivers that failed together shall not be called together
LONGEST_S: Final = 24 * 3_600.0  # that a receiver may ask for


@dataclass(frozen=True, slots=True)
class Outcome:
    """How it stands after an attempt. why: it failed, None where it did not. again_s: until the next one, if any."""

    state: Literal["due", "delivered", "failed"]
    why: str | None = None
    again_s: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what is kept of it."""
        return {"state": self.state, "problem": None if self.why is None else _problem(self.why)}


def after_answer(called: Called, attempts: int) -> Outcome:
    """Return what an answer means. attempts: how many there were, with this one."""
    if HTTPStatus.OK <= called.status < HTTPStatus.MULTIPLE_CHOICES:
        return Outcome("delivered")
    if called.status == HTTPStatus.GONE:
        return Outcome("failed", "the receiver answered 410: it wants to hear nothing more")
    sends_on = called.status in range(300, 400)
    why = f"the receiver answered {called.status}{', and nobody is sent on' if sends_on else ''}"
    return after_failure(why, attempts, min(called.again_s or 0.0, LONGEST_S))


def after_failure(why: str, attempts: int, least_s: float = 0.0) -> Outcome:
    """Return how it goes on when an attempt failed. least_s: until the next one."""
    if attempts > len(DELAYS_S):
        return Outcome("failed", f"{why}; it was tried {attempts} times, and is not tried again")
    delay_s = DELAYS_S[attempts - 1] * random.uniform(1, 1 + JITTER)  # noqa: S311 -- no secret
    return Outcome("due", why, max(delay_s, least_s))


def _problem(detail: str) -> Mapping[str, object]:
    status = HTTPStatus.BAD_GATEWAY
    kind = "urn:lookalike:problem:WebhookFailed"
    return {"type": kind, "title": status.phrase, "status": status.value, "detail": detail}
