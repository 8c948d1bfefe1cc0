"""For receivers of webhooks: who sent this, and what does it say."""

import time
from collections.abc import Mapping
from typing import Final

from pydantic import ValidationError

from api.client.errors import RemoteError
from api.shapes.webhooks import JobEvent
from api.webhooks.signature import problem_of, secret_bytes

TOLERANCE_S: Final = 300.0


class WebhookNotVerified(RemoteError):
    """Nobody can be sure who sent this; answer with 401 and do nothing."""


def verify_webhook(
    body: bytes, headers: Mapping[str, str], secret: str, *, tolerance_s: float = TOLERANCE_S, now: float | None = None
) -> JobEvent:
    """Return the event that a server sent, if it knew the secret.

    body: as it came, not read and written anew. headers: of the request, names in any case. secret: that of the server,
    `whsec_...`. tolerance_s: how old it may be, so that nobody sends it once more later. now: seconds since 1970, by
    default those of this machine.

    Raises:
        WebhookNotVerified: the signature is not that of this body and secret, or too old, or this is no event.
        ValueError: the secret is none.
    """
    key = secret_bytes(secret)
    lower = {name.lower(): value for name, value in headers.items()}
    problem = problem_of(key, lower, body, time.time() if now is None else now, tolerance_s)
    if problem is not None:
        raise WebhookNotVerified(f"not verified: {problem}")
    try:
        return JobEvent.model_validate_json(body, extra="ignore")
    except ValidationError as error:
        raise WebhookNotVerified(f"no event of this release: {error.errors()[0]['msg']}") from error
