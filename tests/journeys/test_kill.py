"""SIGKILL at any moment: what was acknowledged is there exactly once, and at most one batch is done again."""

import json
import multiprocessing
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from search.faults import OBJECT_POINTS, POINTS
from search.finding.snapshot import SnapshotReader
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import painted
from tests.kill_worker import COMMIT_ROWS, ENVIRONMENT, run
from tests.object_server import BUCKET, ObjectServer, empty_bucket, environment, object_system

IMAGES = 48
EARLY_KILLS = 8

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.kill_worker", "tests.warmed"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for number in range(IMAGES):
        painted(number, (16, 12)).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path


def start(folder: Path, fault: str | None = None, pause_s: float = 0.0) -> BaseProcess:
    process = context.Process(target=run, args=(str(folder), fault, pause_s))
    process.start()
    return process


def lines(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []


def finish_and_check(folder: Path) -> None:
    """Run once more to the end, then hold the store against both logs."""
    promised = lines(folder / "acknowledged.log")
    last = start(folder)
    last.join()
    assert last.exitcode == 0
    embedded = Counter(lines(folder / "embedded.log"))
    assert len(embedded) == IMAGES
    assert embedded.total() - IMAGES <= COMMIT_ROWS, "more than one batch was embedded again"
    assert len(set(promised)) == len(promised), "an image was acknowledged twice"
    with Store(folder / "store") as store:
        target = store.catalogue.collection("default")
        stored = [uri for _, uri in store.catalogue.uris(target.id)]
        assert len(stored) == len(set(stored)) == IMAGES
        assert set(promised) <= set(stored)
        snapshot = SnapshotReader(store.database, store.blobs, target).current()
        ids, embeddings = snapshot.rows()
        assert len(ids) == IMAGES
        for image_id, row in zip(ids.tolist(), embeddings, strict=True):
            assert snapshot.search(row[np.newaxis], 1).ids.tolist() == [image_id]
        assert verify(store, deep=True) == []


def check_while_killed(folder: Path) -> None:
    """Before anything is repaired, every promise already holds."""
    promised = lines(folder / "acknowledged.log")
    if not promised:
        return
    with Store(folder / "store") as store:
        target = store.catalogue.collection("default")
        stored = Counter(uri for _, uri in store.catalogue.uris(target.id))
        assert all(stored[uri] == 1 for uri in promised)
        assert len(SnapshotReader(store.database, store.blobs, target).current()) == stored.total()


# A job commits often, makes its store once and publishes once; tests/journeys/test_faults.py covers the other points.
OFTEN = ("segment.", "commit.")
ONCE = ("store.", "generation.")
LOCAL_POINTS = [point for point in POINTS if point not in OBJECT_POINTS]
MOMENTS = [
    (point, nth) for nth in (1, 3) for point in LOCAL_POINTS if point.startswith(OFTEN if nth > 1 else OFTEN + ONCE)
]


@pytest.mark.parametrize(("point", "nth"), MOMENTS)
def test_a_kill_at_each_step_of_the_commit_loses_and_doubles_nothing(folder: Path, point: str, nth: int) -> None:
    killed = start(folder, fault=f"{point}:{nth}:kill")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, f"{point} was not reached {nth} times"
    check_while_killed(folder)
    finish_and_check(folder)


@pytest.fixture
def object_folder(folder: Path, object_server: ObjectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose store keeps its blobs in a bucket, with a cache of its own."""
    object_server.calm()
    own = {"LOOKALIKE_BLOBS": f"s3://{BUCKET}/photos", "LOOKALIKE_CACHE": str(folder / "cache")}
    with environment(object_server) as credentials:
        for name, value in own.items():
            monkeypatch.setenv(name, value)
        (folder / ENVIRONMENT).write_text(json.dumps(credentials | own))
        empty_bucket(object_system())
        yield folder


WRITTEN = ("segment.put", "segment.confirm", "generation.put", "generation.confirm", "cache.rename")


@pytest.mark.parametrize("point", WRITTEN)
def test_a_kill_at_each_step_of_an_upload_loses_and_doubles_nothing(object_folder: Path, point: str) -> None:
    nth = 1 if point.startswith("generation") else 3
    killed = start(object_folder, fault=f"{point}:{nth}:kill")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL, f"{point} was not reached {nth} times"
    check_while_killed(object_folder)
    finish_and_check(object_folder)


@pytest.mark.parametrize("point", ["cache.write", "cache.rename"])
def test_a_kill_while_a_blob_is_fetched_leaves_nothing_in_the_way(object_folder: Path, point: str) -> None:
    finish_and_check(object_folder)
    shutil.rmtree(object_folder / "cache")
    killed = start(object_folder, fault=f"{point}:1:kill")
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    finish_and_check(object_folder)


def test_every_point_of_object_storage_is_killed_at() -> None:
    assert {*WRITTEN, "cache.write"} == set(OBJECT_POINTS)


@pytest.mark.parametrize("trial", range(EARLY_KILLS))
def test_a_kill_while_the_store_is_being_made_leaves_nothing_in_the_way(folder: Path, trial: int) -> None:
    killed = start(folder, pause_s=0.03)
    wait_for(folder / "store", killed)
    time.sleep(float(np.random.default_rng(trial).uniform(0.0, 0.1)))
    killed.kill()
    killed.join()
    check_while_killed(folder)
    finish_and_check(folder)


def wait_for(path: Path, process: BaseProcess) -> None:
    while not path.exists():
        assert process.is_alive()
        time.sleep(0.001)
