"""`status` proves completeness: what was seen is searchable or in the ledger, and what is not is named."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import delete, select, text, update

from api.commands.operations import _equation
from indexer.jobs.index_images import IndexOptions
from indexer.jobs.pipeline import Pipeline
from search.database.tables import collection, embedding, generation, image, job
from search.embeddings import unit_rows
from search.finding.snapshot import SnapshotReader
from search.records import Collection
from search.storing.commits import Batch, Committer
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.sightings import REMEDY
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
    assert look(filled).missing[0] == "5 images have an embedding, 6 are searchable; `lookalike verify` tells why"


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
    transform = {"transform": "none", "transform_chosen": "none"}
    assert shape["index"] == counts | transform | {"explanation": explanation}


def test_files_that_are_no_images_are_counted_below_each_folder_by_the_newest_job_that_saw_all_of_it(
    filled: Store, photos: Path, draw: Draw, tmp_path: Path
) -> None:
    def ignored(*folders: Path) -> int:
        index(filled, *folders)
        return look(filled).ignored

    notes = [photos / name for name in ("a.txt", "b.txt", "below/c.txt")]
    for note in notes:
        note.parent.mkdir(exist_ok=True)
        note.write_text("no image")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    draw("other.png", 99).rename(elsewhere / "other.png")
    assert ignored(photos) == 3
    assert ignored(elsewhere) == 3, "what another folder holds tells nothing of this one"
    (elsewhere / "d.txt").write_text("no image")
    assert ignored(elsewhere) == 4
    assert ignored(photos / "below") == 4, "it was counted with the folder around it"
    notes[0].unlink()
    assert ignored(photos) == 3


def test_a_tombstone_is_counted_and_no_fault(filled: Store) -> None:
    change(filled, update(collection).values(sequence=collection.c.sequence + 1))
    change(filled, update(image).where(image.c.id == 1).values(deleted=True, sequence=text("2")))
    found = collection_status(filled, filled.catalogue.collection("default"))
    assert (found.images, found.searchable, found.tombstones) == (5, 5, 1)


def test_what_a_walk_found_and_the_catalogue_has_not_is_shown(filled: Store, photos: Path) -> None:
    found = look(filled)
    assert (found.seen, found.images, found.ledger_only, found.complete) == (7, 6, 1, True)
    # As if the pipeline had lost a file on its way: the walk met it, and nothing is known of it.
    sighting = last_progress(filled)["sighting"]
    assert (sighting["found"], sighting["images"], sighting["failed"]) == (7, 6, 1)
    keep_progress(filled, {"sighting": sighting | {"found": 8}})
    found = look(filled)
    assert (found.seen, found.images, found.ledger_only, found.complete) == (8, 6, 1, False)
    (told,) = found.missing
    assert f"found 8 files below {photos.as_uri()}, but 6 of them are images and 1 in the ledger alone" in told
    assert _equation(found) == "8 ≠ 6 indexed + 1 only in the ledger"
    # Elsewhere nothing changes that; the next walk of the folder settles it.
    (photos / "part").mkdir()
    index(filled, photos / "part")
    assert look(filled).seen == 8
    index(filled, photos)
    assert (look(filled).seen, look(filled).complete) == (7, True)


def test_a_file_that_the_pipeline_drops_is_missing(
    local_store: Store, photos: Path, draw: Draw, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        draw(f"{number}.png", number)
    passed_on = Pipeline._pass_on
    monkeypatch.setattr(Pipeline, "_pass_on", lambda pipeline, changed: passed_on(pipeline, changed[1:]))
    index(local_store, photos)
    found = look(local_store)
    assert (found.seen, found.images, found.complete) == (3, 2, False)


def test_an_image_that_went_without_a_tombstone_is_missing(filled: Store) -> None:
    change(filled, delete(generation))
    change(filled, delete(image).where(image.c.id == 3))
    found = look(filled)
    assert (found.seen, found.images) == (7, 5)
    assert found.missing == ["1 image is gone that nobody removed since the last `index`; " + REMEDY]


def test_what_is_removed_moved_mended_or_vanished_is_not_missing(filled: Store, photos: Path, draw: Draw) -> None:
    target = filled.catalogue.collection("default")
    remove_images(filled.database, target, [1, 2])
    assert (look(filled).seen, look(filled).complete) == (5, True)
    (photos / "sub").mkdir()
    (photos / "3.png").rename(photos / "sub" / "3.png")
    (photos / "4.png").unlink()
    draw("bad.png", 99)
    index(filled, photos)  # the removed ones come back, one moves, one stays without its file
    found = look(filled)
    assert (found.seen, found.images, found.ledger_only, found.missing) == (7, 7, 0, [])
    (photos / "5.png").write_bytes(b"")
    (photos / "5.png.json").write_text("[]")
    index(filled, photos / "sub", photos / "5.png")
    assert (look(filled).seen, look(filled).ledger_only, look(filled).missing) == (8, 1, []), "the JSON file"
    index(filled, photos, options=IndexOptions(batch_size=8, prune=True, max_fraction=1.0))
    assert (look(filled).seen, look(filled).images, look(filled).missing) == (7, 6, [])
    compact(filled)
    assert look(filled).missing == []


def last_progress(store: Store) -> dict[str, Any]:
    with store.database.reading() as connection:
        return dict(connection.execute(select(job.c.progress).order_by(job.c.id.desc()).limit(1)).scalar_one())


def keep_progress(store: Store, progress: dict[str, Any]) -> None:
    change(store, update(job).values(progress=progress))
