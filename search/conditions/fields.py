"""What a condition can be about, as SQL: one entry in FIELDS per field of an image.

Two-valued on purpose: a test of something an image does not have is false, so that `not` lets such images through,
on every database alike. Values always travel as bound parameters.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import eq, ge, gt, le, lt
from typing import Any, Literal, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    Float,
    Select,
    Text,
    and_,
    false,
    func,
    literal,
    not_,
    or_,
    select,
)

from search.conditions.content_tests import OfContent
from search.conditions.dates import end
from search.conditions.metadata_values import (
    MetadataFlag,
    MetadataNumber,
    MetadataPresence,
    MetadataText,
    MetadataValue,
)
from search.database.tables import content, content_label, image, synonym
from search.letters import AsciiLower, after_beginning, ascii_lower

Kind = Literal["number", "text", "date", "metadata"]
Operator = Literal["in", "<", "<=", ">", ">=", "like", "null"]
Value = str | int | float | bool

# What can be asked of each kind of field.
OPERATORS: Mapping[Kind, frozenset[Operator]] = {
    "number": frozenset({"in", "<", "<=", ">", ">=", "null"}),
    "text": frozenset({"in", "like", "null"}),
    "date": frozenset({"in", "<", "<=", ">", ">=", "null"}),
    "metadata": frozenset({"in", "<", "<=", ">", ">=", "like", "null"}),
}
ESCAPE = "\\"
_PLAIN = re.compile(r"([^%_\\]|\\.)*", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_COMPARE: Mapping[str, Callable[..., ColumnElement[bool]]] = {"in": eq, "<": lt, "<=": le, ">": gt, ">=": ge}


class Field(Protocol):
    """Something an image has, or can lack."""

    @property
    def kind(self) -> Kind:
        """What its values are."""
        ...

    def test(self, operator: Operator, values: Sequence[Value], space_id: int) -> ColumnElement[bool]:
        """Return a test as SQL over image joined with content; it is never NULL.

        operator: one of those of the kind. values: of the kind; any number for `in`, none for `null`, else one.
        space_id: the space of the collection, which labels belong to.
        """
        ...


@dataclass(frozen=True, slots=True)
class NumberField:
    """A whole number that every image has."""

    column: ColumnElement[Any]
    kind: Kind = "number"

    def test(self, operator: Operator, values: Sequence[Value], space_id: int) -> ColumnElement[bool]:
        """Compare numbers: whole ones as such, however large the column's own type is."""
        if operator == "null":
            return self.column.is_(None)
        compare = _COMPARE[operator]
        return or_(*(compare(self.column, _number(value)) for value in values))


@dataclass(frozen=True, slots=True)
class TextField:
    """A text that an image may lack.

    lowercase: all its texts are, and what they are compared to is made so. ordered: an index finds it by its beginning.
    """

    column: ColumnElement[Any]
    lowercase: bool = False
    ordered: bool = False
    kind: Kind = "text"

    def test(self, operator: Operator, values: Sequence[Value], space_id: int) -> ColumnElement[bool]:
        """Compare texts letter by letter; `like` takes A to Z and a to z for the same."""
        texts = [str(value) for value in values]
        if operator == "null":
            return self.column.is_(None)
        if operator == "like":
            found = self._like(ascii_lower(texts[0]))
        else:
            found = self.column.in_([ascii_lower(text) if self.lowercase else text for text in texts])
        return and_(self.column.is_not(None), found)

    def _like(self, pattern: str) -> ColumnElement[bool]:
        text = AsciiLower(self.column)
        alike = text.like(pattern, escape=ESCAPE)
        beginning, rest = _beginning(pattern)
        after = after_beginning(beginning) if self.ordered else None
        if after is None:
            return alike
        begins = and_(text >= literal(beginning, Text()), text < literal(after, Text()))
        return begins if rest == "%" else and_(begins, alike)


def _beginning(pattern: str) -> tuple[str, str]:
    r"""Return the letters that a pattern of `like` begins with, and the pattern from the first % or _ on."""
    found = _PLAIN.match(pattern)
    end = found.end() if found is not None else 0
    return _ESCAPED.sub(r"\1", pattern[:end]), pattern[end:]


