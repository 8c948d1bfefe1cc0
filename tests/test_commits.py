"""The commit protocol, on SQLite and on PostgreSQL."""

import threading
import time
from collections.abc import Iterator

import numpy as np
import pytest
from sqlalchemy import event, select

from search.blobs.segments import SegmentRecord, write_segment
from search.database.tables import embedding, image, job, segment
from search.embeddings import unit_rows
from search.errors import StoreUnavailable, UsageError
from search.finding.snapshot import SnapshotReader
from search.records import Collection, Embeddings
from search.storing.commits import Batch, Committer, no_embeddings
from search.storing.image_rows import NewImage
from search.storing.ledger import FailedFile
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, facts, new_image, unit


def rows(count: int, seed: int = 0) -> Embeddings:
    return unit_rows(np.random.default_rng(seed).normal(size=(count, FAKE_DIMS)))


@pytest.fixture
def committer(store: Store, target: Collection) -> Committer:
    return Committer(store.database, store.blobs, target)


def uris(store: Store, target: Collection) -> list[str]:
    return [uri for _, uri in store.catalogue.uris(target.id)]


def test_a_committed_image_is_found_by_its_own_embedding(
    store: Store, target: Collection, committer: Committer
) -> None:
    embeddings = rows(3)
    committer.commit(Batch([new_image("a"), new_image("b"), new_image("c")], embeddings))
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    best = snapshot.search(embeddings[1:2], 1)
    assert store.catalogue.images_by_id(target.id, best.ids.tolist())[int(best.ids[0])].uri == "file:///photos/b"
    assert best.scores[0] == pytest.approx(1.0, abs=1e-5)


def test_commit_sequences_count_up_by_one(store: Store, committer: Committer) -> None:
    taken = [committer.commit(Batch([new_image(str(number))], rows(1, number))) for number in range(3)]
    assert taken == [1, 2, 3]
    assert store.catalogue.collection("default").sequence == 3


def test_committing_the_same_file_twice_makes_one_image_with_one_id(
    store: Store, target: Collection, committer: Committer
) -> None:
    for _ in range(2):
        committer.commit(Batch([new_image("a")], rows(1)))
    assert uris(store, target) == ["file:///photos/a"]


def test_two_files_of_one_new_content_share_one_embedding(
    store: Store, target: Collection, committer: Committer
) -> None:
    committer.commit(Batch([new_image("a", facts("same")), new_image("b", facts("same"))], rows(2)))
    with store.database.reading() as connection:
        assert len(connection.execute(select(embedding)).all()) == 1
    assert len(SnapshotReader(store.database, store.blobs, target).current()) == 2


def test_a_changed_file_keeps_its_id_and_gets_a_newer_sequence(
    store: Store, target: Collection, committer: Committer
) -> None:
    committer.commit(Batch([new_image("a", facts("old"))], rows(1, 1)))
    reader = SnapshotReader(store.database, store.blobs, target)
    (before,) = reader.current().delta.ids.tolist()
    committer.commit(Batch([new_image("a", facts("new"))], rows(1, 2)))
    after = reader.current()
    assert after.delta.ids.tolist() == [before]
    assert after.search(rows(1, 2), 1).scores[0] == pytest.approx(1.0, abs=1e-5)


def test_a_touched_file_is_no_newer_than_it_was(store: Store, target: Collection, committer: Committer) -> None:
    committer.commit(Batch([new_image("a")], rows(1)))
    known = store.catalogue.files(target.id, ["file:///photos/a"])["file:///photos/a"]
    touched = NewImage(known.key, known.uri, 1000, 99, known.content_id, known.image_id)
    committer.commit(Batch([touched], no_embeddings(FAKE_DIMS)))
    with store.database.reading() as connection:
        assert connection.execute(select(image.c.mtime_ns, image.c.sequence)).all() == [(99, 1)]


def test_a_moved_file_keeps_its_id(store: Store, target: Collection, committer: Committer) -> None:
    committer.commit(Batch([new_image("a")], rows(1)))
    known = store.catalogue.files(target.id, ["file:///photos/a"])["file:///photos/a"]
    new = "file:///photos/b"
    committer.commit(Batch([NewImage(new, new, 1000, 1, known.content_id, known.image_id)], no_embeddings(FAKE_DIMS)))
    assert list(store.catalogue.uris(target.id)) == [(known.image_id, new)]


