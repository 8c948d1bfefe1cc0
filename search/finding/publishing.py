"""When a collection's index is renewed: at the end of a job, and beside a long one.

Searches in every process go on meanwhile, on the generation they have plus everything newer.
"""

import logging
import threading
from collections.abc import Callable

from search.errors import LookalikeError
from search.finding.generation_writing import Progress
from search.finding.generations import LARGEST_DELTA, Generations
from search.records import Collection
from search.regions import IN_REGIONS, REGIONS
from search.storing.region_rows import any_regions
from search.storing.store import Store

log = logging.getLogger(__name__)


def publish_if_due(
    store: Store, target: Collection, progress: Progress = lambda done, total: None, *, growth: float = 0.0
) -> bool:
    """Publish a generation when the newer rows are many enough, or when the current one is damaged.

    growth: only if they are at least this share of what the current one holds, and without a look for damage. Return
    whether it was published.

    Raises:
        CorruptFile: a segment it needs is damaged.
        StoreUnavailable: the disk is full or the database does not answer; the old generation stays.
    """
    generations = Generations(store.database, store.blobs, target)
    current = generations.current()
    collection = store.catalogue.collection(target.name)
    # Looking for damage reads the whole index: once at the end of a job, not each time it grows.
    damaged = not growth and current is not None and not generations.is_sound(current)
    changed = store.catalogue.count_changed_since(target.id, current.sequence if current is not None else 0)
    rows = 0 if current is None else current.rows
    due = generations.due(current, changed) and changed >= growth * rows
    if damaged or due or (not growth and _regions_are_due(store, collection)):
        return generations.publish(collection.sequence, progress) is not None
    return False


def _regions_are_due(store: Store, target: Collection) -> bool:
    """Tell whether a collection's index of regions is missing or damaged, or what is newer is worth a new one."""
    if not target.regions_rule:
        return False
    generations = Generations(store.database, store.blobs, target, IN_REGIONS)
    current = generations.current()
    if current is None:
        return any_regions(store.database, target)
    changed = REGIONS * store.catalogue.count_changed_since(target.id, current.sequence)
    return generations.due(current, changed) or not generations.is_sound(current)


class BackgroundPublisher:
    """Renews the index of a collection while a job fills it, in a thread of its own.

    Whenever what is new outgrows what the index holds, so that all this building costs no more than the last one, and
    searches elsewhere never compare more than half of the images one by one.
    """

    def __init__(
        self,
        store: Store,
        target: Collection,
        also: Callable[[Store, Collection], object] | None = None,
        *,
        every: int | None = None,
        growth: float = 1.0,
    ) -> None:
        """also: what publishes another index beside it. every: new rows after which it is looked whether an index is
        due; None for as many as searches still compare one by one. growth: as of publish_if_due.
        """
        self._store = store
        self._target = target
        self._also = also
        self._new = 0
        self._growth = growth
        self._wanted = every or (LARGEST_DELTA // (1 + REGIONS) if target.regions_rule else LARGEST_DELTA)
        self._thread: threading.Thread | None = None

    def committed(self, rows: int) -> None:
        """Take note of a commit; returns at once."""
        self._new += rows
        if self._new < self._wanted or (self._thread is not None and self._thread.is_alive()):
            return
        self._new = 0
        self._thread = threading.Thread(target=self._publish, name="publisher")
        self._thread.start()

    def close(self) -> None:
        """Wait for what was begun."""
        if self._thread is not None:
            self._thread.join()

    def _publish(self) -> None:
        try:
            publish_if_due(self._store, self._target, growth=self._growth)
            if self._also is not None:
                self._also(self._store, self._target)
        except LookalikeError as error:
            # The end of the job tries again, and tells.
            log.warning("the search index was not renewed: %s", error)
