"""Live searches are checked against exact ones, seldom enough."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from starlette.testclient import TestClient

from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from search.embeddings import unit_rows
from search.errors import CorruptFile
from search.finding.following import Delta
from search.finding.generations import Generations
from search.finding.ranked import Ranked
from search.finding.recall_watch import RecallWatch
from search.finding.snapshot import Snapshot, SnapshotReader
from search.records import Embeddings
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, InProcessDecoder, new_image

ROWS = 600


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose collection has an approximate index, and a few images newer than it; the tests only read it."""
    folder = tmp_path_factory.mktemp("watched")
    embeddings = unit_rows(np.random.default_rng(0).normal(size=(ROWS + 5, FAKE_DIMS)))
    with Store.create(folder / "store") as store, pytest.MonkeyPatch.context() as patched:
        patched.setattr("search.finding.generations.EXACT_ROWS", 100)
        target = store.open_collection("default", FakeBackbone().space)
        committer = Committer(store.database, store.blobs, target)
        sequence = committer.commit(Batch([new_image(str(n)) for n in range(ROWS)], embeddings[:ROWS]))
        Generations(store.database, store.blobs, target).publish(sequence)
        committer.commit(Batch([new_image(str(n)) for n in range(ROWS, ROWS + 5)], embeddings[ROWS:]))
    return folder


@pytest.fixture
def snapshot(folder: Path) -> Iterator[Snapshot]:
    with Store(folder / "store") as store:
        yield SnapshotReader(store.database, store.blobs, store.catalogue.collection("default")).current()


def query(seed: int = 1) -> Embeddings:
    return unit_rows(np.random.default_rng(seed).normal(size=(1, FAKE_DIMS)))


def test_an_exact_search_of_an_approximate_index_is_brute_force(snapshot: Snapshot) -> None:
    ids, embeddings = snapshot.rows()
    order = np.argsort(-(embeddings @ query()[0]), kind="stable")[:10]
    found = snapshot.exact_search(query(), 10)
    assert found.ids.tolist() == ids[order].tolist()
    np.testing.assert_allclose(found.scores, (embeddings @ query()[0])[order], rtol=1e-6)


def checked(watch: RecallWatch) -> list[tuple[str, float, int]]:
    watch.settle()
    return [(one.collection, one.recall, one.checks) for one in watch.observed()]


def test_what_a_search_missed_lowers_the_recall_that_is_observed(snapshot: Snapshot) -> None:
    watch = RecallWatch(share_of_time=1.0)
    watch.observe(snapshot, query(), snapshot.exact_search(query(), 10))
    assert checked(watch) == [("default", 1.0, 1)]
    last = snapshot.exact_search(query(), 15)
    half = np.r_[0:5, 10:15]
    watch.observe(snapshot, query(), Ranked(last.ids[half], last.scores[half]))
    assert checked(watch) == [("default", 0.75, 2)]


@pytest.mark.parametrize("left", [8, 2, 0])
def test_an_answer_that_is_too_short_has_lost_what_it_lacks(snapshot: Snapshot, left: int) -> None:
    watch = RecallWatch(share_of_time=1.0)
    true = snapshot.exact_search(query(), 10)
    watch.observe(snapshot, query(), Ranked(true.ids[:left], true.scores[:left]))
    assert checked(watch) == [("default", left / 10, 1)]


def test_an_answer_with_every_image_there_is_has_lost_none(snapshot: Snapshot) -> None:
    removed = np.arange(5, ROWS + 6)  # ids count from 1
    few = Snapshot(snapshot.collection, snapshot.generation, Delta(removed[:0], query()[:0], removed))
    assert len(few) == 4
    watch = RecallWatch(share_of_time=1.0)
    watch.observe(few, query(), few.search(query(), 10))
    assert checked(watch) == [("default", 1.0, 1)]
    none = Snapshot(snapshot.collection, snapshot.generation, Delta(removed[:0], query()[:0], np.arange(1, ROWS + 6)))
    watch.observe(none, query(), none.search(query(), 10))
    assert checked(watch) == [("default", 1.0, 1)]


