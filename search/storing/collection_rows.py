"""Rows of collections: the questions for them, each with its space, and what their answers mean."""

from sqlalchemy import Row, Select, bindparam, func, select

from search.database.tables import calibration, collection, generation, space
from search.records import DEFAULT_RECALL, Collection, SpaceSpec


def every_collection() -> Select[tuple[object, ...]]:
    """Return the question for all collections; a condition makes fewer of them."""
    return select(
        collection.c.id,
        collection.c.name,
        collection.c.space_id,
        collection.c.sequence,
        collection.c.labels,
        collection.c.recall_target,
        collection.c.label_space_id,
        collection.c.transform,
        collection.c.regions_rule,
        collection.c.local,
        space.c.licence_accepted,
        space.c.licence_accepted_at,
        space.c.backbone,
        space.c.weights_sha256,
        space.c.preparation,
        space.c.dims,
        space.c.pooling,
        space.c.numeric,
        space.c.licence,
        space.c.weights,
    ).join(space, space.c.id == collection.c.space_id)


COLLECTION_NAMED = every_collection().where(collection.c.name == bindparam("name"))
# Asked before every search, so put together once: the collection, its last generation, and its last calibration.
STATE_NAMED = COLLECTION_NAMED.add_columns(
    select(func.max(generation.c.id))
    .where(generation.c.collection_id == collection.c.id, generation.c.space_id == collection.c.space_id)
    .scalar_subquery(),
    select(func.max(calibration.c.id)).where(calibration.c.collection_id == collection.c.id).scalar_subquery(),
)


def collection_in(row: Row[tuple[object, ...]]) -> Collection:
    """Return the collection that a row of `every_collection` holds."""
    spec = SpaceSpec(
        row.backbone,
        row.weights_sha256,
        row.preparation,
        row.dims,
        row.pooling,
        row.numeric,
        row.licence,
        row.weights,
    )
    consent = (row.licence_accepted, row.licence_accepted_at)
    recall = DEFAULT_RECALL if row.recall_target is None else row.recall_target
    about = (row.space_id, spec, row.sequence, row.labels, *consent, recall, row.label_space_id, row.transform)
    return Collection(row.id, row.name, *about, row.regions_rule, row.local)
