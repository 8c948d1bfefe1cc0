"""Options that several commands share."""

from typing import Literal

from search.errors import UsageError
from search.records import POOLINGS, Pooling


def preparation_mode(value: str | None) -> Literal["full", "card"] | None:
    """Return a --preprocess value as what it is.

    Raises:
        UsageError: it is neither full nor card.
    """
    modes: dict[str | None, Literal["full", "card"] | None] = {"full": "full", "card": "card", None: None}
    if value not in modes:
        raise UsageError(f"--preprocess {value!r} is not one of full, card")
    return modes[value]


def mode_for(backbone: str, value: str | None, default: Literal["full", "card"]) -> Literal["full", "card"]:
    """Return the mode asked for by --preprocess, else what the user's own backbone was made with, else the default.

    `builtin` has one, whatever the default is.

    Raises:
        UsageError: the value is neither full nor card, or card for `builtin`.
    """
    from indexer.backbones.builtin_facts import BUILTIN
    from indexer.backbones.registry import find

    asked = preparation_mode(value)
    if backbone == BUILTIN:
        from indexer.backbones.backbones import refuse_for_builtin

        refuse_for_builtin(mode=asked)
        return "full"
    own = find(backbone) if asked is None else None
    return asked or (own.preparation.mode if own is not None else default)


def image_size_of(value: str | None) -> int | Literal["test"] | None:
    """Return an --image-size value as what it is.

    Raises:
        UsageError: it is neither a whole number nor "test".
    """
    if value is None:
        return None
    if value == "test":
        return "test"
    if not value.isdecimal():
        raise UsageError(f"--image-size {value!r} is neither a number of pixels nor `test`")
    return int(value)


def pooling_of(value: str | None) -> Pooling | None:
    """Return a --pool value as what it is.

    Raises:
        UsageError: there is no such pooling.
    """
    for pooling in POOLINGS:
        if value == pooling:
            return pooling
    if value is None:
        return None
    raise UsageError(f"--pool {value!r} is not one of {', '.join(POOLINGS)}")
