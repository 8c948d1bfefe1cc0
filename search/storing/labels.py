"""Labels of contents: what a classifier sees in a picture, stored beside its embedding and counted for facets.

A label is a text such as "tabby, tabby cat", stored once; `synonym` holds by what it is found, casefolded here, so
that SQLite and PostgreSQL agree on upper and lower case. The labels of a content in a space are written once.

An image has the labels of its collection's own space. When the collection moves to a space whose backbone names
nothing, or has not yet named everything, it keeps those of the space it came from (`collection.label_space_id`), so
that what was found by a label before is found by it still.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Connection, Select, cast, exists, func, select, update

from search.conditions.where import Condition
from search.database.database import Database, chunks, insert_missing
from search.database.tables import collection, content, content_label, embedding, image, label, synonym
from search.records import Collection, Label, LabelCount


def synonyms(name: str) -> set[str]:
    """Return by what a label is found, casefolded: the whole text, and each of its comma-separated parts."""
    parts = {part.strip() for part in name.split(",")}
    return {text.casefold() for text in (name, *parts) if text}


def put_labels(connection: Connection, space_id: int, named: Mapping[int, Sequence[Label]]) -> None:
    """Write the labels of contents, by content id; contents that have labels in this space keep theirs."""
    known = labelled_contents(connection, space_id, named)
    fresh = {content_id: named[content_id] for content_id in sorted(named) if content_id not in known}
    ids = _label_ids(connection, {one.label for labels in fresh.values() for one in labels})
    rows = [
        {
            "content_id": content_id,
            "space_id": space_id,
            "rank": rank,
            "label_id": ids[one.label],
            "probability": one.probability,
        }
        for content_id, labels in fresh.items()
        for rank, one in enumerate(labels)
    ]
    insert_missing(connection, content_label, rows)


def _label_ids(connection: Connection, names: set[str]) -> dict[str, int]:
    """Return the ids of label texts, adding those that are new."""
    # Sorted, so that two workers that meet on the same labels wait for each other instead of deadlocking.
    wanted = sorted(names)
    known = _known_labels(connection, wanted)
    missing = [name for name in wanted if name not in known]
    if not missing:
        return known
    insert_missing(connection, label, [{"name": name} for name in missing])
    added = _known_labels(connection, missing)
    rows = [{"label_id": added[name], "name": text} for name in missing for text in sorted(synonyms(name))]
    insert_missing(connection, synonym, rows)
    return known | added


def _known_labels(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    query = select(label.c.name, label.c.id)
    return {
        row.name: row.id for part in chunks(names) for row in connection.execute(query.where(label.c.name.in_(part)))
    }


def labelled_contents(
    connection: Connection, space_id: int, content_ids: Sequence[int] | Mapping[int, object]
) -> set[int]:
    """Return those of the contents that have labels in this space."""
    query = select(content_label.c.content_id).where(content_label.c.space_id == space_id, content_label.c.rank == 0)
    return {
        found
        for part in chunks(content_ids)
        for found in connection.execute(query.where(content_label.c.content_id.in_(part))).scalars()
    }


def labels_of_images(
    connection: Connection, collection_id: int, image_ids: Sequence[int]
) -> dict[int, tuple[Label, ...]]:
    """Return the labels of images, highest probability first, by image id; those without any are left out."""
    query = _labels_with(collection_id)
    found: dict[int, tuple[Label, ...]] = {}
    for part in chunks(image_ids):
        for row in connection.execute(query.where(image.c.id.in_(part))):
            found[row.id] = (*found.get(row.id, ()), Label(row.name, row.probability))
    return found


def _labels_with(collection_id: int) -> Select[tuple[int, str, float]]:
    """Return the query for the labels of images, each with its image's id, highest probability first."""
    return (
        select(image.c.id, label.c.name, content_label.c.probability)
        .join(content_label, content_label.c.content_id == image.c.content_id)
        .join(label, label.c.id == content_label.c.label_id)
        # Sums keep SQLite from going through all labels of the space, or all images, by their indexes to find ten.
        .join(collection, collection.c.id == image.c.collection_id + 0)
        .where(
            collection.c.id == collection_id,
            content_label.c.space_id + 0 == func.coalesce(collection.c.label_space_id, collection.c.space_id),
        )
        .order_by(image.c.id, content_label.c.rank)
    )


