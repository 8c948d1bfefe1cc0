"""Running the index journey in tests, with the fakes."""

from collections.abc import Sequence
from pathlib import Path

from indexer.jobs.index_images import IndexJob, IndexOptions
from indexer.jobs.summary import IndexSummary
from indexer.sources.sources import resolve
from search.storing.origins import Origins
from search.storing.store import Store
from tests.fakes import FakeBackbone, InProcessDecoder, Remembering


def index(
    store: Store,
    *sources: Path | str,
    backbone: FakeBackbone | None = None,
    progress: Remembering | None = None,
    options: IndexOptions | None = None,
    decoder: InProcessDecoder | None = None,
    collection: str = "default",
    exclude: Sequence[str] = (),
    regions: bool | None = None,
) -> IndexSummary:
    """Index the sources into a collection."""
    chosen = backbone or FakeBackbone()
    local = True if options is not None and options.local else None
    target = store.open_collection(collection, chosen.space, regions=regions, local=local)
    checked = resolve([str(source) for source in sources], exclude, Origins(store.database, target.id).was_there)
    job = IndexJob(store, target, chosen, checked, progress or Remembering())
    decoding = decoder or InProcessDecoder(regions=target.regions_rule > 0)
    return job.run(decoding, options or IndexOptions(batch_size=8))


def stored(store: Store, collection: str = "default") -> dict[str, dict[str, object]]:
    """Return the metadata of every image, by key."""
    target = store.catalogue.collection(collection)
    return {image.key: dict(image.metadata) for image in store.catalogue.images(target.id, limit=10_000)}


def ledger(store: Store, collection: str = "default") -> dict[str, str]:
    """Return the reason of every entry of the ledger, by uri."""
    target = store.catalogue.collection(collection)
    return {entry.uri: entry.reason for entry in store.catalogue.failures(target.id)}
