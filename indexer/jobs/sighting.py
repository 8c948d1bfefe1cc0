"""What a job saw, held against what the catalogue has at its end: kept with the job, for `status`."""

from collections.abc import Iterable, Sequence

from sqlalchemy import func, select

from indexer.sources.found import Source, archive_of
from search.database.tables import collection, image
from search.records import Collection
from search.storing.store import Store
from search.upkeep.sightings import Sighting

MOST_ROOTS = 100  # that a job keeps; named one by one, files can be many more
PLAIN = ("folder", "file")
NO_FILE = "bad_metadata"  # in the ledger under the JSON file beside a picture, which no walk counts


class Spectator:
    """Counts, at the end of a job, what became of the files that its walk found in folders and as single files."""

    def __init__(self, store: Store, target: Collection, sources: Sequence[Source]) -> None:
        self._store = store
        self._target = target
        self._sources = [source for source in sources if source.kind in PLAIN]
        # What a glob does not show of a remote folder is none of the job's, and its uris cannot be told apart.
        self._clear = all(source.pattern is None for source in self._sources) and len(self._sources) <= MOST_ROOTS
        self._roots = tuple(source.uri for source in self._sources)
        # All that was looked into, archives and manifests too; none where those are too many to keep.
        self.walked = [source.uri for source in sources if source.kind != "offline"]
        self.walked = self.walked if len(self.walked) <= MOST_ROOTS else []
        self._below = tuple(f"{root.rstrip('/')}/" for root in self._roots)
        self._began = store.catalogue.collection(target.name).sequence

    def sighting(
        self, files: int, met: Iterable[int], newest_id: int, failed: frozenset[str], removed: int
    ) -> Sighting | None:
        """Return what is known at the end of a job; None where others removed images meanwhile, or nothing is plain.

        files: as the walk counted them. met: ids of the images it met, or that moved to a file of it. newest_id: the
        newest image before the job. failed: uris that went to the ledger, or stay there. removed: images, by the job.
        """
        if not self._roots or not self._clear:
            return None
        known = set(met)
        here = {
            uri
            for image_id, uri in self._store.catalogue.uris(self._target.id)
            if (image_id > newest_id or image_id in known) and self._is_mine(uri)
        }
        ledger = self._store.catalogue.failures(self._target.id)
        alone = {one.uri for one in ledger if one.uri in failed and one.reason != NO_FILE} - here
        living, newest, sequence, gone = self._counts()
        if gone != removed:
            return None
        mine = sum(self._is_mine(uri) for uri in alone)
        return Sighting(self._roots, files, len(here), mine, living, newest, sequence)

    def _is_mine(self, uri: str) -> bool:
        return archive_of(uri) is None and f"{uri}/".startswith(self._below)

    def _counts(self) -> tuple[int, int, int, int]:
        """Return the collection's living images, the highest id, its commit, and the tombstones since the job began."""
        own = image.c.collection_id == self._target.id
        highest = select(func.coalesce(func.max(image.c.id), 0)).where(own)
        commit = select(collection.c.sequence).where(collection.c.id == self._target.id)
        gone = select(func.count()).where(own, image.c.deleted, image.c.sequence > self._began)
        with self._store.database.reading() as connection:
            living = connection.execute(select(func.count()).where(own, ~image.c.deleted)).scalar_one()
            numbers = [connection.execute(one).scalar_one() for one in (highest, commit, gone)]
        return (living, *map(int, numbers))  # type: ignore[return-value]
