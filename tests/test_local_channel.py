"""Local features in a store: committed with their batch, found by small parts, gone with their images."""

import os
import signal
import zlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from sqlalchemy import func, select, update

from api.cli import main
from indexer.jobs.index_images import IndexOptions
from search.blobs.segments import HEADER
from search.conditions.where import Condition, parse
from search.database.tables import embedding, generation, segment
from search.errors import CorruptFile, StoreUnavailable
from search.finding.accurate import AccurateSearch, SeenPicture
from search.finding.find_similar import Wanted
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.geometry.keypoints import Keypoints
from search.geometry.local_features import RECORD_BYTES, record_of
from search.geometry.pixel_edits import PictureFile
from search.geometry.verify import Query, prepared
from search.local.published import LocalIndexes, publish_local_if_due
from search.local.reading import MOST_IMAGES, LocalReader
from search.moving.backup import back_up
from search.moving.restore import restore
from search.records import Collection, ImageRecord
from search.storing.commits import Batch, Committer
from search.storing.image_rows import NewImage
from search.storing.local_rows import LOCAL_SPACE, space_of
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.repairing import repairs
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests.conftest import painted
from tests.fakes import FAKE_DIMS, FakeBackbone, InProcessDecoder, facts
from tests.jobs import index
from tests.test_commits import rows
from tests.test_local_features import features

LOCAL = IndexOptions(batch_size=8, local=True)


@pytest.fixture
def target(store: Store) -> Collection:
    return store.open_collection("default", FakeBackbone().space, local=True)


def put(store: Store, target: Collection, *numbers: int) -> None:
    """Commit an image for each number, with the features of that number."""
    images = [_image(number) for number in numbers]
    Committer(store.database, store.blobs, target).commit(Batch(images, rows(len(images), numbers[0])))


def _image(number: int) -> NewImage:
    uri = f"file:///photos/{number}"
    return NewImage(uri, uri, 1000, 1, facts(str(number)), local=record_of(features(number)), metadata={"n": number})


def ask(number: int) -> Query:
    return prepared(features(number))


def found(store: Store, target: Collection, number: int, where: str | None = None) -> list[str]:
    """Return the uris that the features of a number find, by a new reader."""
    return named(store, target, LocalReader(store.database, store.blobs, target), number, where)


def named(store: Store, target: Collection, reader: LocalReader, number: int, where: str | None = None) -> list[str]:
    ids = reader.images(ask(number), None if where is None else parse(where))
    known = store.catalogue.images_by_id(target.id, ids)
    return [known[one].uri.removeprefix("file:///photos/") for one in ids]


def indexes(store: Store, target: Collection) -> LocalIndexes:
    return LocalIndexes(store.database, store.blobs, target)


def records_in(store: Store) -> int:
    with store.database.reading() as connection:
        space_id = space_of(connection, LOCAL_SPACE.fingerprint)
        query = select(func.count()).select_from(embedding).where(embedding.c.space_id == space_id)
        return connection.execute(query).scalar_one()


def test_what_was_committed_is_found_before_and_after_an_index_is_published(store: Store, target: Collection) -> None:
    put(store, target, 1, 2, 3)
    assert found(store, target, 2)[0] == "2"
    assert publish_local_if_due(store, target)
    assert not publish_local_if_due(store, target), "nothing is new"
    put(store, target, 4, 5)
    assert [found(store, target, number)[0] for number in range(1, 6)] == ["1", "2", "3", "4", "5"]
    assert verify(store, deep=True) == []


def test_a_reader_follows_commits_and_new_indexes(store: Store, target: Collection) -> None:
    reader = LocalReader(store.database, store.blobs, target)
    assert named(store, target, reader, 1) == []
    put(store, target, 1, 2)
    assert named(store, target, reader, 2)[0] == "2"
    put(store, target, 3)
    assert named(store, target, reader, 3)[0] == "3"
    indexes(store, target).publish()
    assert named(store, target, reader, 3)[0] == "3"
    put(store, target, 4)
    assert [named(store, target, reader, number)[0] for number in (4, 1)] == ["4", "1"]


def test_a_content_that_another_collection_brought_is_found_in_an_older_index_too(
    store: Store, target: Collection
) -> None:
    other = store.open_collection("other", FakeBackbone().space, local=True)
    put(store, other, 7)
    put(store, target, 1)
    indexes(store, target).publish()
    put(store, target, 7)
    assert records_in(store) == 2, "the content has one record in the store"
    assert found(store, target, 7)[0] == "7"