def source_of_labels(connection: Connection, collection_id: int, space_id: int) -> int | None:
    """Return whose labels a collection should show in a space of its: None for the space's own.

    It is another space, the one that they come from now, while images that can be found in this one would lose theirs.
    """
    shown = select(func.coalesce(collection.c.label_space_id, collection.c.space_id))
    current = int(connection.execute(shown.where(collection.c.id == collection_id)).scalar_one())
    if current == space_id:
        return None
    embedded = exists().where(
        embedding.c.content_id == image.c.content_id, embedding.c.space_id == space_id, embedding.c.region == 0
    )
    here = (image.c.collection_id == collection_id) & ~image.c.deleted
    loses = select(1).where(here, embedded, _labelled_in(current), ~_labelled_in(space_id)).limit(1)
    return None if connection.execute(loses).first() is None else current


def _labelled_in(space_id: int) -> ColumnElement[bool]:
    return exists().where(
        content_label.c.content_id == image.c.content_id,
        content_label.c.space_id == space_id,
        content_label.c.rank == 0,
    )


class Labels:
    """The labels of collections, as the indexing job and the facets of the page need them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def missing(self, space_id: int, content_ids: Sequence[int]) -> set[int]:
        """Return those of the contents that have no labels in this space."""
        with self._database.reading() as connection:
            return set(content_ids) - labelled_contents(connection, space_id, content_ids)

    def settle(self, target: Collection) -> None:
        """Show the labels of the collection's own space from now on, once no image loses any by that."""
        with self._database.writing() as connection:
            source = source_of_labels(connection, target.id, target.space_id)
            here = (collection.c.id == target.id) & (collection.c.space_id == target.space_id)
            connection.execute(update(collection).where(here).values(label_space_id=source))

    def counts(self, target: Collection, condition: Condition | None = None) -> list[LabelCount]:
        """Return the labels of a collection with how many images have each among theirs, most frequent first.

        condition: count only images that fulfil it. Costs one pass over the labels of the space.
        """
        with self._database.reading() as connection:
            whole = connection.dialect.name == "postgresql"
            ours = images_that(target, condition)
            counted = (_counted_by_join(target, ours) if whole else _counted_by_content(target, ours)).subquery()
            query = (
                select(label.c.name, counted.c.images)
                .join(counted, counted.c.label_id == label.c.id)
                .order_by(counted.c.images.desc(), label.c.id)
            )
            return [LabelCount(*row) for row in connection.execute(query)]


def images_that(target: Collection, condition: Condition | None) -> Select[tuple[int, int]]:
    """Return the query for id and content of the living images of a collection that fulfil a condition, or of all."""
    query = select(image.c.id, image.c.content_id).where(image.c.collection_id == target.id, ~image.c.deleted)
    if condition is None:
        return query
    return query.join(content, content.c.id == image.c.content_id).where(condition.sql(target.label_space_id))


def _counted_by_join(target: Collection, ours: Select[tuple[int, int]]) -> Select[Any]:
    """Count the images of each label as PostgreSQL does it soonest: it hashes all images, then reads all labels."""
    images = ours.subquery()
    return (
        select(content_label.c.label_id, func.count().label("images"))
        .join(images, images.c.content_id == content_label.c.content_id)
        .where(content_label.c.space_id == target.label_space_id)
        .group_by(content_label.c.label_id)
    )


def _counted_by_content(target: Collection, ours: Select[tuple[int, int]]) -> Select[Any]:
    """Count the images of each label as SQLite does it soonest, in a quarter of the time: first those of a content."""
    images = ours.subquery()
    copies = select(images.c.content_id, func.count().label("images")).group_by(images.c.content_id).subquery()
    return (
        select(content_label.c.label_id, cast(func.sum(copies.c.images), BigInteger).label("images"))
        .join(copies, copies.c.content_id == content_label.c.content_id)
        .where(content_label.c.space_id == target.label_space_id)
        .group_by(content_label.c.label_id)
    )