def test_failures_count_attempts_until_the_file_changes_or_succeeds(
    store: Store, target: Collection, committer: Committer
) -> None:
    failed = FailedFile("file:///photos/a", "truncated", "ends early", 10, 1)
    for _ in range(2):
        committer.commit(Batch([], no_embeddings(FAKE_DIMS), [failed]))
    assert [entry.attempts for entry in store.catalogue.failures(target.id)] == [2]
    changed = FailedFile("file:///photos/a", "corrupt", "bad", 11, 2)
    committer.commit(Batch([], no_embeddings(FAKE_DIMS), [changed]))
    assert [(entry.reason, entry.attempts) for entry in store.catalogue.failures(target.id)] == [("corrupt", 1)]
    committer.commit(Batch([new_image("a")], rows(1)))
    assert store.catalogue.failures(target.id) == []


def test_progress_and_end_of_a_job_are_recorded(store: Store, committer: Committer) -> None:
    committer.commit(Batch([new_image("a")], rows(1), progress={"seen": 1}))
    committer.finish("done", {"seen": 1, "ignored": 4})
    with store.database.reading() as connection:
        assert connection.execute(select(job.c.state, job.c.progress)).all() == [("done", {"seen": 1, "ignored": 4})]


@pytest.mark.parametrize("point", ["commit.begin", "commit.rows", "commit.end"])
def test_an_error_inside_the_transaction_leaves_nothing_visible(
    store: Store, target: Collection, committer: Committer, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    monkeypatch.setattr("search.faults._hits", __import__("collections").Counter())
    monkeypatch.setenv("LOOKALIKE_FAULT", f"{point}:1:eio")
    with pytest.raises(OSError, match="Input/output"):
        committer.commit(Batch([new_image("a")], rows(1)))
    assert uris(store, target) == []
    assert store.catalogue.collection("default").sequence == 0
    with store.database.reading() as connection:
        assert connection.execute(select(segment)).all() == []
    committer.commit(Batch([new_image("a")], rows(1)))
    assert uris(store, target) == ["file:///photos/a"]


def test_two_workers_on_the_same_files_make_each_image_once(store: Store, target: Collection) -> None:
    def work(seed: int) -> None:
        mine = Committer(store.database, store.blobs, target)
        order = np.random.default_rng(seed).permutation(40).tolist()
        for start in range(0, 40, 5):
            names = [str(number) for number in order[start : start + 5]]
            mine.commit(Batch([new_image(name) for name in names], rows(5, seed)))

    errors: list[BaseException] = []

    def guarded(seed: int) -> None:
        try:
            work(seed)
        except BaseException as error:  # noqa: BLE001 -- handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(uris(store, target)) == sorted(f"file:///photos/{number}" for number in range(40))
    assert store.catalogue.collection("default").sequence == 16


def test_a_collection_of_another_space_shares_nothing_but_contents(store: Store, target: Collection) -> None:
    other = store.open_collection("other", FakeBackbone("another").space)
    for one in (target, other):
        Committer(store.database, store.blobs, one).commit(Batch([new_image("a")], rows(1, one.id)))
    with store.database.reading() as connection:
        assert len(connection.execute(select(embedding)).all()) == 2
        assert len({row.content_id for row in connection.execute(select(embedding.c.content_id))}) == 1


@pytest.fixture
def order(store: Store, committer: Committer, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What happened in which order, with segments that take their time."""
    happened: list[str] = []

    def slow(*arguments: object) -> SegmentRecord:
        time.sleep(0.2)
        record: SegmentRecord = write_segment(*arguments)  # type: ignore[arg-type]
        happened.append("durable")
        return record

    monkeypatch.setattr("search.storing.commits.write_segment", slow)
    for moment in ("begin", "commit", "rollback"):
        event.listen(store.database.engine, moment, lambda _, moment=moment: happened.append(moment))
    yield happened


def test_nothing_is_committed_before_its_segment_is_durable(committer: Committer, order: list[str]) -> None:
    committer.commit(Batch([new_image("a")], rows(1)))
    assert order.index("durable") < order.index("commit")


def test_a_slow_storage_is_waited_for_before_anything_is_locked(
    store: Store, committer: Committer, order: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store.blobs, "quick", False)
    committer.commit(Batch([new_image("a")], rows(1)))
    assert order == ["durable", "begin", "commit"]


@pytest.mark.parametrize("quick", [True, False])
def test_a_segment_that_fails_late_takes_its_rows_with_it(
    store: Store, target: Collection, committer: Committer, monkeypatch: pytest.MonkeyPatch, quick: bool
) -> None:
    def failing(*_: object) -> SegmentRecord:
        time.sleep(0.1)
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(store.blobs, "quick", quick)
    with monkeypatch.context() as broken, pytest.raises(StoreUnavailable, match="the disk is full"):
        broken.setattr("search.storing.commits.write_segment", failing)
        committer.commit(Batch([new_image("a")], rows(1)))
    assert uris(store, target) == []
    assert store.catalogue.collection("default").sequence == 0
    assert committer.commit(Batch([new_image("a")], rows(1))) == 1


def test_one_batch_may_add_change_move_and_touch(store: Store, target: Collection, committer: Committer) -> None:
    committer.commit(Batch([new_image(name) for name in "abc"], rows(3)))
    known = {one.uri[-1]: one for one in store.catalogue.files(target.id, uris(store, target)).values()}
    moved = NewImage("file:///photos/e", "file:///photos/e", 1000, 1, known["b"].content_id, known["b"].image_id)
    touched = NewImage(known["c"].key, known["c"].uri, 1000, 99, known["c"].content_id, known["c"].image_id)
    changed = new_image("a", facts("other"))
    committer.commit(Batch([moved, new_image("d"), touched, changed], rows(2, 1)))
    with store.database.reading() as connection:
        columns = (image.c.id, image.c.uri, image.c.mtime_ns, image.c.sequence)
        found = {row.uri[-1]: (row.id, row.mtime_ns, row.sequence) for row in connection.execute(select(*columns))}
    ids = {name: one.image_id for name, one in known.items()}
    assert found == {
        "a": (ids["a"], 1, 2),
        "e": (ids["b"], 1, 1),
        "c": (ids["c"], 99, 1),
        "d": (found["d"][0], 1, 2),
    }
    assert len(SnapshotReader(store.database, store.blobs, target).current()) == 4


def test_two_collections_of_one_space_can_commit_the_same_contents_at_once(store: Store, target: Collection) -> None:
    spec = FakeBackbone().space
    names = [str(number) for number in range(60)]
    errors: list[BaseException] = []

    def work(name: str, seed: int) -> None:
        try:
            mine = Committer(store.database, store.blobs, store.open_collection(name, spec))
            order = np.random.default_rng(seed).permutation(len(names)).tolist()
            for start in range(0, len(names), 20):
                part = [names[at] for at in order[start : start + 20]]
                mine.commit(Batch([new_image(name) for name in part], rows(len(part), seed)))
        except BaseException as error:  # noqa: BLE001 -- handed to the test's own thread
            errors.append(error)

    threads = [
        threading.Thread(target=work, args=(name, seed)) for seed, name in enumerate(("default", "two", "three"))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    with store.database.reading() as connection:
        assert len(connection.execute(select(embedding)).all()) == len(names)
        assert len(connection.execute(select(image)).all()) == 3 * len(names)


@pytest.mark.parametrize("fault", ["nan", "infinite", "zero", "long", "dims", "missing"])
def test_embeddings_that_no_search_could_use_are_refused_and_nothing_is_written(
    store: Store, target: Collection, committer: Committer, fault: str
) -> None:
    embeddings = np.tile(unit(1, *[0] * (target.space.dims - 1)), (2, 1))
    wrong = {"nan": np.nan, "infinite": np.inf, "zero": 0.0, "long": 2.0}
    if fault in wrong:
        embeddings[1, 0] = wrong[fault]
    if fault == "dims":
        embeddings = embeddings[:, :-1]
    if fault == "missing":
        embeddings = embeddings[:1]
    with pytest.raises(UsageError, match="embedding"):
        committer.commit(Batch([new_image("a"), new_image("b")], embeddings))
    assert store.catalogue.count_images(target.id) == 0
    assert store.catalogue.collection("default").sequence == 0
    assert store.blobs.names("segments") == []
