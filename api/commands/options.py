"""Options that several commands share."""

from typing import Literal

from search.errors import UsageError


def preparation_mode(value: str | None) -> Literal["full", "card"] | None:
    """Return a --preprocess value as what it is.

    Raises:
        UsageError: it is neither full nor card.
    """
    modes: dict[str | None, Literal["full", "card"] | None] = {"full": "full", "card": "card", None: None}
    if value not in modes:
        raise UsageError(f"--preprocess {value!r} is not one of full, card")
    return modes[value]
