"""`verify` names every planted fault and nothing else."""

import hashlib
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import case, delete, insert, select, text, update

from search.blobs.checksums import block_checksums
from search.database.tables import (
    api_key,
    calibration,
    collection,
    content,
    content_label,
    embedding,
    generation,
    image,
    job,
    ledger,
    metadata,
    post_transform,
    reembedding,
    segment,
    source,
    space,
    synonym,
)
from search.index.post_transform import PostTransform
from search.records import Label
from search.storing.labels import put_labels
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.references import references
from search.upkeep.verification import unnamed_files, verify
from tests.conftest import new_database, painted
from tests.fakes import FAKE_DIMS
from tests.jobs import index


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ (six pictures and a bad one) and a store/ that holds them."""
    folder = tmp_path_factory.mktemp("made")
    fill(folder / "photos", folder / "store", None)
    return folder


@pytest.fixture
def filled(made: Path, tmp_path: Path) -> Iterator[Store]:
    """A copy of that store."""
    with Store(Path(shutil.copytree(made / "store", tmp_path / "store"))) as store:
        yield store


def fill(photos: Path, root: Path, catalogue: str | None) -> None:
    photos.mkdir(exist_ok=True)
    for number in range(6):
        painted(number).save(photos / f"{number}.png")
    (photos / "bad.png").write_bytes(b"")
    with Store.create(root, catalogue=catalogue) as store:
        index(store, photos)
        with store.database.writing() as connection:
            put_labels(connection, 1, {1: [Label("tabby, tabby cat", 0.5), Label("tiger", 0.25)]})


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)


def first(store: Store, folder: str) -> Path:
    return next((Path(store.settings.blobs) / folder).iterdir())


def change(store: Store, *statements: object) -> None:
    """Change rows as no code of ours would: with the database's own checks switched off."""
    with store.database.engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.connection.driver_connection.execute("PRAGMA foreign_keys=OFF")  # type: ignore[union-attr]
        else:
            connection.exec_driver_sql("SET session_replication_role = replica")
        for statement in statements:
            connection.execute(text(statement) if isinstance(statement, str) else statement)  # type: ignore[call-overload]
        connection.commit()
    store.database.engine.dispose()


def rewritten(store: Store, folder: str, edit: Callable[[bytearray], None]) -> None:
    """Change a file together with everything the catalogue records of it: only its meaning can tell."""
    path = first(store, folder)
    data = bytearray(path.read_bytes())
    edit(data)
    path.write_bytes(data)
    table = {"segments": segment, "generations": generation}[folder]
    values = {"sha256": hashlib.sha256(data).digest(), "checksums": block_checksums(bytes(data))}
    change(store, update(table).values(values))


def zero_first_row(data: bytearray) -> None:
    data[64 : 64 + 2 * 192] = bytes(2 * 192)


