"""What is wrong with the fields of a request, in this project's own words: the field, what it is, what to give instead.

The framework names a kind of mistake (pydantic's `type`); its own sentence names neither the value nor the remedy.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

SHOWN_LETTERS = 40
# By pydantic's kind of mistake, filled with its limits.
REMEDIES = {
    "greater_than_equal": "give {ge} or more",
    "less_than_equal": "give {le} or less",
    "less_than": "give less than {lt}",
    "int_type": "give a whole number",
    "int_parsing": "give a whole number",
    "int_parsing_size": "give a smaller number",
    "int_from_float": "give a whole number",
    "finite_number": "give a finite number",
    "float_type": "give a number",
    "float_parsing": "give a number",
    "bool_type": "give true or false",
    "bool_parsing": "give true or false",
    "string_type": "give a text",
    "string_pattern_mismatch": "give 1 to 16 digits",  # ids and cursors: no other text has a pattern
    "dict_type": "give an object",
    "model_type": "give an object",
    "model_attributes_type": "give an object",
}
UNKNOWN = "/openapi.json says what it can be"
HALF_CHARACTERS = ("value_error", "string_unicode", "invalid_key")  # JSON can escape one
WHERE_FROM = ("query", "path", "body")  # of the request, as the framework calls it


def in_words(error: Mapping[str, Any]) -> str:
    """Return a sentence about one of the framework's validation errors."""
    place = _cut(".".join(str(part) for part in error["loc"] if part not in WHERE_FROM)) or "the body"
    kind, given = error["type"], error["input"]
    if kind == "missing":
        said = f"{place} is missing; give it"
    elif kind == "extra_forbidden":
        said = f"there is no field {place}; leave it out, /openapi.json lists those there are"
    elif kind in HALF_CHARACTERS:
        said = f"{place} holds half of a character; give whole ones"
    elif not _is_finite(given):
        said = f"{place} is {given}; give a finite number"
    else:
        limits = {name: _whole(value) for name, value in error.get("ctx", {}).items()}
        said = f"{place} is {_shown(given)}; {REMEDIES.get(kind, UNKNOWN).format(**limits)}"
    # Names and values come from outside, and half of a character cannot be sent back.
    return said.encode("utf-8", "backslashreplace").decode()


def _is_finite(given: object) -> bool:
    try:
        return not isinstance(given, float | str) or math.isfinite(float(given))
    except ValueError:
        return True  # a text that is no number at all


def _whole(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _shown(given: object) -> str:
    if isinstance(given, list | dict):
        return "an array" if isinstance(given, list) else "an object"
    return _cut(json.dumps(given, ensure_ascii=False, default=str))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…"
