"""What one table says of another, read from the tables themselves, so that a new table cannot be forgotten.

Databases check foreign keys, unless somebody switched that off; the two references without one nobody checks but us.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, Select, Table, exists, literal, select

from search.database.tables import collection, image, metadata, source, space

# Faults with a name of their own; the others are called after their table.
_KINDS = {
    "collection": "collection_without_space",
    "content_label": "label_dangling",
    "embedding": "embedding_without_content",
    "image": "image_without_collection",
    "segment": "segment_without_space",
}
# Named by other questions, with more to say.
_TOLD_ELSEWHERE = frozenset({("image", "content_id"), ("embedding", "segment_id")})


@dataclass(frozen=True, slots=True)
class Reference:
    """A column whose values are those of another column. kind: of the fault when one is not there."""

    kind: str
    column: Column[Any]
    other: Column[Any]


# Without a foreign key, as SQLite cannot add one to a table (search/database/tables.py).
LABELS_FROM = Reference("labels_of_unknown_space", collection.c.label_space_id, space.c.id)
IMAGE_SOURCE = Reference("image_without_source", image.c.source_id, source.c.id)
UNCHECKED = (LABELS_FROM, IMAGE_SOURCE)


def references() -> Iterator[Reference]:
    """Yield every reference from table to table that no other question asks after."""
    for table in metadata.sorted_tables:
        for column in table.c:
            if (table.name, column.name) not in _TOLD_ELSEWHERE:
                kind = _KINDS.get(table.name, f"{table.name}_dangling")
                yield from (Reference(kind, column, key.column) for key in column.foreign_keys)
    yield from UNCHECKED


def dangling(reference: Reference) -> Select[Any]:
    """Return the query for (where, value) of what leads nowhere."""
    column = reference.column
    there = exists(select(literal(1)).where(reference.other == column))
    return select(name_of(column.table), column).where(column.is_not(None), ~there)


def name_of(table: Table) -> Column[Any]:
    """Return the column by which people know the rows of a table."""
    known: Column[Any] = table.c[next((name for name in ("uri", "name") if name in table.c), _key_of(table).name)]
    return known


def _key_of(table: Table) -> Column[Any]:
    return next(iter(table.primary_key.columns))
