"""The index is renewed while a job fills the collection, and searches elsewhere take it up."""

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from search.embeddings import unit_rows
from search.errors import StoreUnavailable, UsageError
from search.finding.generations import Generations
from search.finding.publishing import BackgroundPublisher, publish_if_due
from search.finding.snapshot import SnapshotReader
from search.records import Collection, Embeddings
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from search.upkeep.status import collection_status
from tests.fakes import FAKE_DIMS, FakeBackbone, new_image


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.finding.generations.LARGEST_DELTA", 50)
    monkeypatch.setattr("search.finding.publishing.LARGEST_DELTA", 50)
    monkeypatch.setattr("search.finding.generations.EXACT_ROWS", 120)


@pytest.fixture
def target(store: Store) -> Collection:
    return store.open_collection("default", FakeBackbone().space)


def embeddings(rows: int) -> Embeddings:
    return unit_rows(np.random.default_rng(0).normal(size=(rows, FAKE_DIMS)))


def commits(store: Store, target: Collection, rows: int, step: int) -> Iterator[int]:
    committer = Committer(store.database, store.blobs, target)
    made = embeddings(rows)
    for start in range(0, rows, step):
        numbers = range(start, min(start + step, rows))
        committer.commit(Batch([new_image(str(number)) for number in numbers], made[numbers.start : numbers.stop]))
        yield len(numbers)


@pytest.mark.usefixtures("small_steps")
def test_a_growing_collection_gets_an_index_each_time_it_doubles(store: Store, target: Collection) -> None:
    publisher = BackgroundPublisher(store, target)
    reader = SnapshotReader(store.database, store.blobs, target)
    kinds = []
    for number, rows in enumerate(commits(store, target, 480, 40), start=1):
        publisher.committed(rows)
        publisher.close()
        snapshot = reader.current()
        assert len(snapshot) == 40 * number
        kinds.append(
            (snapshot.generation.record.kind, snapshot.generation.record.rows) if snapshot.generation else None
        )
        newest = embeddings(480)[40 * number - 1 : 40 * number]
        assert snapshot.search(newest, 1).ids.tolist() == [40 * number]
    published = [one for place, one in enumerate(kinds) if one is not None and one not in kinds[:place]]
    assert published == [("exact", 80), ("ivf", 160), ("ivf", 320)]


@pytest.mark.usefixtures("small_steps")
def test_commits_do_not_wait_for_an_index_that_is_being_built(
    store: Store, target: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go_on = threading.Event(), threading.Event()
    publish = Generations.publish

    def slow(self: Generations, *arguments: object) -> object:
        begun.set()
        assert go_on.wait(20)
        return publish(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Generations, "publish", slow)
    publisher = BackgroundPublisher(store, target)
    for rows in commits(store, target, 400, 40):
        publisher.committed(rows)
    assert begun.wait(20)
    go_on.set()
    publisher.close()
    snapshot = SnapshotReader(store.database, store.blobs, target).current()
    assert snapshot.generation is not None
    assert len(snapshot) == 400


@pytest.mark.usefixtures("small_steps")
def test_an_index_that_cannot_be_built_beside_a_job_does_not_stop_it(
    store: Store, target: Collection, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_: object) -> None:
        raise StoreUnavailable("the disk is full")

    monkeypatch.setattr(Generations, "publish", full)
    publisher = BackgroundPublisher(store, target)
    for rows in commits(store, target, 120, 60):
        publisher.committed(rows)
    publisher.close()
    assert "the search index was not renewed: the disk is full" in caplog.text
    with pytest.raises(StoreUnavailable):
        publish_if_due(store, target)


def test_a_recall_target_is_remembered_reached_and_shown(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("search.finding.generations.EXACT_ROWS", 120)
    target = store.open_collection("default", FakeBackbone().space)
    assert target.recall_target == 0.99
    assert sum(commits(store, target, 400, 400)) == 400
    target = store.set_recall_target(target, 0.7)
    assert Generations(store.database, store.blobs, target).publish(target.sequence) is not None
    shape = collection_status(store, store.catalogue.collection("default")).as_json()["index"]
    assert isinstance(shape, dict)
    assert (shape["kind"], shape["rows"], shape["recall_target"]) == ("ivf", 400, 0.7)
    assert shape["recall_measured"] >= 0.7
    assert "of the 10 nearest (target 70 %)" in shape["explanation"]


@pytest.mark.parametrize("recall", [0.0, 0.49, 1.0, float("nan")])
def test_a_recall_target_that_makes_no_sense_is_refused(store: Store, target: Collection, recall: float) -> None:
    with pytest.raises(UsageError, match="is not from 0.5 to 0.9999"):
        store.set_recall_target(target, recall)
