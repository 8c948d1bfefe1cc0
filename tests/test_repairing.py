"""Repair: told first, done when wanted; what is sound stays, what is lost is named and read again."""

import hashlib
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update

from search.blobs.segments import HEADER
from search.database.tables import image, segment
from search.finding.snapshot import SnapshotReader
from search.records import Fault
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.repairing import repairs
from search.upkeep.verification import verify
from tests.conftest import Draw, painted
from tests.fakes import FAKE_DIMS
from tests.jobs import index
from tests.test_verification import DEEP, SHALLOW, change, flip

PICTURES = 200  # 75 KiB of embeddings: two blocks


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("made")
    (folder / "photos").mkdir()
    for number in range(PICTURES):
        painted(number, (16, 12)).save(folder / "photos" / f"{number}.png")
    with Store.create(folder / "store") as store:
        index(store, folder / "photos")
    return folder


@pytest.fixture
def filled(made: Path, tmp_path: Path) -> Iterator[Store]:
    with Store(Path(shutil.copytree(made / "store", tmp_path / "store"))) as store:
        yield store


def damage(store: Store, place: int) -> str:
    """Flip a bit of the only segment; return its name."""
    (name,) = [f"segments/{path.name}" for path in (Path(store.settings.blobs) / "segments").iterdir()]
    data = bytearray((Path(store.settings.blobs) / name).read_bytes())
    data[place] ^= 1
    (Path(store.settings.blobs) / name).write_bytes(data)
    return name


def searchable(store: Store) -> int:
    return len(SnapshotReader(store.database, store.blobs, store.catalogue.collection("default")).current())


def keys(store: Store) -> dict[int, tuple[str, object]]:
    with store.database.reading() as connection:
        query = select(image.c.id, image.c.key, image.c.metadata).where(~image.c.deleted)
        return {row.id: (row.key, row.metadata) for row in connection.execute(query)}


def test_only_the_rows_of_a_damaged_block_are_lost_and_the_next_index_brings_them_back(
    filled: Store, made: Path
) -> None:
    with filled.database.writing() as connection:
        connection.execute(update(image).where(image.c.id == 1).values(key="mine", metadata={"by": "me"}))
        connection.execute(update(image).where(image.c.id == PICTURES).values(key="yours", metadata={"by": "you"}))
    before = keys(filled)
    name = damage(filled, HEADER.size + 5)
    faults = verify(filled, deep=True)
    assert "segment_damaged" in {fault.kind for fault in faults}
    told = repairs(filled, faults, apply=False)
    assert searchable_is_refused(filled), "a dry run repaired something"
    done = repairs(filled, faults, apply=True)
    lost = sorted({uri for one in done for uri in one.lost})
    assert lost == sorted({uri for one in told for uri in one.lost})
    per_block = 65_536 // (2 * FAKE_DIMS)
    assert len(lost) == per_block + 1, "the row that begins in the damaged block and ends in the next is lost, too"
    assert searchable(filled) == PICTURES - len(lost)
    assert {fault.kind for fault in verify(filled, deep=True)} == {"image_without_embedding"}
    assert [entry.reason for entry in filled.catalogue.failures(1)] == ["embedding_lost"] * len(lost)
    assert index(filled, made / "photos").counts.indexed == len(lost)
    assert verify(filled, deep=True) == []
    assert (searchable(filled), keys(filled), filled.catalogue.failures(1)) == (PICTURES, before, [])
    compact(filled, older_than_s=-1)
    assert verify(filled, deep=True) == []
    assert not (Path(filled.settings.blobs) / name).exists()


def searchable_is_refused(store: Store) -> bool:
    return bool(verify(store))


def test_embeddings_that_come_back_are_found_by_readers_that_were_open_all_the_time(filled: Store, made: Path) -> None:
    reader = SnapshotReader(filled.database, filled.blobs, filled.catalogue.collection("default"))
    ids, embeddings = reader.current().rows()
    damage(filled, HEADER.size + 5)
    repairs(filled, verify(filled, deep=True), apply=True)
    assert len(reader.current()) < PICTURES
    index(filled, made / "photos")
    for image_id, row in zip(ids[:3].tolist(), embeddings[:3], strict=True):
        assert reader.current().search(row[np.newaxis], 1).ids.tolist() == [image_id]


def test_a_segment_that_is_gone_loses_all_its_images_and_no_other(filled: Store, made: Path) -> None:
    (Path(filled.settings.blobs) / damage(filled, 0)).unlink()
    done = repairs(filled, verify(filled, deep=True), apply=True)
    assert len({uri for one in done for uri in one.lost}) == PICTURES
    assert index(filled, made / "photos").counts.indexed == PICTURES
    assert (verify(filled, deep=True), searchable(filled)) == ([], PICTURES)