def test_removed_and_changed_images_are_not_found(store: Store, target: Collection) -> None:
    put(store, target, 1, 2, 3)
    indexes(store, target).publish()
    ids = {one.uri: one.id for one in store.catalogue.images(target.id)}
    remove_images(store.database, target, [ids["file:///photos/2"]])
    changed = NewImage("file:///photos/3", "file:///photos/3", 9, 9, facts("new"), local=record_of(features(30)))
    Committer(store.database, store.blobs, target).commit(Batch([changed], rows(1, 77)))
    assert "2" not in found(store, target, 2)
    assert "3" not in found(store, target, 3)[:1]
    assert found(store, target, 30)[0] == "3"


def test_a_condition_holds(store: Store, target: Collection) -> None:
    put(store, target, 1, 2, 3)
    assert found(store, target, 2, "metadata.n >= 2")[0] == "2"
    assert "2" not in found(store, target, 2, "metadata.n != 2")


def test_copies_of_one_content_are_all_found_but_no_more_than_wanted(store: Store, target: Collection) -> None:
    put(store, target, 1)
    with store.database.reading() as connection:
        content_id = connection.execute(select(embedding.c.content_id).limit(1)).scalar_one()
    copies = [
        NewImage(f"file:///photos/c{one}", f"file:///photos/c{one}", 1, 1, content_id) for one in range(MOST_IMAGES)
    ]
    Committer(store.database, store.blobs, target).commit(Batch(copies, np.empty((0, FAKE_DIMS), np.float32)))
    hits = found(store, target, 1)
    assert len(hits) == MOST_IMAGES and len(set(hits)) == MOST_IMAGES


