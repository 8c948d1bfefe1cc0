"""`verify` names every planted fault and nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import delete, text, update

from search.status import collection_status
from search.store import Store
from search.tables import collection, embedding, image, segment
from search.verification import verify
from tests.conftest import Draw
from tests.jobs import index


@pytest.fixture
def filled(store: Store, photos: Path, draw: Draw) -> Store:
    for number in range(6):
        draw(f"{number}.png", number)
    (photos / "bad.png").write_bytes(b"")
    index(store, photos)
    return store


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def first(store: Store, folder: str) -> Path:
    return next((Path(store.settings.blobs) / folder).iterdir())


def change(store: Store, statement: object) -> None:
    with store.database.writing() as connection:
        connection.execute(statement)  # type: ignore[call-overload]


PLANTED: dict[str, Callable[[Store], None]] = {
    "segment_damaged": lambda store: flip(first(store, "segments")),
    "generation_damaged": lambda store: flip(first(store, "generations")),
    "image_without_embedding": lambda store: change(store, delete(embedding).where(embedding.c.content_id == 1)),
    "embedding_outside_segment": lambda store: change(store, update(embedding).values(row=10_000)),
    "image_of_the_future": lambda store: change(store, update(collection).values(sequence=0)),
}


def test_a_good_store_has_no_faults(filled: Store) -> None:
    assert verify(filled, deep=True) == []


@pytest.mark.parametrize("kind", PLANTED)
def test_a_planted_fault_is_named(filled: Store, kind: str) -> None:
    PLANTED[kind](filled)
    assert kind in {fault.kind for fault in verify(filled)}


def test_a_missing_segment_file_is_named(filled: Store) -> None:
    first(filled, "segments").unlink()
    (fault,) = [fault for fault in verify(filled) if fault.kind == "segment_damaged"]
    assert "is missing" in fault.detail


def test_deep_compares_whole_files(filled: Store) -> None:
    change(filled, update(segment).values(sha256=bytes(32)))
    assert verify(filled) == []
    assert [fault.kind for fault in verify(filled, deep=True)] == ["segment_changed"]


def test_a_damaged_generation_is_rebuilt_by_the_next_index(filled: Store, photos: Path) -> None:
    flip(first(filled, "generations"))
    index(filled, photos)
    assert verify(filled, deep=True) == []


def test_status_counts_what_was_seen_indexed_and_failed(filled: Store, photos: Path) -> None:
    (photos / "notes.txt").write_text("ignored")
    index(filled, photos)
    shape = collection_status(filled, filled.catalogue.collection("default")).as_json()
    counts = {name: shape[name] for name in ("seen", "images", "searchable", "failed", "ignored", "tombstones")}
    assert counts == {"seen": 7, "images": 6, "searchable": 6, "failed": 1, "ignored": 1, "tombstones": 0}
    assert shape["index"] == {"kind": "exact", "rows": 6, "delta": 0, "recall_target": 1.0, "recall_measured": None}


def test_a_tombstone_is_counted_and_no_fault(filled: Store) -> None:
    change(filled, update(collection).values(sequence=collection.c.sequence + 1))
    change(filled, update(image).where(image.c.id == 1).values(deleted=True, sequence=text("2")))
    found = collection_status(filled, filled.catalogue.collection("default"))
    assert (found.images, found.searchable, found.tombstones) == (5, 5, 1)
