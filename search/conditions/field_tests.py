"""One test of a condition: a field, an operator and values, as the parser found them, checked and understood."""

import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from lark import Token
from sqlalchemy import ColumnElement

from search.conditions.condition_errors import Misplaced
from search.conditions.dates import EXAMPLES, date
from search.conditions.fields import ESCAPE, FIELDS, OPERATORS, Field, Kind, MetadataField, Operator, Value

MAX_INTEGER = 2**63 - 1  # what both databases can compare with
MAX_DIGITS = 40
MAX_KEYS = 8  # of metadata, one inside the other
SHOWN_LETTERS = 40
# How kinds of fields, and of what they are compared with, are called in messages.
NAMES = {"TEXT": "text", "NUMBER": "a number", "DATE": "a date", "BOOLEAN": "true or false"}
ASKED: dict[Kind, str] = {"number": "= != < <= > >= in", "text": "= != like in", "date": "= != < <= > >= in"}
KEY = re.compile(r"""\.(?:(\w+)|"((?:""|[^"])+)"|'((?:''|[^'])+)')""")
METADATA = "metadata"


@dataclass(frozen=True, slots=True)
class Test:
    """One field compared with values."""

    field: Field
    operator: Operator
    literals: tuple[Value, ...]
    depth: int
    values: int

    def sql(self, space_id: int) -> ColumnElement[bool]:
        """Ask the field."""
        return self.field.test(self.operator, self.literals, space_id)


def quoted(text: str) -> str:
    """Return a text as the language spells it."""
    return '"' + text.replace('"', '""') + '"'


def understood(name: Token, word: Token, operator: Operator, values: Sequence[Token]) -> Test:
    """Return one test, after looking whether the field knows the operator and the values."""
    field = _field(name)
    if operator not in OPERATORS[field.kind]:
        remedy = f"cannot be asked of {shown(name)}, which is a {field.kind}; use {ASKED[field.kind]}"
        raise Misplaced(place(word), str(word), remedy)
    literals = tuple(_LITERALS[field.kind](name, value) for value in values)
    if field.kind == METADATA:
        _refuse_disorder(word, operator, values)
    if operator == "like":
        _refuse_open_escape(values[0], str(literals[0]))
    keys = len(field.keys) if isinstance(field, MetadataField) else 0
    return Test(field, operator, literals, 1, max(1, len(literals)) + keys)


def _field(name: Token) -> Field:
    start = KEY.search(name)
    if start is not None and name[: start.start()].lower() == METADATA:
        return _metadata_field(name, name[start.start() :])
    field = FIELDS.get(name.lower())
    if field is not None:
        return field
    if name.lower() == METADATA:
        raise Misplaced(place(name), name, "has no value of its own; name one of its keys, such as metadata.camera")
    close = _nearest(name)
    guess = "" if close is None else f"did you mean {shown(close)}? "
    fields = f"the fields are {', '.join(sorted(FIELDS))} and metadata.KEY"
    raise Misplaced(place(name), shown(name), f"is no field; {guess}{fields}")


def _nearest(name: str) -> str | None:
    """Return the field that was meant, most likely: a misspelt one, or a key of metadata that is misspelt."""
    start = KEY.search(name)
    first, rest = (name, ".KEY") if start is None else (name[: start.start()], name[start.start() :])
    if get_close_matches(first.lower(), [METADATA], 1):
        return METADATA + rest
    return next(iter(get_close_matches(name.lower(), sorted(FIELDS), 1)), None)


def _metadata_field(name: Token, rest: str) -> Field:
    found = [match.groups() for match in KEY.finditer(rest)]
    keys = [plain or (double or "").replace('""', '"') or single.replace("''", "'") for plain, double, single in found]
    if len(keys) > MAX_KEYS:
        raise Misplaced(place(name), shown(name), f"goes {len(keys)} keys deep; the limit is {MAX_KEYS}")
    return MetadataField(tuple(keys))


def _number_of(name: Token, value: Token) -> Value:
    if value.type == "TEXT":
        raise Misplaced(place(value), shown(value), f"is text, but {shown(name)} is a number; write it without quotes")
    if value.type != "NUMBER":
        raise Misplaced(place(value), shown(value), f"is {NAMES[value.type]}, but {shown(name)} is a number")
    return _number(value)


def _text_of(name: Token, value: Token) -> Value:
    if value.type != "TEXT":
        remedy = f"is {NAMES[value.type]}, but {shown(name)} is a text; write {quoted(shown(value))}"
        raise Misplaced(place(value), shown(value), remedy)
    return _unquoted(value)


def _date_of(_name: Token, value: Token) -> Value:
    found = date(_unquoted(value) if value.type == "TEXT" else value)
    if found is None:
        raise Misplaced(place(value), shown(value), f"is no date; write {EXAMPLES}, without a time zone")
    return found


def _metadata_of(name: Token, value: Token) -> Value:
    if value.type == "NUMBER":
        return _double(value)
    if value.type == "BOOLEAN":
        return value.lower() == "true"
    # Only a hint for those who forget the quotes of a text: dates in metadata are texts, and compared as such.
    return _unquoted(value) if value.type == "TEXT" else _date_of(name, value)


_LITERALS: dict[Kind, Callable[[Token, Token], Value]] = {
    "number": _number_of,
    "text": _text_of,
    "date": _date_of,
    "metadata": _metadata_of,
}


def _refuse_disorder(word: Token, operator: Operator, values: Sequence[Token]) -> None:
    """Refuse to order what has no order, and to compare letters where there are none."""
    kinds = {value.type for value in values}
    if operator == "like" and kinds != {"TEXT"}:
        raise Misplaced(place(word), str(word), "compares with a text in quotes only")
    if operator not in ("in", "null") and "BOOLEAN" in kinds:
        raise Misplaced(place(word), str(word), "cannot be asked of true and false; use = != in")


def _unquoted(token: Token) -> str:
    return token[1:-1].replace(2 * token[0], token[0])


def _double(token: Token) -> float:
    number = float(token)
    if len(token) > MAX_DIGITS or not math.isfinite(number):
        raise Misplaced(place(token), shown(token), f"is too large; write a number of at most {MAX_DIGITS} signs")
    return number


def _number(token: Token) -> int | float:
    number = _double(token)
    if abs(number) > MAX_INTEGER + 1:
        raise Misplaced(place(token), shown(token), f"is too large; the largest number is {MAX_INTEGER}")
    whole = token.lstrip("+-").isdigit()
    return max(-MAX_INTEGER - 1, min(int(token), MAX_INTEGER)) if whole else number


def _refuse_open_escape(token: Token, pattern: str) -> None:
    r"""Refuse a pattern whose last letter is a \ that takes nothing literally."""
    if (len(pattern) - len(pattern.rstrip(ESCAPE))) % 2:
        remedy = f"ends with a single {ESCAPE}; write {ESCAPE * 2} for the letter"
        raise Misplaced(place(token), shown(token), remedy)


def place(token: Token) -> int:
    """Return how many letters stand before a token."""
    return token.start_pos or 0


def shown(text: str) -> str:
    """Return a text as messages show it: not all of a long one."""
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…"
