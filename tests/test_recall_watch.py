"""Live searches are checked against exact ones, seldom enough."""

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from api.app import Parts, create_app
from api.readiness import Readiness
from api.thumbnails import Thumbnails
from api.workspace import Workspace
from search.embeddings import unit_rows
from search.finding.generations import Generations
from search.finding.recall_watch import RecallWatch
from search.finding.snapshot import Ranked, Snapshot, SnapshotReader
from search.records import Embeddings
from search.storing.commits import Batch, Committer
from search.storing.store import Store
from tests.fakes import FAKE_DIMS, FakeBackbone, InProcessDecoder, new_image

ROWS = 600


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store whose collection has an approximate index, and a few images newer than it."""
    monkeypatch.setattr("search.finding.generations.EXACT_ROWS", 100)
    with Store.create(tmp_path / "store") as store:
        target = store.open_collection("default", FakeBackbone().space)
        embeddings = unit_rows(np.random.default_rng(0).normal(size=(ROWS + 5, FAKE_DIMS)))
        committer = Committer(store.database, store.blobs, target)
        sequence = committer.commit(Batch([new_image(str(n)) for n in range(ROWS)], embeddings[:ROWS]))
        Generations(store.database, store.blobs, target).publish(sequence)
        committer.commit(Batch([new_image(str(n)) for n in range(ROWS, ROWS + 5)], embeddings[ROWS:]))
    return tmp_path


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


def test_what_a_search_missed_lowers_the_recall_that_is_observed(snapshot: Snapshot) -> None:
    watch = RecallWatch(share_of_time=1.0)
    exact = snapshot.exact_search(query(), 10)
    watch.observe(snapshot, query(), exact)
    watch.settle()
    assert [(one.collection, one.recall, one.checks) for one in watch.observed()] == [("default", 1.0, 1)]
    last = snapshot.exact_search(query(), 15)
    half = np.r_[0:5, 10:15]
    watch.observe(snapshot, query(), Ranked(last.ids[half], last.scores[half]))
    watch.settle()
    assert watch.observed()[0].recall == 0.75


def test_checks_rest_so_that_they_take_their_share_of_time_only(
    snapshot: Snapshot, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = RecallWatch(share_of_time=0.5)
    slow = snapshot.exact_search

    def exact(_self: Snapshot, query: Embeddings, k: int) -> Ranked:
        time.sleep(0.2)
        return slow(query, k)

    monkeypatch.setattr(Snapshot, "exact_search", exact)
    ranked = snapshot.search(query(), 10)
    for _ in range(50):
        watch.observe(snapshot, query(), ranked)
    watch.settle()
    for _ in range(50):
        watch.observe(snapshot, query(), ranked)
    watch.settle()
    assert watch.observed()[0].checks <= 2


def test_a_server_exports_the_recall_of_its_searches(folder: Path) -> None:
    with Workspace(folder / "store", lasting=True) as workspace:
        workspace.recall_watch = RecallWatch(share_of_time=1.0)
        app = create_app(Parts(workspace, Thumbnails(InProcessDecoder()), Readiness(workspace)))  # type: ignore[arg-type]
        client = TestClient(app)
        assert client.post("/v1/collections/default/search", json={"id": "7"}).status_code == 200
        workspace.recall_watch.settle()
        answer = client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    lines = answer.text.splitlines()
    assert 'lookalike_search_recall_checks{collection="default"} 1.0' in lines
    assert any(line.startswith('lookalike_search_recall_at_10{collection="default"}') for line in lines)
