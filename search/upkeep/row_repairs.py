"""Repairs that need nothing but the rows of the catalogue: each computes again, or drops, what its fault names."""

from collections.abc import Callable
from typing import Any

from sqlalchemy import Column, Table, delete, func, select, update

from search.database.database import insert_missing
from search.database.tables import collection, generation, image, label, post_transform, segment, synonym
from search.finding.fitted_transforms import damaged
from search.records import NO_TRANSFORM, TRANSFORMS, Fault, shown_path
from search.storing.labels import synonyms
from search.storing.store import Store
from search.upkeep.references import Reference
from search.upkeep.stored_json import unreadable

# What is done about a fault; it returns the uris of images whose files must be read again.
Act = Callable[[Store, Fault], list[str]]
# The field that keeps what metadata was, so that a person can still read it.
KEPT_AS = "unreadable"


def unretire(store: Store, one: Fault) -> list[str]:
    """Keep a replaced segment, because embeddings lie in it."""
    with store.database.writing() as connection:
        connection.execute(update(segment).where(segment.c.name == one.where).values(retired_at=None))
    return []


def count_commits(store: Store, _one: Fault) -> list[str]:
    """Raise the commit sequence of collections to the newest commit that anything names."""
    with store.database.writing() as connection:
        for row in connection.execute(select(collection.c.id, collection.c.sequence)).all():
            newest = [
                connection.execute(select(func.max(table.c.sequence)).where(table.c.collection_id == row.id)).scalar()
                for table in (image, generation)
            ]
            highest = max(row.sequence, *(number or 0 for number in newest))
            connection.execute(update(collection).where(collection.c.id == row.id).values(sequence=highest))
    return []


def compute_paths(store: Store, one: Fault) -> list[str]:
    """Compute the path of images from their uri."""
    with store.database.writing() as connection:
        connection.execute(update(image).where(image.c.uri == one.where).values(path=shown_path(one.where)))
    return []


def compute_synonyms(store: Store, one: Fault) -> list[str]:
    """Compute by what a label is found from its name."""
    with store.database.writing() as connection:
        label_id = connection.execute(select(label.c.id).where(label.c.name == one.where)).scalar_one()
        connection.execute(delete(synonym).where(synonym.c.label_id == label_id))
        insert_missing(connection, synonym, [{"label_id": label_id, "name": name} for name in synonyms(one.where)])
    return []


def forget_transforms(store: Store, _one: Fault) -> list[str]:
    """Forget fitted transforms that are damaged, so that the next index fits them again, and those nobody knows."""
    with store.database.writing() as connection:
        unknown = update(collection).where(collection.c.transform.not_in(TRANSFORMS))
        connection.execute(unknown.values(transform=NO_TRANSFORM))
        connection.execute(delete(post_transform).where(post_transform.c.id.in_(list(damaged(connection)))))
    return []


def drop_orphans(table: Table) -> Act:
    """Return what drops the rows of a table that belong to nothing."""

    def act(store: Store, _one: Fault) -> list[str]:
        with store.database.writing() as connection:
            for column in table.c:
                for key in column.foreign_keys:
                    connection.execute(delete(table).where(column.not_in(select(key.column))))
        return []

    return act


def forget(reference: Reference) -> Act:
    """Return what empties a column where it names a row that is not there."""
    column = reference.column

    def act(store: Store, _one: Fault) -> list[str]:
        lost = column.not_in(select(reference.other))
        with store.database.writing() as connection:
            connection.execute(update(column.table).where(lost).values({column.name: None}))
        return []

    return act


def keep_text(store: Store, one: Fault) -> list[str]:
    """Make metadata that is no JSON object one that holds its text, so that its image can be listed again."""
    _replace_unreadable(store, one, image.c.metadata, lambda text: {KEPT_AS: text})
    return []


def empty(column: Column[Any]) -> Act:
    """Return what makes an unreadable value of a column an empty object."""

    def act(store: Store, one: Fault) -> list[str]:
        _replace_unreadable(store, one, column, lambda _text: {})
        return []

    return act


def _replace_unreadable(
    store: Store, one: Fault, column: Column[Any], made_of: Callable[[str], dict[str, str]]
) -> None:
    table = column.table
    with store.database.writing() as connection:
        for found in list(unreadable(connection, column, one.where)):
            changed = update(table).where(table.c.id == found.row_id)
            connection.execute(changed.values({column.name: made_of(found.text)}))
