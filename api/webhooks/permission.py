"""What a server's owner allows of webhooks, and the secrets that sign them."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from api.webhooks.rules import WebhookRules, rules_of
from api.webhooks.signature import NotASecret, secret_bytes
from search.errors import UsageError

MOST_LETTERS: Final = 4_096
MAKE_ONE: Final = 'echo "whsec_$(openssl rand -base64 32)" > FILE makes one'


@dataclass(frozen=True, slots=True)
class WebhookPermission:
    """rules: whom to call. keys: the secrets that sign, as bytes; there is one at least where anybody is called."""

    rules: WebhookRules = WebhookRules()
    keys: tuple[bytes, ...] = ()


def permission_of(allowed: Iterable[str], secret_file: Path | None) -> WebhookPermission:
    """Return what `serve --allow-webhook` and `--webhook-secret-file` say.

    Raises:
        UsageError: one of them cannot be used, or the secret is missing.
    """
    rules = rules_of(allowed)
    if not rules.allow_any:
        return WebhookPermission()
    if secret_file is None:
        raise UsageError(
            "--allow-webhook needs --webhook-secret-file FILE (LOOKALIKE_WEBHOOK_SECRET_FILE), so that receivers can "
            f"tell who calls them; {MAKE_ONE}"
        )
    return WebhookPermission(rules, _keys_in(secret_file))


def _keys_in(file: Path) -> tuple[bytes, ...]:
    """Return the secrets of a file, one a line.

    Raises:
        UsageError: it cannot be read, or holds something else.
    """
    try:
        with file.open(encoding="ascii") as opened:
            lines = [line.strip() for line in opened.read(MOST_LETTERS).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"cannot read the secret of webhooks in {file}: {error}") from error
    try:
        keys = tuple(secret_bytes(line) for line in lines)
    except NotASecret as error:
        raise UsageError(f"{file} holds no secret of webhooks: {error}; {MAKE_ONE}") from None
    if not keys:
        raise UsageError(f"{file} is empty; {MAKE_ONE}")
    return keys