FITTED = {
    "collection_id": 1,
    "space_id": 1,
    "kind": "centre",
    "rows": 6,
    "fingerprint": PostTransform("centre", np.zeros(FAKE_DIMS, np.float32)).fingerprint,
    "mean": bytes(4 * FAKE_DIMS),
}
WAY = {"collection_id": 1, "from_space_id": 1, "to_space_id": 1, "state": "ready", "started_at": 1.0, "changed_at": 1.0}
MEASURED = {"collection_id": 1, "space_id": 1, "transform": "", "made_at": 1.0, "findings": {}}
KEY = {"name": "", "prefix": "lk_", "sha256": bytes(32), "role": "read", "created_at": 1.0}
FIRST = {"content_id": 1, "space_id": 1, "region": 1, "segment_id": 1, "row": 0}
Plant = Callable[[Store], None]
SHALLOW: dict[str, Plant] = {
    "segment_damaged": lambda store: flip(first(store, "segments")),
    "segment_misrecorded": lambda store: change(store, update(segment).values(rows=7)),
    "generation_damaged": lambda store: flip(first(store, "generations")),
    "generation_of_the_future": lambda store: change(store, update(generation).values(sequence=99)),
    "generation_without_segment": lambda store: change(store, update(segment).values(id=77)),
    "image_without_embedding": lambda store: change(store, delete(embedding).where(embedding.c.content_id == 1)),
    "image_without_content": lambda store: change(store, delete(content).where(content.c.id == 1)),
    "embedding_outside_segment": lambda store: change(store, update(embedding).values(row=10_000)),
    "embedding_unusable": lambda store: rewritten(store, "segments", zero_first_row),
    "image_of_the_future": lambda store: change(store, update(collection).values(sequence=0)),
    "image_not_in_generation": lambda store: change(
        store,
        "UPDATE collection SET sequence = 2",
        insert(image).values(
            collection_id=1, key="k", uri="u", content_id=1, size_bytes=1, mtime_ns=1, metadata={}, sequence=1
        ),
    ),
    "stranger_in_generation": lambda store: change(store, delete(image).where(image.c.id == 3)),
    "facts_unreadable": lambda store: change(store, "UPDATE generation SET facts = 'not json'"),
    "key_used_twice": lambda store: change(
        store, "DROP INDEX uq_image_collection_id_key", update(image).values(key="same")
    ),
}
DEEP: dict[str, Plant] = {
    "segment_changed": lambda store: change(store, update(segment).values(sha256=bytes(32))),
    "generation_changed": lambda store: change(store, update(generation).values(sha256=bytes(32))),
    "place_wrong_in_generation": lambda store: change(
        store,
        update(embedding).values(row=case({0: 1, 1: 0}, value=embedding.c.row, else_=embedding.c.row)),
    ),
    "image_without_commit": lambda store: change(store, update(image).where(image.c.id == 1).values(sequence=0)),
    "row_used_twice": lambda store: change(
        store, update(embedding).where(embedding.c.content_id.in_([1, 2])).values(row=0)
    ),
    "regions_incomplete": lambda store: change(store, insert(embedding).values(FIRST | {"row": 1})),
    "rule_of_regions_unknown": lambda store: change(store, update(collection).values(regions_rule=2)),
    "embedding_in_foreign_space": lambda store: change(store, update(segment).values(space_id=9)),
    "embedding_in_retired_segment": lambda store: change(store, update(segment).values(retired_at=1.0)),
    "content_impossible": lambda store: change(store, update(content).where(content.c.id == 1).values(width=0)),
    "labels_out_of_order": lambda store: change(store, delete(content_label).where(content_label.c.rank == 0)),
    "label_dangling": lambda store: change(store, update(content_label).values(label_id=99)),
    "synonym_dangling": lambda store: change(store, insert(synonym).values(label_id=99, name="lion")),
    "synonyms_wrong": lambda store: change(store, delete(synonym).where(synonym.c.name == "tabby")),
    "ledger_unreadable": lambda store: change(store, update(ledger).values(reason="whim")),
    "ledger_dangling": lambda store: change(store, update(ledger).values(collection_id=9)),
    "job_dangling": lambda store: change(store, update(job).values(collection_id=9)),
    "generation_dangling": lambda store: change(store, update(generation).values(space_id=9)),
    "embedding_without_content": lambda store: change(store, insert(embedding).values(FIRST | {"content_id": 9999})),
    "image_without_collection": lambda store: change(
        store, update(image).where(image.c.id == 1).values(collection_id=9)
    ),
    "segment_without_space": lambda store: change(store, update(segment).values(space_id=9)),
    "collection_without_space": lambda store: change(store, update(collection).values(space_id=9)),
    "reembedding_dangling": lambda store: change(store, insert(reembedding).values(WAY | {"from_space_id": 9})),
    "source_dangling": lambda store: change(
        store, insert(source).values(collection_id=9, uri="file:///a.tar", stamp="", images=0)
    ),
    "labels_of_unknown_space": lambda store: change(store, update(collection).values(label_space_id=9)),
    "image_without_source": lambda store: change(store, update(image).where(image.c.id == 1).values(source_id=9)),
    "metadata_unreadable": lambda store: change(store, "UPDATE image SET metadata = '[1]' WHERE id = 1"),
    "progress_unreadable": lambda store: change(store, "UPDATE job SET progress = '7'"),
    "report_unreadable": lambda store: change(store, insert(reembedding).values(WAY | {"report": ["a", "list"]})),
    "calibration_dangling": lambda store: change(store, insert(calibration).values(MEASURED | {"space_id": 9})),
    "api_key_dangling": lambda store: change(store, insert(api_key).values(KEY | {"collection_id": 9})),
    "findings_unreadable": lambda store: change(store, insert(calibration).values(MEASURED | {"findings": [1]})),
    "post_transform_dangling": lambda store: change(store, insert(post_transform).values(FITTED | {"space_id": 9})),
    "transform_damaged": lambda store: change(store, insert(post_transform).values(FITTED | {"fingerprint": "0" * 64})),
    "transform_unknown": lambda store: change(store, update(collection).values(transform="bleach")),
    "path_wrong": lambda store: change(store, update(image).where(image.c.id == 1).values(path="/elsewhere")),
    "fingerprint_wrong": lambda store: change(store, update(space).values(pooling="max")),
}


def test_a_good_store_has_no_faults(filled: Store) -> None:
    assert verify(filled, deep=True) == []
    compact(filled)
    assert verify(filled, deep=True) == []
    assert unnamed_files(filled) == []


@pytest.mark.parametrize("kind", SHALLOW)
def test_a_planted_fault_is_named(filled: Store, kind: str) -> None:
    SHALLOW[kind](filled)
    assert kind in {fault.kind for fault in verify(filled)}


