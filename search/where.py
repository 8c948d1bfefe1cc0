"""The little language of `--where`: `width >= 1000 and not (label = "tabby" or path like "%/drafts/%")`.

A parser reads it, fields.py says what can be asked, and SQLAlchemy gets an expression with bound parameters: no SQL is
ever put together from text. Limits keep an expression from a stranger harmless. Nothing here talks to a database.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol, cast

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken, v_args
from sqlalchemy import ColumnElement, and_, not_, or_

from search.errors import UsageError
from search.fields import ESCAPE, FIELDS, OPERATORS, Operator, Value

MAX_LETTERS = 10_000
MAX_DEPTH = 50
# Below the 999 bound parameters and the 1,000 levels of an expression that SQLite accepts.
MAX_VALUES = 200
MAX_INTEGER = 2**63 - 1  # what both databases can compare with
MAX_DIGITS = 40
SHOWN_LETTERS = 40

GRAMMAR = r"""
?start: either
either: both (_OR both)*
both: one (_AND one)*
?one: "(" either ")" | negated | test
negated: NOT one
?test: FIELD COMPARISON value                     -> compared
    | FIELD [NOT] LIKE value                      -> compared_by_word
    | FIELD [NOT] IN "(" value ("," value)* ")"   -> compared_by_word
    | FIELD IS [NOT] NULL                         -> missing
?value: TEXT | NUMBER

