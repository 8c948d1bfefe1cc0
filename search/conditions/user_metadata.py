"""What users may store about an image: a JSON object that both databases hold, and conditions can ask for.

Every way to write metadata goes through `checked`. A number that no double holds, a NUL or half of a character would
not only be lost: on PostgreSQL one such value makes every condition fail that reads it.
"""

import json
import math
from collections.abc import Iterator, Mapping

from search.errors import UsageError

MAX_BYTES = 65_536  # of the whole object, as compact JSON in UTF-8
MAX_DEPTH = 8  # objects and lists, one inside the other
MAX_KEYS = 1_000  # in all objects together
MAX_KEY_LETTERS = 200
MAX_WHOLE = 2**63 - 1
SHOWN_LETTERS = 40


def checked(metadata: Mapping[str, object]) -> dict[str, object]:
    """Return metadata that can be stored, its keys in their order.

    Raises:
        UsageError: it is too large or too deep, or holds a key or a value that JSON or a database cannot; the message
            names the key and the limit.
    """
    kept = dict(metadata)
    keys = 0
    for place, value in _values(kept, "metadata", 1):
        _refuse_value(place, value)
        if isinstance(value, Mapping):
            keys += len(value)
            if keys > MAX_KEYS:
                raise UsageError(f"metadata has more than {MAX_KEYS} keys; keep what searches need")
            for key in value:
                _refuse_key(place, key)
    size = len(json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode())
    if size > MAX_BYTES:
        raise UsageError(f"metadata takes {size:,} bytes as JSON, the limit is {MAX_BYTES:,}; keep what searches need")
    return kept


def merged(stored: object, patch: object) -> object:
    """Return what a JSON merge patch (RFC 7396) makes of a value; neither is changed.

    The keys of an object are set, those with null are removed; anything else replaces what was there.
    """
    if not isinstance(patch, Mapping):
        return patch
    result = dict(stored) if isinstance(stored, Mapping) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def _values(value: object, place: str, depth: int) -> Iterator[tuple[str, object]]:
    """Yield every value inside a value with the keys that lead to it, the value itself first."""
    yield place, value
    if not isinstance(value, Mapping | list):
        return
    if depth > MAX_DEPTH:
        raise UsageError(f"{place[:SHOWN_LETTERS]}… is nested more than {MAX_DEPTH} levels deep; make it flatter")
    inside = value.items() if isinstance(value, Mapping) else ((str(at), one) for at, one in enumerate(value))
    for key, one in inside:
        yield from _values(one, f"{place}.{key}", depth + 1)


def _refuse_key(place: str, key: object) -> None:
    if not isinstance(key, str) or not key:
        raise UsageError(f"{_shown(place)} has the key {key!r}; a key is a text that is not empty")
    if len(key) > MAX_KEY_LETTERS:
        raise UsageError(f"{_shown(place)} has a key of {len(key)} letters, the limit is {MAX_KEY_LETTERS}")
    _refuse_letters(place, key)


def _refuse_value(place: str, value: object) -> None:
    if isinstance(value, str):
        _refuse_letters(place, value)
    elif isinstance(value, float) and not math.isfinite(value):
        raise UsageError(f"{_shown(place)} is {value}, which JSON cannot hold; leave it out")
    elif isinstance(value, int) and not -MAX_WHOLE - 1 <= value <= MAX_WHOLE:
        raise UsageError(f"{_shown(place)} is too large a number; the largest is {MAX_WHOLE}: write it as text")
    elif value is not None and not isinstance(value, bool | int | float | list | Mapping):
        raise UsageError(f"{_shown(place)} is a {type(value).__name__}, which JSON does not have; write it as text")


def _refuse_letters(place: str, text: str) -> None:
    if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in text):
        raise UsageError(f"{_shown(place)} holds a NUL or half of a character, which no database takes; take it out")


def _shown(place: str) -> str:
    text = place if len(place) <= SHOWN_LETTERS else f"{place[:SHOWN_LETTERS]}…"
    return text.encode("utf-8", "replace").decode()
