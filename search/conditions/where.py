"""The little language of `--where`: `taken_at >= 2024-03 and not (label = "tabby" or metadata.rating < 3)`.

A parser reads it, fields.py says what can be asked, and SQLAlchemy gets an expression with bound parameters: no SQL is
ever put together from text. Limits keep an expression from a stranger harmless. Nothing here talks to a database.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Protocol, cast

from lark import Lark, Token, Transformer, UnexpectedInput, UnexpectedToken, v_args
from sqlalchemy import ColumnElement, and_, not_, or_

from search.conditions.condition_errors import Misplaced, bad_condition
from search.conditions.field_tests import place, quoted, shown, understood
from search.conditions.fields import Operator
from search.errors import UsageError

MAX_LETTERS = 10_000
MAX_DEPTH = 50
# Below the 999 bound parameters and the 1,000 levels of an expression that SQLite accepts.
MAX_VALUES = 200

# A word is whole: `andd` is none, and none of them names a field. What follows a point is a key, whatever it is called.
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
?value: TEXT | DATE | NUMBER | BOOLEAN

_OR: /or(?!\w)/i
_AND: /and(?!\w)/i
NOT: /not(?!\w)/i
LIKE: /like(?!\w)/i
IN: /in(?!\w)/i
IS: /is(?!\w)/i
NULL: /null(?!\w)/i
COMPARISON: "==" | "=" | "!=" | "<>" | "<=" | "<" | ">=" | ">"
TEXT: /"(""|[^"])*"|'(''|[^'])*'/
NUMBER: /[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)(e[+-]?[0-9]+)?(?![\w.])/i
DATE.2: /[0-9]+-[0-9][0-9a-z:.+-]*/i
BOOLEAN.2: /(true|false)(?!\w)/i
FIELD: /(?!(and|or|not|like|in|is|null|true|false)(?!\w))[a-z_]\w*(\.(\w+|"(""|[^"])+"|'(''|[^'])+'))*/i
%ignore /\s+/
"""
# How the parts of the language are called in messages.
WORDS = {
    "FIELD": "a field",
    "COMPARISON": "a comparison (= != < <= > >=)",
    "TEXT": "text in quotes",
    "NUMBER": "a number",
    "DATE": "a date",
    "BOOLEAN": "true or false",
    "LPAR": "`(`",
    "RPAR": "`)`",
    "COMMA": "`,`",
    "$END": "the end",
}

# Texts in quotes may hold parentheses.
_PARENTHESES = re.compile(r"""\"[^\"]*\"|'[^']*'|[()]""")
_LIKE_A_NUMBER = re.compile(r"[+-]?\.?[0-9][\w.]*")


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
        BadCondition: it means none; the message names the place, what stands there, and what would be right.
        UsageError: it is empty or too large.
    """
    try:
        _refuse_unusable(text)
        condition = cast(Condition, _parser().parse(text))
    except Misplaced as wrong:
        raise bad_condition(text, wrong) from None
    except UnexpectedInput as error:
        raise bad_condition(text, _explained(text, error)) from error
    if condition.values > MAX_VALUES:
        raise UsageError(f"where compares with {condition.values} values, the limit is {MAX_VALUES}")
    _require_shallow(condition.depth)
    return condition


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
            raise Misplaced(at, repr(letter), "is no letter that a name can have; take it out")
    # Before the parser, which takes its time for thousands of them.
    deepest = depth = 0
    for found in _PARENTHESES.finditer(text):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        deepest = max(deepest, depth)
    _require_shallow(deepest)


def _require_shallow(depth: int) -> None:
    if depth > MAX_DEPTH:
        raise UsageError(f"where is nested {depth} levels deep, the limit is {MAX_DEPTH}")


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
            return _negation(understood(field, comparison, "in", [value]))
        operator = "in" if comparison in ("=", "==") else cast(Operator, str(comparison))
        return understood(field, comparison, operator, [value])

    def compared_by_word(self, field: Token, negated: Token | None, word: Token, *values: Token) -> Condition:
        found = understood(field, word, cast(Operator, word.lower()), values)
        return found if negated is None else _negation(found)

    def missing(self, field: Token, word: Token, negated: Token | None, _null: Token) -> Condition:
        found = understood(field, word, "null", [])
        return found if negated is None else _negation(found)


def _joined(join: Callable[..., ColumnElement[bool]], parts: tuple[Condition, ...]) -> Condition:
    if len(parts) == 1:
        return parts[0]
    return Joined(join, parts, 1 + max(part.depth for part in parts), sum(part.values for part in parts))


def _negation(part: Condition) -> Condition:
    return Negation(part, 1 + part.depth, part.values)


def _explained(text: str, error: UnexpectedInput) -> Misplaced:
    if isinstance(error, UnexpectedToken):
        return _explained_token(text, error.token, error.accepts or error.expected)
    at = error.pos_in_stream or 0
    if text[at] in "\"'":
        return Misplaced(at, shown(text[at:]), "is a text that does not end; close its quote")
    if text[at] in "“”„‘’‚«»`":
        return Misplaced(at, text[at], "is no quote of this language; use \" or '")
    misspelt = _LIKE_A_NUMBER.match(text, at)
    if misspelt is not None:
        remedy = "is neither a number nor a date; put text in quotes, and a blank before a word"
        return Misplaced(at, shown(misspelt[0]), remedy)
    return Misplaced(at, text[at], "means nothing here; put text in quotes")


def _explained_token(text: str, token: Token, expected: set[str]) -> Misplaced:
    words = [WORDS.get(name, f"`{name.strip('_').lower()}`") for name in sorted(expected)]
    wanted = f"expected {', '.join(words[:-1])}{' or ' if words[:-1] else ''}{words[-1]}"
    if token.type == "$END":
        return Misplaced(len(text), "it ends too early;", wanted)
    if token.type == "FIELD" and "TEXT" in expected:
        hint = f"is text without quotes; write {quoted(shown(token))}, and for a shell '…' around the whole condition"
        return Misplaced(place(token), shown(token), hint)
    if token.type == "NULL" and "TEXT" in expected:
        return Misplaced(place(token), str(token), "is no value; ask for it by `is null` or `is not null`")
    return Misplaced(place(token), shown(token), f"does not belong here; {wanted}")
