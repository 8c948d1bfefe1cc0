"""Keys of the catalogue, and the one of a file, as the gate of the HTTP API."""

import hmac
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from api.http.access import ANYBODY, Caller, Gate, KeyRefused, OpenGate
from search.errors import GuardRefused, UsageError
from search.storing.api_keys import ApiKeys, digest_of

AuthMode = Literal["auto", "keys", "none"]
# Shorter ones could be guessed: a key is as good as its randomness.
LEAST_LETTERS = 32
MOST_LETTERS = 512
HOW = "send it as `Authorization: Bearer lk_...`; `lookalike keys create` makes one"


@dataclass(frozen=True, slots=True)
class Guard:
    """Whom a server lets in, and how far. public: other machines can reach it. admin_key_file: holds a key of its own.

    allow_url: it fetches pictures from addresses that visitors name (api/http/safe_fetch.py). allow_roots: folders of
    which they may name files. allow_webhooks, webhook_secret_file: whom it calls when jobs have ended, and by what it
    signs that (api/webhooks/permission.py).
    """

    mode: AuthMode
    public: bool
    admin_key_file: Path | None = None
    allow_url: bool = False
    allow_roots: tuple[Path, ...] = ()
    allow_webhooks: tuple[str, ...] = ()
    webhook_secret_file: Path | None = None


def auth_mode(text: str) -> AuthMode:
    """Return an --auth value as what it is.

    Raises:
        UsageError: it is none.
    """
    for mode in get_args(AuthMode):
        if text == mode:
            known: AuthMode = mode
            return known
    raise UsageError(f"--auth {text!r} is not one of {', '.join(get_args(AuthMode))}")


def gate_of(keys: ApiKeys, guard: Guard) -> Gate:
    """Return the gate of a server.

    Raises:
        UsageError: the file with the admin key cannot be used.
        GuardRefused: other machines could reach the server, and nobody has a key.
    """
    if guard.mode == "none":
        return OpenGate()
    admin = None if guard.admin_key_file is None else digest_of(_key_in(guard.admin_key_file))
    now = time.time()
    if guard.public and guard.mode == "auto" and admin is None and all(one.state(now) != "valid" for one in keys.all()):
        raise GuardRefused(
            "other machines could reach this address, and there is no valid key yet: make one with "
            "`lookalike keys create --role admin`, or pass --auth none where a proxy asks who is there"
        )
    return KeyGate(keys, admin, always=guard.public or guard.mode == "keys" or admin is not None)


class KeyGate:
    """Lets in whoever has a valid key. Keys are read at each request, so that revoking works at once."""

    def __init__(self, keys: ApiKeys, admin: bytes | None, *, always: bool) -> None:
        """admin: sha256 of a key that may do everything and is not in the catalogue.

        always: False while keys are asked for only once there is one.
        """
        self._keys = keys
        self._admin = admin
        self._asks = always

    def caller(self, authorization: str | None, *, at_once: bool = False) -> Caller:
        """Return who sends a request (api/http/access.py)."""
        # Keys are never removed, so once there is one there always is.
        if not self._asks and not self._keys.any(at_once=at_once):
            return ANYBODY
        self._asks = True
        if authorization is None:
            raise KeyRefused(f"a key is needed here: {HOW}", given=False)
        kind, _, secret = authorization.partition(" ")
        if kind.lower() != "bearer" or not secret.strip():
            raise KeyRefused(f"the header Authorization holds no key: {HOW}", given=False)
        return self._known(secret.strip(), at_once=at_once)

    def _known(self, secret: str, *, at_once: bool) -> Caller:
        if self._admin is not None and hmac.compare_digest(self._admin, digest_of(secret)):
            return ANYBODY
        key = self._keys.find(secret, at_once=at_once)
        if key is None:
            raise KeyRefused("this key is not known here; `lookalike keys list` shows those there are", given=True)
        state = key.state(time.time())
        if state != "valid":
            raise KeyRefused(f"this key is {state}; `lookalike keys create` makes another", given=True)
        return Caller(key.role, key.collection)


def _key_in(file: Path) -> str:
    """Return the key that a file holds.

    Raises:
        UsageError: it cannot be read, or holds no key that is hard to guess.
    """
    try:
        with file.open(encoding="ascii") as opened:
            text = opened.read(MOST_LETTERS + 2).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the admin key in {file}: {error}") from error
    if not LEAST_LETTERS <= len(text) <= MOST_LETTERS or not text.isprintable() or " " in text:
        raise UsageError(
            f"{file} holds no key: one line of {LEAST_LETTERS} to {MOST_LETTERS} letters without blanks, such as "
            "what `openssl rand -hex 32` prints"
        )
    return text
