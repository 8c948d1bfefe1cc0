"""Metadata of users: the JSON file beside a picture, as a checked object.

`photo.jpg.json` belongs to photo.jpg; where it is missing, `photo.json` does. A changed sidecar is noticed by its size
and date, which are stamped into the date of the picture: the picture is then read and hashed again, yet not embedded.
"""

import json
import math
from collections.abc import Container, Mapping
from typing import Final

from search.conditions.user_metadata import checked
from search.errors import BadImage, UsageError

SUFFIX: Final = ".json"
MAX_SIDECAR_BYTES: Final = 1 << 20
_MAX_DEPTH: Final = 16


def sidecar_name(name: str, names: Container[str]) -> str | None:
    """Return which of the names in its folder is the sidecar of a picture, None when it has none."""
    if name + SUFFIX in names:
        return name + SUFFIX
    stem = name.rpartition(".")[0]
    return stem + SUFFIX if stem and stem + SUFFIX in names else None


def parsed(data: bytes) -> dict[str, object]:
    """Return the object that a JSON file holds, fit for every database.

    Raises:
        BadImage: `bad_metadata`, saying what is wrong with it.
    """
    if len(data) > MAX_SIDECAR_BYTES:
        raise BadImage("bad_metadata", f"its metadata has more than {MAX_SIDECAR_BYTES:,} bytes")
    try:
        value = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:
        raise BadImage("bad_metadata", f"it is no JSON: {error}") from error
    if not isinstance(value, dict):
        raise BadImage("bad_metadata", f"its JSON is no object {{...}} but {type(value).__name__}")
    return storable({cleaned_text(name): cleaned(entry) for name, entry in value.items()})


def storable(metadata: Mapping[str, object]) -> dict[str, object]:
    """Return metadata that both databases hold and conditions can ask for.

    Raises:
        BadImage: `bad_metadata`, naming the key and the limit.
    """
    try:
        return checked(metadata)
    except UsageError as error:
        raise BadImage("bad_metadata", str(error)) from error


def cleaned(value: object, depth: int = 0) -> object:
    """Return a value as JSON and every database can hold it.

    Raises:
        BadImage: it is nested too deep.
    """
    if depth > _MAX_DEPTH:
        raise BadImage("bad_metadata", f"its metadata is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, str):
        return cleaned_text(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    if isinstance(value, Mapping):
        return {cleaned_text(str(name)): cleaned(entry, depth + 1) for name, entry in value.items()}
    if isinstance(value, list):
        return [cleaned(entry, depth + 1) for entry in value]
    return value


def cleaned_text(text: str) -> str:
    """Return a text without NUL and lone surrogates, which PostgreSQL and UTF-8 refuse."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