@pytest.mark.parametrize(
    "point", ["segment.write:2:eio", "segment.rename:2:enospc", "commit.rows:1:eio", "commit.end:1:eio"]
)
def test_a_batch_that_fails_leaves_neither_images_nor_features(
    store: Store, target: Collection, fail: Callable[[str], None], point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail(point)
    with pytest.raises((StoreUnavailable, OSError)):
        put(store, target, 1)
    monkeypatch.undo()
    assert records_in(store) == 0 and store.catalogue.count_images(target.id) == 0
    put(store, target, 1)
    assert found(store, target, 1) == ["1"]
    assert len(store.sweep(-1.0)) <= 2
    assert verify(store, deep=True) == []


def test_a_kill_between_the_segments_and_the_commit_leaves_files_that_are_swept(
    local_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = local_store.open_collection("default", FakeBackbone().space, local=True)
    local_store.database.close()
    child = os.fork()
    if child == 0:
        os.environ["LOOKALIKE_FAULT"] = "commit.end:1:kill"
        put(local_store, target, 1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    assert records_in(local_store) == 0
    assert len(local_store.sweep(-1.0)) == 2, "the embeddings of the batch, and its records"
    put(local_store, target, 1)
    assert found(local_store, target, 1) == ["1"]


def test_a_damaged_index_is_left_out_and_built_again(store: Store, target: Collection) -> None:
    put(store, target, 1, 2)
    record = indexes(store, target).publish()
    assert record is not None
    flip(store, record.name, record.size_bytes // 2)
    assert found(store, target, 2)[0] == "2", "read from the segments"
    faults = verify(store)
    assert [fault.kind for fault in faults] == ["generation_damaged"]
    repairs(store, faults, apply=True)
    again = indexes(store, target).current()
    assert again is not None and again.name != record.name
    assert verify(store, deep=True) == [] and found(store, target, 2)[0] == "2"


def test_the_next_index_run_replaces_a_damaged_index(store: Store, target: Collection) -> None:
    put(store, target, 1)
    record = indexes(store, target).publish()
    assert record is not None
    flip(store, record.name, 100)
    assert publish_local_if_due(store, target)
    assert verify(store) == []


def test_features_missing_from_an_index_are_a_fault(store: Store, target: Collection) -> None:
    put(store, target, 1)
    record = indexes(store, target).publish()
    assert record is not None
    put(store, target, 2)
    with store.database.writing() as connection:  # as if it had been built after the second commit
        values = {"sequence": 2, "facts": {"segment": 99, "features": 40}}
        connection.execute(update(generation).where(generation.c.id == record.id).values(values))
    faults = verify(store)
    assert [(fault.kind, fault.where) for fault in faults] == [("local_features_not_in_index", record.name)]
    repairs(store, faults, apply=True)
    assert verify(store) == [] and found(store, target, 2)[0] == "2"


def flip(store: Store, name: str, place: int) -> None:
    path = Path(str(store.settings.blobs)) / name
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def segment_of_records(store: Store) -> str:
    with store.database.reading() as connection:
        space_id = space_of(connection, LOCAL_SPACE.fingerprint)
        here = (segment.c.space_id == space_id) & segment.c.retired_at.is_(None)
        return str(connection.execute(select(segment.c.name).where(here)).scalar_one())


def test_damage_in_what_is_newer_than_the_index_is_told_not_passed_over(store: Store, target: Collection) -> None:
    put(store, target, 1)
    flip(store, segment_of_records(store), HEADER.size + 3)
    with pytest.raises(CorruptFile, match="damaged"):
        found(store, target, 1)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Fourteen pictures, so that their records take more than a block."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(14):
        painted(number).save(folder / f"{number:02}.png")
    return folder


def _of_pixels(pixels: NDArray[np.uint8]) -> Keypoints:
    """Stand in for the extraction, which takes its time: other pixels, other features."""
    return features(zlib.crc32(pixels.tobytes()))


def run(store: Store, photos: Path, *, local: bool) -> dict[str, object]:
    options = LOCAL if local else IndexOptions(batch_size=8)
    return index(
        store, photos, options=options, decoder=InProcessDecoder(keypoints=_of_pixels if local else None)
    ).as_json()


def best(store: Store, number: int) -> str:
    """Return the name of the picture that the same features find first."""
    target = store.catalogue.collection("default")
    query = prepared(_of_pixels(np.asarray(painted(number))))
    ids = LocalReader(store.database, store.blobs, target).images(query, None)
    return Path(store.catalogue.image_by_id(target.id, ids[0]).uri).name if ids else ""


def test_a_later_run_with_local_adds_features_to_what_is_there_and_embeds_nothing_again(
    local_store: Store, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "local" not in run(local_store, photos, local=False)
    before = local_store.catalogue.collection("default")
    assert "`lookalike index --local` also finds a tenth of a picture" in printed(local_store, capsys, "status")
    backbone = FakeBackbone()
    decoder = InProcessDecoder(keypoints=_of_pixels)
    summary = index(local_store, photos, options=LOCAL, decoder=decoder, backbone=backbone).as_json()
    assert (summary["local"], summary["unchanged"], summary["indexed"], backbone.embedded) == (14, 14, 0, 0)
    assert local_store.catalogue.collection("default").local and not before.local
    assert run(local_store, photos, local=True)["local"] == 0
    assert best(local_store, 5) == "05.png"
    status = collection_status(local_store, local_store.catalogue.collection("default")).as_json()
    told = status["local"]
    assert isinstance(told, dict) and (told["kept"], told["images"]) == (True, 14)
    assert RECORD_BYTES < told["bytes_per_image"] < 3 * RECORD_BYTES, "what the index takes once is told apart"
    assert 2**17 < told["fixed_bytes"] < 2**20
    assert status["complete"]
    shown = printed(local_store, capsys, "status")
    assert "14 of 14 images have local features; " in shown and " MB once" in shown


def test_damaged_records_are_made_again_by_the_next_run_and_sound_ones_stay(local_store: Store, photos: Path) -> None:
    run(local_store, photos, local=True)
    compact(local_store, older_than_s=-1.0)
    flip(local_store, segment_of_records(local_store), HEADER.size + 3)
    faults = verify(local_store)
    assert [fault.kind for fault in faults] == ["segment_damaged"]
    (told,) = repairs(local_store, faults, apply=False)
    (done,) = repairs(local_store, faults, apply=True)
    assert told.lost == done.lost and 0 < len(done.lost) < 14
    assert (told.what, told.as_json()["lost_of"]) == ("local features", "local features")
    assert told.action is not None and "`index --local` makes the others again" in told.action
    assert verify(local_store, deep=True) == []
    assert not local_store.catalogue.failures(local_store.catalogue.collection("default").id)
    summary = run(local_store, photos, local=True)
    assert (summary["local"], summary["unchanged"]) == (len(done.lost), 14)
    assert [best(local_store, number) for number in (0, 13)] == ["00.png", "13.png"]


def printed(store: Store, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit):
        main(["--store", str(store.root), "--progress", "none", *words])
    return capsys.readouterr().out


def test_repair_says_that_local_features_are_lost_and_no_embedding(
    local_store: Store, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(local_store, photos, local=True)
    compact(local_store, older_than_s=-1.0)
    name = segment_of_records(local_store)
    flip(local_store, name, HEADER.size + 3)
    told = printed(local_store, capsys, "repair")
    assert "local features lost: " in told
    assert "read again by the next `lookalike index --local`" in told
    assert "embedding" not in told
    assert told.splitlines()[0].count(name) == 1, "where it is, once"


def test_repair_gives_one_advice_on_a_damaged_index_of_local_features(
    local_store: Store, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(local_store, photos, local=True)
    record = indexes(local_store, local_store.catalogue.collection("default")).current()
    assert record is not None
    flip(local_store, record.name, record.size_bytes // 2)
    assert "the next `index --local` rebuilds it" in printed(local_store, capsys, "verify")
    fault, action, *_ = printed(local_store, capsys, "repair").splitlines()
    assert fault.startswith(f"generation_damaged: {record.name}: ") and "rebuilds" not in fault
    assert fault.count(record.name) == 1
    assert action == "  build the search index again from the segments"


def test_compaction_merges_records_and_drops_those_of_removed_images(store: Store, target: Collection) -> None:
    put(store, target, 1)
    put(store, target, 2)
    put(store, target, 3)
    Generations(store.database, store.blobs, target).publish(3)
    indexes(store, target).publish()
    reader = LocalReader(store.database, store.blobs, target)
    assert named(store, target, reader, 2)[0] == "2"
    ids = {one.uri: one.id for one in store.catalogue.images(target.id)}
    remove_images(store.database, target, [ids["file:///photos/2"]])
    compact(store, older_than_s=-1.0)
    compact(store, older_than_s=-1.0)
    record = indexes(store, target).current()
    assert record is not None and record.rows == 2 and records_in(store) == 2
    assert segment_of_records(store)
    assert named(store, target, reader, 3)[0] == "3"
    assert named(store, target, reader, 2)[:1] != ["2"]
    assert verify(store, deep=True) == []


def test_a_restored_store_finds_the_same(store: Store, target: Collection, tmp_path: Path) -> None:
    put(store, target, 1, 2, 3)
    indexes(store, target).publish()
    back_up(store, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    with Store(tmp_path / "again") as again:
        restored = again.catalogue.collection("default")
        assert restored.local and indexes(again, restored).current() is not None
        assert [found(again, restored, number)[0] for number in (1, 2, 3)] == ["1", "2", "3"]
        assert verify(again, deep=True) == []


def test_without_local_features_nothing_is_proposed(store: Store) -> None:
    plain = store.open_collection("default", FakeBackbone().space)
    assert LocalReader(store.database, store.blobs, plain).images(ask(1), None) == []
    assert indexes(store, plain).publish() is None
    assert not publish_local_if_due(store, plain)


class NoPictures:
    """StoredPictures that remember which images were asked for, and have none of their files."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def keypoints(self, images: Sequence[ImageRecord]) -> Iterable[Keypoints | None]:
        self.asked = [image.id for image in images]
        return [None] * len(images)

    def file(self, image: ImageRecord) -> PictureFile | None:
        return None


class Proposes:
    """A second source of candidates that always says the same."""

    def __init__(self, *ids: int) -> None:
        self._ids = list(ids)

    def images(self, query: Query, condition: Condition | None) -> list[int]:
        return self._ids


def test_candidates_of_both_kinds_take_turns_and_all_proposed_ones_are_looked_at(local_store: Store) -> None:
    target = local_store.open_collection("default", FakeBackbone().space)
    embeddings = rows(120, 3)
    images = [NewImage(f"file:///{one}", f"file:///{one}", 1, 1, facts(str(one))) for one in range(120)]
    Committer(local_store.database, local_store.blobs, target).commit(Batch(images, embeddings))
    snapshot = SnapshotReader(local_store.database, local_store.blobs, target).current()
    nearest = snapshot.search(embeddings[:1], 120).ids.tolist()
    last, middle = nearest[-1], nearest[60]
    pictures = NoPictures()
    plain = AccurateSearch(snapshot, local_store.catalogue, pictures)
    sharing = AccurateSearch(snapshot, local_store.catalogue, pictures, Proposes(last, 999, nearest[0], middle))
    wanted = Wanted(10)
    without = [one.image.id for one in plain.candidates(embeddings[:1], wanted, ask(1))]
    found = sharing.candidates(embeddings[:1], wanted, ask(1))
    assert without == nearest[:50]
    assert [one.image.id for one in found] == [nearest[0], last, nearest[1], nearest[2], middle, *nearest[3:50]]
    assert [one.image.id for one in found if one.local] == [nearest[0], last, middle]
    assert found[1].score == pytest.approx(float(embeddings[last - 1] @ embeddings[0]), abs=1e-3)
    sharing.matches(SeenPicture(embeddings[:1], ask(1), None, None), found, wanted)
    assert len(pictures.asked) == 52 and last in pictures.asked


def test_without_a_picture_nobody_is_asked_for_what_shares_its_features(local_store: Store) -> None:
    target = local_store.open_collection("default", FakeBackbone().space)
    put_plain = Batch([NewImage("file:///a", "file:///a", 1, 1, facts("a"))], rows(1))
    Committer(local_store.database, local_store.blobs, target).commit(put_plain)
    snapshot = SnapshotReader(local_store.database, local_store.blobs, target).current()
    search = AccurateSearch(snapshot, local_store.catalogue, NoPictures(), Proposes(1))
    assert [one.local for one in search.candidates(rows(1), Wanted(5))] == [False]
