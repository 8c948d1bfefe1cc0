"""What conditions can be about in one collection, and the values that are frequent there: for whoever types one."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from sqlalchemy import func, select

from search.conditions.fields import FIELDS
from search.database.database import Database
from search.database.tables import content, image
from search.records import Collection
from search.storing.labels import Labels

SHOWN: Final = 50  # values of a field, most frequent first
MAX_KEYS: Final = 500  # of metadata
MAX_LETTERS: Final = 200  # of a value; longer ones nobody picks from a list
LOOKED_AT: Final = 10_000  # images whose metadata is read, the newest
PAGE_ROWS: Final = 1_000

FieldType = Literal["number", "text", "date", "flag", "mixed", "other"]
Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class FieldValues:
    """A field as a condition names it, what its values are, and the frequent ones, most frequent first."""

    field: str
    type: FieldType
    values: tuple[Value, ...]

    def as_json(self) -> dict[str, object]:
        """Return the item of HTTP's list of fields."""
        return {"field": self.field, "type": self.type, "values": list(self.values)}


def frequent_values(database: Database, target: Collection) -> list[FieldValues]:
    """Return the fields of a collection's conditions: those that every image can have, then the keys of metadata.

    Metadata is that of the newest LOOKED_AT images. Labels and formats are counted over all.
    """
    known: dict[str, tuple[Value, ...]] = {
        "label": tuple(one.label for one in Labels(database).counts(target)[:SHOWN]),
        "format": _formats(database, target),
    }
    fields = [FieldValues(name, _type_of(field.kind), known.get(name, ())) for name, field in FIELDS.items()]
    return [*fields, *_metadata(database, target)]


def _type_of(kind: str) -> FieldType:
    return "number" if kind == "number" else "date" if kind == "date" else "text"


def _formats(database: Database, target: Collection) -> tuple[Value, ...]:
    images = func.count()
    query = select(content.c.format).join(image, image.c.content_id == content.c.id)
    query = query.where(image.c.collection_id == target.id, ~image.c.deleted).group_by(content.c.format)
    with database.reading() as connection:
        return tuple(connection.execute(query.order_by(images.desc(), content.c.format).limit(SHOWN)).scalars())


def _metadata(database: Database, target: Collection) -> list[FieldValues]:
    query = (
        select(image.c.metadata)
        .where(image.c.collection_id == target.id, ~image.c.deleted)
        .order_by(image.c.id.desc())
        .limit(LOOKED_AT)
    )
    counted: dict[str, Counter[tuple[FieldType, Value]]] = {}
    types: dict[str, set[FieldType]] = {}
    with database.reading() as connection:
        for stored in connection.execute(query.execution_options(yield_per=PAGE_ROWS)).scalars():
            for name, value in _scalars("metadata", stored):
                if name not in types and len(types) == MAX_KEYS:
                    continue
                kind, shown = _told(value)
                types.setdefault(name, set()).add(kind)
                if shown is not None:
                    counted.setdefault(name, Counter())[kind, shown] += 1  # by type: 1 == True
    return [
        FieldValues(
            name,
            next(iter(kinds)) if len(kinds) == 1 else "mixed",
            tuple(value for (_, value), _ in counted.get(name, Counter()).most_common(SHOWN)),
        )
        for name, kinds in sorted(types.items())
    ]


def _scalars(above: str, stored: Mapping[str, object]) -> Iterator[tuple[str, object]]:
    """Yield what lies at each key, objects opened: the name of the field, and its value."""
    for key, value in stored.items():
        name = f"{above}.{_key(key)}"
        if isinstance(value, Mapping):
            yield from _scalars(name, value)
        elif value is not None:
            yield name, value


def _key(key: str) -> str:
    plain = key.isascii() and key.replace("_", "a").isalnum()
    return key if plain else '"' + key.replace('"', '""') + '"'


def _told(value: object) -> tuple[FieldType, Value | None]:
    """Return the type of a value of metadata, and the value where it can be shown."""
    if isinstance(value, bool):
        return "flag", value
    if isinstance(value, int | float):
        return "number", value
    if isinstance(value, str):
        return "text", value if len(value) <= MAX_LETTERS else None
    return "other", None
