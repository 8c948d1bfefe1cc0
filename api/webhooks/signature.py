"""Signatures of webhooks, in the format of the Standard Webhooks specification, version 1.0.0 (standardwebhooks.com).

    webhook-id         names what is told; the same whenever it is sent again
    webhook-timestamp  when it was sent, in seconds since 1970
    webhook-signature  `v1,` and the base64 of the HMAC-SHA256 of `{id}.{timestamp}.{body}`, one for each secret

Needs nothing but Python: the server signs by it, and the client verifies.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping, Sequence
from typing import Final

PREFIX: Final = "whsec_"
LEAST_BYTES: Final = 24
MOST_BYTES: Final = 64
ID: Final = "webhook-id"
TIMESTAMP: Final = "webhook-timestamp"
SIGNATURE: Final = "webhook-signature"
_VERSION: Final = "v1,"


class NotASecret(ValueError):  # noqa: N818 -- says what it is not
    """A text is no secret of webhooks; the message says what one looks like, and not what was given."""


def secret_bytes(text: str) -> bytes:
    """Return the bytes of a secret as it is written down.

    Raises:
        NotASecret: it is none.
    """
    try:
        found = base64.b64decode(text.removeprefix(PREFIX), validate=True)
    except (binascii.Error, ValueError):
        found = b""
    if not text.startswith(PREFIX) or not LEAST_BYTES <= len(found) <= MOST_BYTES:
        raise NotASecret(f"a secret is {PREFIX} and the base64 of {LEAST_BYTES} to {MOST_BYTES} random bytes")
    return found


def signed(secrets: Sequence[bytes], id_: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that sign a body, by each of the secrets."""
    signatures = (_VERSION + _signature(one, id_, str(timestamp), body) for one in secrets)
    return {ID: id_, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(signatures)}


def problem_of(secret: bytes, headers: Mapping[str, str], body: bytes, now: float, tolerance_s: float) -> str | None:
    """Return why a body may be anybody's, None where its sender knew the secret. headers: by names in small letters."""
    missing = [name for name in (ID, TIMESTAMP, SIGNATURE) if not headers.get(name)]
    if missing:
        return f"the header {missing[0]} is missing"
    sent = headers[TIMESTAMP]
    if not (sent.isascii() and sent.isdecimal() and abs(now - int(sent)) <= tolerance_s):
        return f"{TIMESTAMP} is {sent[:20]!r}, which is not within {tolerance_s:g} seconds of now"
    right = (_VERSION + _signature(secret, headers[ID], sent, body)).encode()
    given = headers[SIGNATURE].split(" ")
    if not any([hmac.compare_digest(right, one.encode()) for one in given]):  # noqa: C419 -- all, so that none stops it
        return f"no signature in {SIGNATURE} is that of this body with this secret"
    return None


def _signature(secret: bytes, id_: str, timestamp: str, body: bytes) -> str:
    content = f"{id_}.{timestamp}.".encode() + body
    return base64.b64encode(hmac.new(secret, content, hashlib.sha256).digest()).decode()
