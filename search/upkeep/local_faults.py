"""What must hold of the index of a collection's local features."""

from collections.abc import Iterator

import numpy as np

from search.errors import CorruptFile
from search.finding.generation_writing import FOLDER
from search.finding.generations import GenerationRecord
from search.local.published import LocalIndexes
from search.records import Collection, Fault
from search.storing.local_rows import LocalRows
from search.storing.store import Store

TRIES = 3


def local_faults(store: Store, target: Collection, *, deep: bool) -> list[Fault]:
    """Return the faults of the newest index of local features; a newer one may be published while it is looked at."""
    indexes = LocalIndexes(store.database, store.blobs, target)
    faults: list[Fault] = []
    for _ in range(TRIES):
        record = indexes.current()
        faults = [] if record is None else list(_faults_of(store, target, record, deep))
        now = indexes.current()
        if not faults or (record is not None and now is not None and now.id == record.id):
            break
    return faults


def _faults_of(store: Store, target: Collection, record: GenerationRecord, deep: bool) -> Iterator[Fault]:
    indexes = LocalIndexes(store.database, store.blobs, target)
    try:
        if record.name not in store.blobs.names(FOLDER):  # although a cache may still have a copy
            raise CorruptFile(f"{record.name} is missing")
        opened = indexes.open(record)
    except CorruptFile as error:
        yield Fault("generation_damaged", record.name, f"{error}; the next `index --local` rebuilds it")
        return
    if deep and store.blobs.sha256(record.name) != record.sha256:
        yield Fault("generation_changed", record.name, "its sha256 is not the recorded one")
    known = np.union1d(opened.contents, indexes.newer(opened).contents)
    for content_id in np.setdiff1d(LocalRows(store.database).located(target).contents, known).tolist():
        detail = f"the local features of content {content_id} are missing from the index"
        yield Fault("local_features_not_in_index", record.name, detail)