@dataclass(frozen=True, slots=True)
class DateField:
    """A moment that an image may lack; a date stands for all moments that begin with it (dates.py)."""

    column: Column[Any]
    kind: Kind = "date"

    def test(self, operator: Operator, values: Sequence[Value], space_id: int) -> ColumnElement[bool]:
        """Compare with the first and the last moment of a date."""
        if operator == "null":
            return OfContent(content.c.id, self.column.is_(None))
        return OfContent(content.c.id, or_(*(self._compared(operator, str(value)) for value in values)))

    def _compared(self, operator: Operator, date: str) -> ColumnElement[bool]:
        first, after = literal(date, Text()), literal(end(date), Text())
        if operator == "in":
            return and_(self.column >= first, self.column < after)
        if operator in ("<", ">="):
            return _COMPARE[operator](self.column, first)
        return self.column < after if operator == "<=" else self.column >= after


@dataclass(frozen=True, slots=True)
class MetadataField:
    """What the user stored under some keys, one inside the other: a number, a text, true or false.

    Only values of one kind are compared: a number is never a text. Lists and objects can only be asked for.
    """

    keys: tuple[str, ...]
    kind: Kind = "metadata"

    def test(self, operator: Operator, values: Sequence[Value], space_id: int) -> ColumnElement[bool]:
        """Compare with values of any kind; `like` with a text, an order with numbers or texts."""
        if operator == "null":
            return self._value(MetadataPresence).is_(None)
        if operator == "like":
            pattern = ascii_lower(str(values[0]))
            return _surely(AsciiLower(self._value(MetadataText)).like(pattern, escape=ESCAPE))
        if operator != "in":
            compare, value = _COMPARE[operator], values[0]
            if isinstance(value, str):
                return _surely(compare(self._value(MetadataText), literal(value, Text())))
            return _surely(compare(self._value(MetadataNumber), literal(float(value), Float())))
        return or_(*self._one_of(values))

    def _one_of(self, values: Sequence[Value]) -> list[ColumnElement[bool]]:
        """Return a test for each kind of value there is."""
        texts = [value for value in values if isinstance(value, str)]
        flags = ["true" if value else "false" for value in values if isinstance(value, bool)]
        numbers = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
        wanted = ((MetadataText, texts), (MetadataFlag, flags), (MetadataNumber, numbers))
        return [_surely(self._value(kind).in_(some)) for kind, some in wanted if some]

    def _value(self, kind: type[MetadataValue]) -> MetadataValue:
        return kind(image.c.metadata, self.keys)


def _surely(test: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return a test that is false where it would be NULL."""
    return func.coalesce(test, false(), type_=Boolean())


@dataclass(frozen=True, slots=True)
class LabelField:
    """Any of the labels of an image, by its whole text or by one of its comma-separated synonyms."""

    kind: Kind = "text"

    def test(self, operator: Operator, values: Sequence[Value], space_id: int) -> ColumnElement[bool]:
        """Compare with what labels are found by, casefolded on both sides."""
        ours = content_label.c.space_id == space_id
        if operator == "null":
            return not_(OfContent(content_label.c.content_id, ours))
        texts = [str(value).casefold() for value in values]
        named = content_label.c.label_id.in_(_labels(operator, texts))
        return OfContent(content_label.c.content_id, and_(ours, named))


def _labels(operator: Operator, texts: Sequence[str]) -> Select[tuple[int]]:
    named = select(synonym.c.label_id)
    if operator == "like":
        return named.where(synonym.c.name.like(texts[0], escape=ESCAPE))
    return named.where(synonym.c.name.in_(texts))


FIELDS: Mapping[str, Field] = {
    "bytes": NumberField(content.c.size_bytes),
    "format": TextField(content.c.format, lowercase=True),
    "height": NumberField(content.c.height),
    "key": TextField(image.c.key),
    "label": LabelField(),
    "path": TextField(image.c.path, ordered=True),
    "taken_at": DateField(content.c.taken_at),
    "uri": TextField(image.c.uri),
    "width": NumberField(content.c.width),
}


def _number(value: Value) -> ColumnElement[Any]:
    return literal(value, BigInteger if isinstance(value, int) else Float)