_OR: "or"i
_AND: "and"i
NOT: "not"i
LIKE: "like"i
IN: "in"i
IS: "is"i
NULL: "null"i
COMPARISON: "==" | "=" | "!=" | "<>" | "<=" | "<" | ">=" | ">"
TEXT: /"(""|[^"])*"|'(''|[^'])*'/
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?/i
FIELD: /[a-z_][a-z0-9_.]*/i
%ignore /\s+/
"""
# How the parts of the language are called in messages.
WORDS = {
    "FIELD": "a field",
    "COMPARISON": "= != < <= > >=",
    "TEXT": "text in quotes",
    "NUMBER": "a number",
    "LPAR": "(",
    "RPAR": ")",
    "COMMA": ",",
    "$END": "the end",
}


class Condition(Protocol):
    """What an image must fulfil."""

    @property
    def depth(self) -> int:
        """How many levels it has."""
        ...

    @property
    def values(self) -> int:
        """How many values it compares with."""
        ...

    def sql(self, space_id: int) -> ColumnElement[bool]:
        """Return it over image joined with content, for a collection of this space; it is never NULL."""
        ...


@dataclass(frozen=True, slots=True)
class Test:
    """One field compared with values."""

    field: str
    operator: Operator
    literals: tuple[Value, ...]
    depth: int
    values: int

    def sql(self, space_id: int) -> ColumnElement[bool]:
        """Ask the field."""
        return FIELDS[self.field].test(self.operator, self.literals, space_id)


@dataclass(frozen=True, slots=True)
class Negation:
    """What its part does not let through."""

    part: Condition
    depth: int
    values: int

    def sql(self, space_id: int) -> ColumnElement[bool]:
        """Turn the part around."""
        return not_(self.part.sql(space_id))


@dataclass(frozen=True, slots=True)
class Joined:
    """What all its parts let through, or any of them."""

    join: Callable[..., ColumnElement[bool]]
    parts: tuple[Condition, ...]
    depth: int
    values: int

    def sql(self, space_id: int) -> ColumnElement[bool]:
        """Join the parts."""
        return self.join(*(part.sql(space_id) for part in self.parts))


def parse(text: str) -> Condition:
    """Return the condition that a text means.

    Raises:
        UsageError: it means none; the message names the place, what stands there, and what would be right.
    """
    _refuse_unusable(text)
    try:
        condition = cast(Condition, _parser().parse(text))
    except UnexpectedInput as error:
        raise _explained(text, error) from error
    if condition.values > MAX_VALUES:
        raise UsageError(f"where compares with {condition.values} values, the limit is {MAX_VALUES}")
    if condition.depth > MAX_DEPTH:
        raise UsageError(f"where is nested {condition.depth} levels deep, the limit is {MAX_DEPTH}")
    return condition


def quoted(text: str) -> str:
    """Return a text as the language spells it."""
    return '"' + text.replace('"', '""') + '"'


@cache
def _parser() -> Lark:
    # With the builder inside, LALR needs no recursion: a deeply nested text cannot exhaust the stack.
    return Lark(GRAMMAR, parser="lalr", maybe_placeholders=True, transformer=_Builder())


def _refuse_unusable(text: str) -> None:
    if not text.strip():
        raise UsageError(
            'where is empty; leave it out, or say what you want, such as width >= 1000 and label = "tabby"'
        )
    if len(text) > MAX_LETTERS:
        raise UsageError(f"where has {len(text)} letters, the limit is {MAX_LETTERS}")
    for at, letter in enumerate(text):
        if letter == "\0" or "\ud800" <= letter <= "\udfff":
            raise _wrong(at, repr(letter), "is no letter that a name can have; take it out")


@v_args(inline=True)
class _Builder(Transformer[Token, Condition]):
    """Makes conditions of what the parser finds, from the inside out."""

    def either(self, *parts: Condition) -> Condition:
        return _joined(or_, parts)

    def both(self, *parts: Condition) -> Condition:
        return _joined(and_, parts)

    def negated(self, _not: Token, part: Condition) -> Condition:
        return _negation(part)

    def compared(self, field: Token, comparison: Token, value: Token) -> Condition:
        if comparison in ("!=", "<>"):
            return _negation(_test(field, comparison, "in", [value]))
        operator = "in" if comparison in ("=", "==") else cast(Operator, str(comparison))
        return _test(field, comparison, operator, [value])

    def compared_by_word(self, field: Token, negated: Token | None, word: Token, *values: Token) -> Condition:
        found = _test(field, word, cast(Operator, word.lower()), values)
        return found if negated is None else _negation(found)

    def missing(self, field: Token, word: Token, negated: Token | None, _null: Token) -> Condition:
        found = _test(field, word, "null", [])
        return found if negated is None else _negation(found)


def _joined(join: Callable[..., ColumnElement[bool]], parts: tuple[Condition, ...]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    return Joined(join, parts, 1 + max(part.depth for part in parts), sum(part.values for part in parts))


def _negation(part: Condition) -> Condition:
    return Negation(part, 1 + part.depth, part.values)


def _test(name: Token, word: Token, operator: Operator, values: Sequence[Token]) -> Condition:
    """Return one test, after looking whether the field knows the operator and the values."""
    field = FIELDS.get(name.lower())
    if field is None:
        raise _wrong(_place(name), _shown(name), f"is no field; the fields are {', '.join(sorted(FIELDS))}")
    if operator not in OPERATORS[field.kind]:
        words = "= != < <= > >= in" if field.kind == "number" else "= != like in"
        raise _wrong(_place(word), str(word), f"cannot be asked of {name}, which is a {field.kind}; use {words}")
    literals = tuple(_value(name, field.kind, value) for value in values)
    if operator == "like":
        _refuse_open_escape(values[0], str(literals[0]))
    return Test(name.lower(), operator, literals, 1, max(1, len(literals)))


def _value(name: Token, kind: str, value: Token) -> Value:
    if value.type == "TEXT":
        text = value[1:-1].replace(2 * value[0], value[0])
        if kind == "number":
            raise _wrong(_place(value), _shown(value), f"is text, but {name} is a number; write it without quotes")
        return text
    if kind == "text":
        raise _wrong(_place(value), _shown(value), f"is a number, but {name} is a text; write {quoted(value)}")
    return _number(value)


def _number(token: Token) -> int | float:
    number = float(token)
    if len(token) > MAX_DIGITS or not math.isfinite(number) or abs(number) > MAX_INTEGER + 1:
        raise _wrong(_place(token), _shown(token), f"is too large; the largest number is {MAX_INTEGER}")
    whole = token.lstrip("+-").isdigit()
    return max(-MAX_INTEGER - 1, min(int(token), MAX_INTEGER)) if whole else number


def _refuse_open_escape(token: Token, pattern: str) -> None:
    r"""Refuse a pattern whose last letter is a \ that takes nothing literally."""
    if (len(pattern) - len(pattern.rstrip(ESCAPE))) % 2:
        raise _wrong(_place(token), _shown(token), f"ends with a single {ESCAPE}; write {ESCAPE * 2} for the letter")


def _explained(text: str, error: UnexpectedInput) -> UsageError:
    if isinstance(error, UnexpectedToken):
        return _explained_token(text, error.token, error.accepts or error.expected)
    at = error.pos_in_stream or 0
    if text[at] in "\"'":
        return _wrong(at, _shown(text[at:]), "is a text that does not end; close its quote")
    if text[at] in "“”„‘’‚«»`":
        return _wrong(at, text[at], "is no quote of this language; use \" or '")
    return _wrong(at, text[at], "means nothing here; put text in quotes")


def _explained_token(text: str, token: Token, expected: set[str]) -> UsageError:
    words = [WORDS.get(name, name.strip("_").lower()) for name in sorted(expected)]
    wanted = f"expected {' or '.join(words)}"
    if token.type == "$END":
        return _wrong(len(text), "it ends too early;", wanted)
    if token.type == "FIELD" and "TEXT" in expected:
        hint = f"is text without quotes; write {quoted(token)}, and for a shell '…' around the whole condition"
        return _wrong(_place(token), _shown(token), hint)
    return _wrong(_place(token), _shown(token), f"does not belong here; {wanted}")


def _wrong(at: int, what: str, remedy: str) -> UsageError:
    return UsageError(f"where, at character {at + 1}: {what} {remedy}")


def _place(token: Token) -> int:
    return token.start_pos or 0


def _shown(text: str) -> str:
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}…"