@pytest.mark.parametrize("kind", DEEP)
def test_a_planted_fault_is_named_by_a_deep_look(filled: Store, kind: str) -> None:
    DEEP[kind](filled)
    assert kind in {fault.kind for fault in verify(filled, deep=True)}


@pytest.mark.parametrize(
    "stored", ["'not json'", "'{\"a\": 1'", "'null'", "7", "x'ff00'", "CAST(x'7b2261223a22ff227d' AS TEXT)"]
)
def test_metadata_that_could_not_be_listed_is_named_with_its_image(filled: Store, stored: str) -> None:
    change(filled, f"UPDATE image SET metadata = {stored} WHERE id = 2")
    (fault,) = verify(filled, deep=True)
    assert (fault.kind, fault.where) == ("metadata_unreadable", uri_of(filled, 2))


def uri_of(store: Store, image_id: int) -> str:
    with store.database.reading() as connection:
        return str(connection.execute(select(image.c.uri).where(image.c.id == image_id)).scalar_one())


def test_metadata_of_any_other_shape_is_no_fault(filled: Store) -> None:
    change(filled, """UPDATE image SET metadata = '{"a": [1, {"b": null}], "c": "\u00e9"}' WHERE id = 2""")
    assert verify(filled, deep=True) == []


def test_every_column_that_names_a_row_of_a_table_is_asked_after() -> None:
    asked = {(one.column.table.name, one.column.name) for one in references()}
    told_elsewhere = {("image", "content_id"), ("embedding", "segment_id")}
    # What is kept to be sent again goes by itself, and nothing is lost where what it tells of has gone before it.
    kept = {"kept_answer", "duplicate_report", "duplicate_group"}
    tables = [table for table in metadata.sorted_tables if table.name not in kept]
    named = {(table.name, column.name) for table in tables for column in table.c}
    assert {name for name in named if name[1].endswith("_id")} == asked | told_elsewhere


def test_a_missing_segment_file_is_named(filled: Store) -> None:
    first(filled, "segments").unlink()
    (fault,) = [fault for fault in verify(filled) if fault.kind == "segment_damaged"]
    assert "is missing" in fault.detail


def test_a_transform_that_is_what_was_fitted_is_no_fault(filled: Store) -> None:
    change(filled, insert(post_transform).values(FITTED))
    assert verify(filled, deep=True) == []


@pytest.mark.parametrize("wrong", [{"mean": bytes(4 * FAKE_DIMS - 4)}, {"mean": b"abc"}, {"matrix": bytes(20)}])
def test_a_transform_of_other_dims_is_named(filled: Store, wrong: dict[str, bytes]) -> None:
    change(filled, insert(post_transform).values(FITTED | wrong))
    (fault,) = verify(filled, deep=True)
    assert (fault.kind, fault.where) == ("transform_damaged", "default")


def test_deep_compares_whole_files(filled: Store) -> None:
    change(filled, update(segment).values(sha256=bytes(32)))
    assert verify(filled) == []
    assert [fault.kind for fault in verify(filled, deep=True)] == ["segment_changed"]


def test_a_damaged_generation_is_rebuilt_by_the_next_index(filled: Store, made: Path) -> None:
    flip(first(filled, "generations"))
    index(filled, made / "photos")
    assert verify(filled, deep=True) == []


def test_a_file_that_nobody_names_is_a_leftover_and_no_fault(filled: Store) -> None:
    ((Path(filled.settings.blobs) / "segments") / "left.lks.partial").write_bytes(b"half")
    assert unnamed_files(filled) == ["segments/left.lks.partial"]
    assert verify(filled, deep=True) == []


def test_a_damaged_page_of_the_database_is_named(filled: Store) -> None:
    path = Path(filled.settings.catalogue.removeprefix("sqlite:///"))
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096):
        data[4096 * page : 4096 * page + 200] = bytes(200)
    path.write_bytes(data)
    assert "database_damaged" in {fault.kind for fault in verify(filled)}


# Plants that leave room for each other.
TOGETHER = (
    "segment_changed",
    "image_without_commit",
    "label_dangling",
    "job_dangling",
    "path_wrong",
    "row_used_twice",
    "reembedding_dangling",
    "labels_of_unknown_space",
    "metadata_unreadable",
    "transform_damaged",
    "transform_unknown",
)


def test_on_postgresql_the_same_questions_are_asked(postgresql: str, tmp_path: Path) -> None:
    fill(tmp_path / "photos", tmp_path / "store", new_database(postgresql))
    with Store(tmp_path / "store") as store:
        assert verify(store, deep=True) == []
        for kind in TOGETHER:
            DEEP[kind](store)
        assert set(TOGETHER) <= {fault.kind for fault in verify(store, deep=True)}