def test_a_damaged_segment_that_only_an_index_still_reads_costs_nothing(filled: Store) -> None:
    remove_images(filled.database, filled.catalogue.collection("default"), range(1, 100))
    compact(filled)
    with filled.database.reading() as connection:
        name = connection.execute(select(segment.c.name).where(segment.c.retired_at.is_not(None))).scalar_one()
    flip(Path(filled.settings.blobs) / name)
    done = repairs(filled, verify(filled, deep=True), apply=True)
    assert [one.lost for one in done] == [[]]
    assert (verify(filled, deep=True), searchable(filled)) == ([], PICTURES - 99)


MENDED = [
    "generation_damaged",
    "generation_changed",
    "generation_of_the_future",
    "stranger_in_generation",
    "segment_changed",
    "embedding_unusable",
    "embedding_outside_segment",
    "embedding_in_retired_segment",
    "embedding_without_content",
    "image_of_the_future",
    "image_without_embedding",
    "label_dangling",
    "synonym_dangling",
    "ledger_dangling",
    "job_dangling",
    "generation_dangling",
    "source_dangling",
    "reembedding_dangling",
    "labels_of_unknown_space",
    "image_without_source",
    "metadata_unreadable",
    "facts_unreadable",
    "progress_unreadable",
    "report_unreadable",
    "calibration_dangling",
    "findings_unreadable",
    "api_key_dangling",
    "post_transform_dangling",
    "transform_damaged",
    "transform_unknown",
    "regions_incomplete",
    "path_wrong",
]
BY_HAND = ["row_used_twice", "fingerprint_wrong", "content_impossible", "image_without_content"]


@pytest.mark.parametrize("kind", MENDED)
def test_what_can_be_mended_is(filled: Store, made: Path, kind: str) -> None:
    ({**SHALLOW, **DEEP}[kind])(filled)
    repairs(filled, verify(filled, deep=True), apply=True)
    assert {fault.kind for fault in verify(filled, deep=True)} <= {"image_without_embedding"}
    index(filled, made / "photos")
    assert verify(filled, deep=True) == []


@pytest.mark.parametrize("kind", BY_HAND)
def test_what_cannot_be_proven_is_left_as_it_is_with_advice(filled: Store, kind: str) -> None:
    ({**SHALLOW, **DEEP}[kind])(filled)
    files = digest(filled)
    by_kind = {one.fault.kind: one for one in repairs(filled, verify(filled, deep=True), apply=True)}
    assert by_kind[kind].action is None
    assert by_kind[kind].hint
    assert digest(filled)["segments"] == files["segments"]
    assert kind in {fault.kind for fault in verify(filled, deep=True)}


def test_a_dry_run_changes_no_byte(filled: Store) -> None:
    damage(filled, HEADER.size + 5)
    before = digest(filled)
    repairs(filled, verify(filled, deep=True), apply=False)
    assert digest(filled) == before


def digest(store: Store) -> dict[str, str]:
    """Return a hash of all files of each part of a store."""
    found = {}
    for part in ("segments", "generations", "catalogue.sqlite"):
        place = store.root / part
        files = sorted(place.iterdir()) if place.is_dir() else [place]
        found[part] = hashlib.sha256(b"".join(path.read_bytes() for path in files)).hexdigest()
    return found


def test_metadata_that_is_no_json_stays_as_a_text_so_that_its_image_can_be_listed_again(filled: Store) -> None:
    change(filled, """UPDATE image SET metadata = '{"by": "me' WHERE id = 1""")
    with pytest.raises(json.JSONDecodeError):
        keys(filled)
    (done,) = repairs(filled, verify(filled, deep=True), apply=True)
    assert done.action == "keep the text, as the field `unreadable` of new metadata"
    assert keys(filled)[1][1] == {"unreadable": '{"by": "me'}
    assert keys(filled)[2][1] == {}


def test_a_healthy_store_has_nothing_to_repair(filled: Store) -> None:
    assert repairs(filled, verify(filled, deep=True), apply=True) == []


def test_a_changed_file_keeps_the_key_that_a_user_gave_its_image(store: Store, photos: Path, draw: Draw) -> None:
    draw("a.png", 1)
    index(store, photos)
    with store.database.writing() as connection:
        connection.execute(update(image).values(key="mine"))
    draw("a.png", 2, size=(65, 48))
    index(store, photos)
    assert keys(store) == {1: ("mine", {})}
    assert searchable(store) == 1


def test_the_advice_is_never_empty_for_an_unknown_fault(filled: Store) -> None:
    (one,) = repairs(filled, [Fault("something_new", "here", "why")], apply=True)
    assert (one.action, one.hint) == (None, "restore the store from a backup")