def test_searches_for_fewer_than_ten_images_say_nothing_about_the_ten_nearest(snapshot: Snapshot) -> None:
    watch = RecallWatch(share_of_time=1.0)
    for k in (0, 1, 9):
        watch.observe(snapshot, query(), snapshot.exact_search(query(), 1), k)
    assert checked(watch) == []
    watch.observe(snapshot, query(), snapshot.exact_search(query(), 20), 1_000)
    assert checked(watch) == [("default", 1.0, 1)]


def test_a_check_that_fails_is_logged_and_the_next_search_is_checked(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    watch = RecallWatch(share_of_time=1.0)
    ranked = snapshot.exact_search(query(), 10)
    for error in (ValueError("a mistake of ours"), CorruptFile("a damaged segment")):
        with monkeypatch.context() as patched:
            patched.setattr(Snapshot, "exact_search", Mock(side_effect=error))
            watch.observe(snapshot, query(), ranked)
            assert checked(watch) == []
        assert str(error) in caplog.text
    watch.observe(snapshot, query(), ranked)
    assert checked(watch) == [("default", 1.0, 1)]


def test_a_search_with_a_condition_is_compared_with_all_that_fulfil_it(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("search.finding.recall_watch.BLOCK_ROWS", 100)
    watch = RecallWatch(share_of_time=1.0)
    ids, embeddings = snapshot.rows()
    scores = embeddings @ query()[0]
    even = ids % 2 == 0
    best = np.argsort(-np.where(even, scores, -2.0))[:12]
    watch.observe(snapshot, query(), Ranked(ids[best[:10]], scores[best[:10]]), matching=lambda: ids[even])
    assert checked(watch) == [("default", 1.0, 1)]
    watch.observe(snapshot, query(), Ranked(ids[best[2:]], scores[best[2:]]), matching=lambda: ids[even])
    assert checked(watch) == [("default", (1.0 + 0.8) / 2, 2)]
    # Since it was answered, half of what it found has ceased to fulfil the condition.
    left = np.sort(ids[best[5:10]])
    watch.observe(snapshot, query(), Ranked(ids[best[:10]], scores[best[:10]]), matching=lambda: left)
    assert checked(watch) == [("default", (1.0 + 0.8 + 1.0) / 3, 3)]


def test_checks_rest_so_that_they_take_their_share_of_time_only(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=100.0)
    clock.monotonic = lambda: clock.now
    monkeypatch.setattr("search.finding.recall_watch.time", clock)
    watch = RecallWatch(share_of_time=0.25)
    ranked = snapshot.exact_search(query(), 10)

    def exact(_self: Snapshot, _query: Embeddings, _k: int) -> Ranked:
        watch.observe(snapshot, query(), ranked)  # another search, while this one is being checked
        clock.now += 2.0
        return ranked

    monkeypatch.setattr(Snapshot, "exact_search", exact)
    checks = []
    for clock.now in (100.0, 107.9, 108.0, 115.9):
        watch.observe(snapshot, query(), ranked)
        checks.append(checked(watch)[0][2])
    assert checks == [1, 1, 2, 2]


def test_a_server_exports_the_recall_of_its_searches(folder: Path) -> None:
    with Workspace(folder / "store", lasting=True) as workspace:
        workspace.recall_watch = RecallWatch(share_of_time=1.0)
        app = create_app(Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace)))  # type: ignore[arg-type]
        client = TestClient(app)
        assert client.post("/v1/collections/default/search", json={"id": "7"}).status_code == 200
        workspace.recall_watch.settle()
        filtered = {"id": "7", "where": "width >= 1"}
        assert client.post("/v1/collections/default/search", json=filtered).status_code == 200
        workspace.recall_watch.settle()
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'lookalike_search_recall_checks{collection="default"} 2.0' in lines
    assert any(line.startswith('lookalike_search_recall_at_10{collection="default"}') for line in lines)
