"""`status` proves completeness: what was seen is searchable or in the ledger, and what is not is named."""

from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete, select, text, update

from search.database.tables import collection, embedding, generation, image, job
from search.embeddings import unit_rows
from search.finding.snapshot import SnapshotReader
from search.records import Collection
from search.storing.commits import Batch, Committer
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.status import CollectionStatus, collection_status
from tests.conftest import Draw
from tests.fakes import FAKE_DIMS, new_image
from tests.jobs import index


@pytest.fixture
def filled(local_store: Store, photos: Path, draw: Draw) -> Store:
    store = local_store
    for number in range(6):
        draw(f"{number}.png", number)
    (photos / "bad.png").write_bytes(b"")
    index(store, photos)
    return store


def look(store: Store) -> CollectionStatus:
    return collection_status(store, store.catalogue.collection("default"))


def change(store: Store, statement: object) -> None:
    with store.database.writing() as connection:
        connection.execute(statement)  # type: ignore[call-overload]


def test_a_finished_job_is_complete_and_says_so_in_a_sentence(filled: Store) -> None:
    shape = look(filled).as_json()
    assert (shape["complete"], shape["missing"]) == (True, [])
    assert shape["summary"] == "6 of 6 images searchable; 1 file in the ledger"
    assert shape["images"] == shape["embeddings"] == shape["searchable"] == 6


def test_an_image_without_embedding_is_missing(filled: Store) -> None:
    second = select(image.c.content_id).where(image.c.id == 2).scalar_subquery()
    change(filled, delete(embedding).where(embedding.c.content_id == second))
    change(filled, delete(generation))
    found = look(filled)
    assert not found.complete
    assert found.missing == ["1 of 6 images have no embedding; `lookalike index` makes it again"]


def test_an_image_that_the_index_lost_is_missing(filled: Store) -> None:
    # Its commit is older than the index, which has never heard of it.
    change(filled, update(image).where(image.c.id == 2).values(deleted=True, sequence=text("0")))
    filled_reader = SnapshotReader(filled.database, filled.blobs, filled.catalogue.collection("default"))
    assert len(filled_reader.current()) == 6
    assert look(filled).missing == ["5 images have an embedding, 6 are searchable; `lookalike verify` tells why"]


@pytest.mark.parametrize("state", ["running", "interrupted", "failed"])
def test_a_job_that_did_not_end_well_is_missing_something(filled: Store, state: str) -> None:
    change(filled, update(job).values(state=state))
    found = look(filled)
    assert (found.complete, len(found.missing)) == (False, 1)
    assert "run it again" in found.missing[0]


def test_a_damaged_index_or_segment_is_named(filled: Store) -> None:
    for folder in ("generations", "segments"):
        for path in (Path(filled.settings.blobs) / folder).iterdir():
            path.write_bytes(b"")
        assert not look(filled).complete
        assert look(filled).missing[0] == look(filled).damage


def test_what_is_committed_while_it_counts_makes_no_difference(
    store: Store, target: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    committer = Committer(store.database, store.blobs, target)
    committer.commit(Batch([new_image("a")], unit_rows(np.ones((1, FAKE_DIMS)))))
    committer.finish("done", {})
    current = SnapshotReader.current

    def current_after_a_commit(self: SnapshotReader) -> object:
        monkeypatch.setattr(SnapshotReader, "current", current)
        remove_images(store.database, target, [1])
        return self.current()

    monkeypatch.setattr(SnapshotReader, "current", current_after_a_commit)
    assert look(store).summary == "0 of 0 images searchable"
    assert look(store).complete


def test_status_counts_what_was_seen_indexed_and_failed(filled: Store, photos: Path) -> None:
    (photos / "notes.txt").write_text("ignored")
    index(filled, photos)
    shape = collection_status(filled, filled.catalogue.collection("default")).as_json()
    counts = {name: shape[name] for name in ("seen", "images", "searchable", "failed", "ignored", "tombstones")}
    assert counts == {"seen": 7, "images": 6, "searchable": 6, "failed": 1, "ignored": 1, "tombstones": 0}
    explanation = "every image is compared, which is fastest up to 10,000 images"
    counts = {"kind": "exact", "rows": 6, "delta": 0, "recall_target": 1.0, "recall_measured": None}
    assert shape["index"] == counts | {"explanation": explanation}


def test_a_tombstone_is_counted_and_no_fault(filled: Store) -> None:
    change(filled, update(collection).values(sequence=collection.c.sequence + 1))
    change(filled, update(image).where(image.c.id == 1).values(deleted=True, sequence=text("2")))
    found = collection_status(filled, filled.catalogue.collection("default"))
    assert (found.images, found.searchable, found.tombstones) == (5, 5, 1)
