"""Repairs of regions: what is broken is dropped, and made again by the next `index`; whole pictures stay."""

from collections.abc import Sequence

from sqlalchemy import delete, select

from search.database.sequences import advance_all
from search.database.tables import embedding, generation
from search.finding.generations import Generations
from search.records import Collection, Fault
from search.regions import IN_REGIONS
from search.storing.region_rows import any_regions, drop_regions, regions_are_incomplete
from search.storing.store import Store


def lose_regions(store: Store, content_ids: Sequence[int], space_id: int) -> None:
    """Take back the regions of contents; whole pictures stay, and the next `index` makes the regions again."""
    with store.database.writing() as connection:
        advance_all(connection)
        connection.execute(delete(generation).where(generation.c.space_id == space_id))
        drop_regions(connection, space_id, content_ids)


def drop_incomplete(store: Store, _one: Fault) -> list[str]:
    """Take back all regions of contents that have not all of them, in every space."""
    query = select(embedding.c.content_id, embedding.c.space_id).group_by(embedding.c.content_id, embedding.c.space_id)
    with store.database.reading() as connection:
        found = connection.execute(query.having(regions_are_incomplete())).all()
    for space_id in sorted({row.space_id for row in found}):
        lose_regions(store, [row.content_id for row in found if row.space_id == space_id], space_id)
    return []


def lacks_an_index(store: Store, target: Collection) -> bool:
    """Tell whether a collection has no index of its whole pictures, or none of the regions that it has."""
    if Generations(store.database, store.blobs, target).current() is None:
        return True
    regions = Generations(store.database, store.blobs, target, IN_REGIONS)
    return target.regions_rule > 0 and regions.current() is None and any_regions(store.database, target)
