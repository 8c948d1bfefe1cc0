"""What is wrong with the fields of a request, in this project's own words: the field, what it is, what to give instead.

The framework names a kind of mistake (pydantic's `type`); its own sentence names neither the value nor the remedy.
"""

import json
import math
from collections.abc import Mapping, Sequence
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
    "string_too_short": "give {min_length} letters or more",
    "string_too_long": "give {max_length} letters at most",
    "greater_than": "give more than {gt}",
    "too_short": "give {min_length} or more of them",
    "too_long": "give {max_length} of them at most",
    "list_type": "give an array",
    "literal_error": "give {expected}",
    "dict_type": "give an object",
    "model_type": "give an object",
    "model_attributes_type": "give an object",
}
# What a text must be, by its pattern.
PATTERNS = {
    r"^[0-9]{1,16}$": "give 1 to 16 digits",
    r"^[0-9]{0,16}$": "give up to 16 digits",
    r"^[^\x00]+$": "give a text that is not empty and holds no NUL",
    r"^[\x21-\x7e]{1,200}$": "give 1 to 200 letters, digits and signs of ASCII, and no blanks",
    "^[0-9a-fA-F]{64}$": "give the 64 hexadecimal digits of a sha256",
    r"^\d{8}-[0-9a-f]{8}$": "give the id of a plan, such as 20261123-0a1b2c3d",
}
# Fields that are texts of a certain form, where something else came.
FIELDS = {"box": 'give a text, x,y,width,height in pixels, such as "120,80,640,480"'}
UNKNOWN = "/openapi.json says what it can be"
HALF_CHARACTERS = ("string_unicode", "invalid_key")  # JSON can escape one
WHERE_FROM = ("query", "path", "body")  # of the request, as the framework calls it


def in_words(error: Mapping[str, Any]) -> str:
    """Return a sentence about one of the framework's validation errors."""
    kind, given = error["type"], error["input"]
    place = _cut(".".join(_steps(error["loc"]))) or "the body"
    why = error.get("ctx", {}).get("error")
    if kind == "missing":
        said = f"{place} is missing; give it"
    elif kind == "extra_forbidden":
        said = f"there is no field {place}; leave it out, /openapi.json lists those there are"
    elif kind in HALF_CHARACTERS or isinstance(why, UnicodeError):
        said = f"{place} holds half of a character; give whole ones"
    elif kind == "value_error":  # of a shape of this project, which says it in words
        said = f"{place} cannot be used: {why}"
    elif not _is_finite(given):
        said = f"{place} is {given}; give a finite number"
    else:
        remedy = FIELDS.get(place, "") if kind == "string_type" else ""
        said = f"{place} is {_shown(given)}; {remedy or _remedy(kind, error.get('ctx', {}))}"
    # Names and values come from outside, and half of a character cannot be sent back.
    return said.encode("utf-8", "backslashreplace").decode()


def closest(errors: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the first error of the shape that a request comes closest to, where its body can be of several shapes."""
    by_shape: dict[object, list[Mapping[str, Any]]] = {}
    for error in errors:
        by_shape.setdefault(error["loc"][1] if _names_shape(error["loc"]) else None, []).append(error)
    return min(by_shape.values(), key=len)[0]


def _names_shape(place: Sequence[object]) -> bool:
    """Tell whether a place begins with the name of a shape, as those in bodies of several shapes do."""
    return len(place) > 1 and place[0] == "body" and str(place[1]).endswith("Body")


def _steps(place: Sequence[object]) -> list[str]:
    named = place[2:] if _names_shape(place) else place[1:] if place[:1] and place[0] in WHERE_FROM else place
    return [str(part) for part in named]


def _remedy(kind: str, limits: Mapping[str, object]) -> str:
    if kind == "string_pattern_mismatch":
        return PATTERNS.get(str(limits["pattern"]), UNKNOWN)
    return REMEDIES.get(kind, UNKNOWN).format(**{name: _whole(value) for name, value in limits.items()})


def _is_finite(given: object) -> bool:
    try:
        return not isinstance(given, float | str) or math.isfinite(float(given))
    except ValueError:
        return True  # a text that is no number at all


def _whole(limit: object) -> object:
    return int(limit) if isinstance(limit, float) and limit.is_integer() else limit


def _shown(given: object) -> str:
    if isinstance(given, list | dict):
        return "an empty array" if given == [] else "an array" if isinstance(given, list) else "an object"
    return _cut(json.dumps(given, ensure_ascii=False, default=str))


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…"
