"""Compaction: fewer segments, nothing of what was removed, the same answers; also when it dies or is not alone."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select, update

from search.blobs.segments import Segment, SegmentRecord
from search.database.tables import content, content_label, embedding, generation, image, segment
from search.embeddings import unit_rows
from search.faults import POINTS
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.records import Collection, Embeddings, Label
from search.spaces.space_upgrade import SpaceUpgrade
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.image_rows import NewImage
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import CompactSummary, compact
from search.upkeep.merging import Part, SegmentMerger, groups
from search.upkeep.status import collection_status
from search.upkeep.verification import verify
from tests import fault_worker
from tests.fakes import FAKE_DIMS, facts, new_image

COMMITS = 8
PER_COMMIT = 5
ROWS = COMMITS * PER_COMMIT


@pytest.fixture
def filled(store: Store, target: Collection) -> Embeddings:
    """Images 1 to 40 in eight segments, three quarters of them in a generation."""
    embeddings = unit_rows(np.random.default_rng(0).normal(size=(ROWS, FAKE_DIMS)))
    committer = Committer(store.database, store.blobs, target)
    for number in range(COMMITS):
        part = range(number * PER_COMMIT, (number + 1) * PER_COMMIT)
        sequence = committer.commit(Batch([new_image(str(one)) for one in part], embeddings[part.start : part.stop]))
        if number == 5:
            Generations(store.database, store.blobs, target).publish(sequence)
    return embeddings


def count(store: Store, table: Any, *where: Any) -> int:
    with store.database.reading() as connection:
        return connection.execute(select(func.count()).select_from(table).where(*where)).scalar_one()


def bytes_by_content(store: Store) -> dict[int, bytes]:
    with store.database.reading() as connection:
        query = select(embedding.c.content_id, embedding.c.row, embedding.c.segment_id)
        places = connection.execute(query).all()
    found = {}
    for place in places:
        opened = Segment(store.blobs, store.catalogue.segment(place.segment_id), FAKE_DIMS)
        found[place.content_id] = opened.stored(np.array([place.row])).tobytes()
    return found


def check(store: Store, embeddings: Embeddings, living: list[int]) -> None:
    """Hold the answers of a fresh reader against brute force over the living images (ids count from 1)."""
    target = store.catalogue.collection("default")
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    assert snapshot.rows()[0].tolist() == living
    for query in unit_rows(np.random.default_rng(7).normal(size=(3, FAKE_DIMS))):
        scores = embeddings[np.array(living) - 1] @ query
        expected = [living[place] for place in np.argsort(-scores, kind="stable")[:5]]
        assert snapshot.search(query[np.newaxis], 5).ids.tolist() == expected
    assert verify(store, deep=True) == []


def test_many_small_segments_become_one_with_the_same_bytes(store: Store, filled: Embeddings) -> None:
    before = bytes_by_content(store)
    summary = compact(store)
    assert (summary.segments_before, summary.segments_after) == (COMMITS, 1)
    assert bytes_by_content(store) == before
    check(store, filled, list(range(1, ROWS + 1)))


def test_a_second_compaction_finds_nothing_to_do(store: Store, filled: Embeddings) -> None:
    compact(store)
    again = compact(store)
    assert again.as_json() == CompactSummary(1, 1, waiting=COMMITS).as_json()


def test_removed_images_leave_nothing_behind(store: Store, target: Collection, filled: Embeddings) -> None:
    gone, living = list(range(1, 31)), list(range(31, 41))
    remove_images(store.database, target, gone)
    summary = compact(store)
    assert (summary.embeddings_dropped, summary.tombstones_purged, summary.contents_dropped) == (30, 30, 30)
    assert (count(store, image), count(store, content), count(store, embedding)) == (10, 10, 10)
    assert count(store, segment, segment.c.retired_at.is_(None)) == 1
    check(store, filled, living)


def test_a_store_of_which_everything_was_removed_is_empty_and_goes_on(
    store: Store, target: Collection, filled: Embeddings
) -> None:
    reader = SnapshotReader(store.database, store.blobs, target)
    assert len(reader.current()) == ROWS
    remove_images(store.database, target, range(1, ROWS + 1))
    assert compact(store).tombstones_purged == ROWS
    for table in (image, content, embedding, generation):
        assert count(store, table) == 0
    assert len(reader.current()) == 0
    Committer(store.database, store.blobs, target).commit(Batch([new_image("0")], filled[:1]))
    assert reader.current().search(filled[:1], 5).ids.tolist() == [ROWS + 1], "an id was used again"
    assert verify(store, deep=True) == []


def test_a_content_that_another_collection_holds_stays(store: Store, target: Collection, filled: Embeddings) -> None:
    other = store.open_collection("other", target.space)
    content_id = store.catalogue.files(target.id, ["file:///photos/0"])["file:///photos/0"].content_id
    copy = new_image("0", content_id)
    Committer(store.database, store.blobs, other).commit(Batch([copy], no_embeddings(FAKE_DIMS)))
    remove_images(store.database, target, range(1, ROWS + 1))
    compact(store)
    snapshot = SnapshotReader(store.database, store.blobs, other).current()
    assert snapshot.search(filled[:1], 5).scores[0] == pytest.approx(1.0, abs=1e-5)
    assert verify(store, deep=True) == []


def test_labels_go_with_their_content(store: Store, target: Collection, filled: Embeddings) -> None:
    named = NewImage("k", "file:///k", 1, 1, facts("k"), labels=(Label("tabby", 0.5),))
    Committer(store.database, store.blobs, target).commit(Batch([named], filled[:1]))
    remove_images(store.database, target, [ROWS + 1])
    compact(store)
    assert count(store, content_label) == 0


def test_replaced_segments_stay_while_an_index_reads_them_and_for_an_hour(
    store: Store, target: Collection, filled: Embeddings
) -> None:
    def files() -> int:
        return len(list((Path(store.settings.blobs) / "segments").iterdir()))

    compact(store)
    assert (files(), compact(store, older_than_s=3600).waiting) == (COMMITS + 1, COMMITS)
    with store.database.writing() as connection:
        connection.execute(update(segment).where(segment.c.retired_at > 0).values(retired_at=1.0))
    # The generation from before still reads six of them; the two newest were never in one.
    assert compact(store, older_than_s=3600).waiting == 6
    assert compact(store, older_than_s=-1).waiting == 0
    assert files() == 1
    check(store, filled, list(range(1, ROWS + 1)))


def test_a_damaged_segment_is_left_alone_and_named(store: Store, filled: Embeddings) -> None:
    with store.database.reading() as connection:
        name = connection.execute(select(segment.c.name).where(segment.c.id == 3)).scalar_one()
    path = Path(store.settings.blobs) / name
    data = bytearray(path.read_bytes())
    data[100] ^= 1
    path.write_bytes(data)
    before = bytes_of_others(store)
    summary = compact(store)
    assert (summary.damaged, summary.not_published, summary.segments_after) == ([name], ["default"], 2)
    assert path.read_bytes() == bytes(data)
    assert bytes_of_others(store) == before


def bytes_of_others(store: Store) -> dict[int, bytes]:
    with store.database.reading() as connection:
        bad = set(connection.execute(select(embedding.c.content_id).where(embedding.c.segment_id == 3)).scalars())
    assert len(bad) == PER_COMMIT
    with store.database.reading() as connection:
        query = select(embedding.c.content_id, embedding.c.row, embedding.c.segment_id)
        places = connection.execute(query.where(embedding.c.content_id.not_in(bad))).all()
    return {
        place.content_id: Segment(store.blobs, store.catalogue.segment(place.segment_id), FAKE_DIMS)
        .stored(np.array([place.row]))
        .tobytes()
        for place in places
    }


@pytest.mark.parametrize("point", [point for point in POINTS if point.startswith(("merge.", "compact."))])
def test_a_compaction_that_fails_anywhere_changes_no_answer_and_can_be_run_again(
    store: Store, target: Collection, filled: Embeddings, fail: Callable[[str], None], point: str
) -> None:
    remove_images(store.database, target, [1, 2, 40])
    fail(f"{point}:1:eio")
    with pytest.raises(Exception, match="Input/output"):
        compact(store, older_than_s=-1)
    living = list(range(3, 40))
    check(store, filled, living)
    assert compact(store, older_than_s=-1).segments_after == 1
    assert count(store, image, image.c.deleted) == 0
    check(store, filled, living)


def test_what_happens_while_segments_are_copied_is_kept(
    store: Store, target: Collection, filled: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = SegmentMerger._write

    def write_while_others_work(self: SegmentMerger, *arguments: Any) -> SegmentRecord:
        written = write(self, *arguments)
        monkeypatch.setattr(SegmentMerger, "_write", write)
        remove_images(store.database, target, [5])
        new = unit_rows(np.random.default_rng(9).normal(size=(1, FAKE_DIMS)))
        Committer(store.database, store.blobs, target).commit(Batch([new_image("6", facts("other"))], new))
        filled[6] = new[0]
        assert compact(store).segments_after == 1
        return written

    monkeypatch.setattr(SegmentMerger, "_write", write_while_others_work)
    compact(store)
    check(store, filled, [one for one in range(1, ROWS + 1) if one != 5])


def test_an_index_built_while_images_were_removed_and_purged_is_never_named(
    store: Store, target: Collection, filled: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = type(store.blobs).write

    def write_while_compacted(self: object, folder: str, *arguments: Any, **options: Any) -> str:
        name = write(self, folder, *arguments, **options)  # type: ignore[arg-type]
        if folder == "generations":
            monkeypatch.setattr(type(store.blobs), "write", write)
            remove_images(store.database, target, range(1, ROWS + 1))
            compact(store, older_than_s=3600)
        return name

    monkeypatch.setattr(type(store.blobs), "write", write_while_compacted)
    Generations(store.database, store.blobs, target).publish(store.catalogue.collection("default").sequence)
    assert len(SnapshotReader(store.database, store.blobs, target).current()) == 0


def test_a_reader_of_before_sees_the_same_while_a_compaction_runs(
    store: Store, target: Collection, filled: Embeddings
) -> None:
    remove_images(store.database, target, [1])
    reader = SnapshotReader(store.database, store.blobs, target)
    before = reader.current()
    compact(store, older_than_s=-1)
    for snapshot in (before, reader.current()):
        assert snapshot.search(filled[9:10], 1).ids.tolist() == [10]
        assert len(snapshot) == ROWS - 1


def part(number: int, rows: int, used: int) -> Part:
    return Part(number, SegmentRecord(str(number), rows, 0, b"", b""), used)


@pytest.mark.parametrize(
    ("sizes", "merged"),
    [
        ([], []),
        ([(10, 10)], []),
        ([(10, 10), (10, 10)], [[0, 1]]),
        ([(65_536, 65_536), (10, 10)], []),
        ([(65_536, 100), (10, 10)], [[0, 1]]),
        ([(65_536, 0)], [[0]]),
        ([(10, 7)], [[0]]),
        ([(30_000, 30_000)] * 3, [[0, 1]]),
        ([(1_000_000, 100_000)], [[0]]),
    ],
)
def test_what_is_merged_is_small_or_hollow(sizes: list[tuple[int, int]], merged: list[list[int]]) -> None:
    found = groups([part(number, *size) for number, size in enumerate(sizes)])
    assert [[one.id for one in group] for group in found] == merged


def test_more_rows_than_fit_become_several_segments(
    store: Store, filled: Embeddings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.upkeep.merging.MERGED_ROWS", 16)
    merger = SegmentMerger(store.database, store.blobs, (1, FAKE_DIMS), lambda rows: None)
    merger.merge(merger.parts())
    assert [one.record.rows for one in merger.parts()] == [16, 16, 8]
    check(store, filled, list(range(1, ROWS + 1)))


def test_after_a_promotion_removed_images_are_purged_and_the_old_index_goes(tmp_path: Path, store: Store) -> None:
    target = store.open_collection("default", fault_worker.SPACE)
    fault_worker.add(tmp_path, store, target, ["a", "b"])
    fault_worker.publish(store, target)
    fault_worker.reembed(store, fault_worker.OTHER_SPACE, ["a", "b"])
    target = SpaceUpgrade(store, target).promote()[0]
    fault_worker.remove(tmp_path, store, target, ["a"])
    compact(store, older_than_s=-1)
    summary = compact(store, older_than_s=-1)
    assert (collection_status(store, target).tombstones, summary.waiting) == (0, 0)
    target = SpaceUpgrade(store, target).rollback()[0]
    found = SnapshotReader(store.database, store.blobs, target).current()
    assert (len(found), found.generation is not None, verify(store, deep=True)) == (1, True, [])
