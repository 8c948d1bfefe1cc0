"""Running the index journey in tests, with the fakes."""

from pathlib import Path

from indexer.index_images import IndexJob, IndexOptions, IndexSummary
from indexer.sources import resolve
from search.store import Store
from tests.fakes import FakeBackbone, InProcessDecoder, Remembering


def index(
    store: Store,
    *sources: Path,
    backbone: FakeBackbone | None = None,
    progress: Remembering | None = None,
    options: IndexOptions | None = None,
    decoder: InProcessDecoder | None = None,
    collection: str = "default",
) -> IndexSummary:
    """Index the sources into a collection."""
    chosen = backbone or FakeBackbone()
    target = store.open_collection(collection, chosen.space)
    job = IndexJob(store, target, chosen, resolve([str(source) for source in sources]), progress or Remembering())
    return job.run(decoder or InProcessDecoder(), options or IndexOptions(batch_size=8))
