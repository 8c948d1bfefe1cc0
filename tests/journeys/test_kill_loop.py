"""SIGKILL at random moments of indexing, many times: 0 lost, 0 doubled, at most one batch done again."""

import multiprocessing
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Lock

import numpy as np
import pytest

from search.finding.snapshot import SnapshotReader
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import painted
from tests.endurance import endure
from tests.kill_worker import COMMIT_ROWS, run

IMAGES = 24
TRIALS = 200
SOAK_TRIALS = 10_000
AT_ONCE = 2
PAUSE_S = 0.005
LONGEST_S = 0.01  # about as long as an undisturbed job embeds a batch and commits

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.kill_worker", "tests.warmed"])
# Starting a process also asks after all others. When two threads ask after the same one, only one is told how it ended,
# and multiprocessing makes 255 of the other's.
one_thread = Lock()


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for number in range(IMAGES):
        painted(number, (16, 12)).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store, to be copied: making one takes longer than a trial."""
    root = tmp_path_factory.mktemp("empty") / "store"
    Store.create(root).close()
    return root


def test_a_kill_at_any_of_many_random_moments_loses_and_doubles_nothing(
    photos: Path, empty: Path, quick_folder: Path
) -> None:
    killed_early = killed_late = 0
    for outcome in trials(photos, empty, quick_folder, range(TRIALS)):
        assert outcome.violations == [], f"trial {outcome.seed}"
        killed_early += outcome.embedded < IMAGES // 2
        killed_late += outcome.embedded >= IMAGES // 2
    assert min(killed_early, killed_late) > TRIALS // 10, "the moments are not spread over the job"


@pytest.mark.slow
@pytest.mark.timeout(0)
def test_ten_thousand_kills_lose_and_double_nothing(
    photos: Path, empty: Path, quick_folder: Path, pytestconfig: pytest.Config
) -> None:
    assert endure(pytestconfig, "kills", SOAK_TRIALS, partial(violations, photos, empty, quick_folder), piece=20) == []


def violations(photos: Path, empty: Path, folder: Path, seeds: range) -> list[str]:
    """Run a trial for each seed; return what they found."""
    outcomes = [trial(photos, empty, folder / str(seed), seed) for seed in seeds]
    return [f"seed {one.seed}: {violation}" for one in outcomes for violation in one.violations]


class Outcome:
    """What became of one trial. embedded: pictures that were embedded before the kill."""

    def __init__(self, seed: int, embedded: int, violations: list[str]) -> None:
        self.seed = seed
        self.embedded = embedded
        self.violations = violations


def trials(photos: Path, empty: Path, folder: Path, seeds: range) -> Iterator[Outcome]:
    """Yield the outcome of each trial, a few running at once."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        waiting = iter(seeds)
        while some := list(islice(waiting, 10 * AT_ONCE)):
            yield from pool.map(lambda seed: trial(photos, empty, folder / str(seed), seed), some)


def trial(photos: Path, empty: Path, folder: Path, seed: int) -> Outcome:
    """Kill a job at a random moment, look, let the next job finish, and look again."""
    shutil.copytree(empty, folder / "store")
    killed = context.Process(target=run, args=(str(folder), None, PAUSE_S, str(photos)))
    with one_thread:
        killed.start()
    # By progress and not by the clock alone, which on a busy machine would spread the moments otherwise. Rather early,
    # as the job goes on while this looks.
    rng = np.random.default_rng(seed)
    reached = 1 + int(IMAGES * rng.random() ** 2)
    while len(lines(folder / "embedded.log")) < reached and is_alive(killed):
        time.sleep(0.001)
    time.sleep(float(rng.uniform(0.0, LONGEST_S)))
    with one_thread:
        killed.kill()
        killed.join()
    embedded = len(lines(folder / "embedded.log"))
    promised = lines(folder / "acknowledged.log")
    violations = [] if killed.exitcode in (0, -signal.SIGKILL) else [f"it ended by itself with {killed.exitcode}"]
    violations += missing(folder, promised, IMAGES if killed.exitcode == 0 else None)
    run(str(folder), None, 0.0, str(photos))
    violations += missing(folder, promised, IMAGES)
    again = len(lines(folder / "embedded.log")) - IMAGES
    violations += [f"{again} pictures were embedded again"] if again > COMMIT_ROWS else []
    acknowledged = Counter(lines(folder / "acknowledged.log"))
    violations += [f"{uri} was acknowledged twice" for uri in promised if acknowledged[uri] > 1]
    if not violations:
        shutil.rmtree(folder)
    return Outcome(seed, embedded, violations)


def missing(folder: Path, promised: list[str], images: int | None) -> list[str]:
    """Return what of the promises does not hold in the store as it is; images: how many there must be, if known."""
    with Store(folder / "store") as store:
        found = {one.name: one for one in store.catalogue.collections()}
        if not found:
            return [f"{len(promised)} images lost with their collection"] if promised else []
        stored = Counter(uri for _, uri in store.catalogue.uris(found["default"].id))
        snapshot = SnapshotReader(store.database, store.blobs, found["default"]).current()
        ids, embeddings = snapshot.rows()
        own = [snapshot.search(row[np.newaxis], 1).ids[0] for row in embeddings]
        faults = verify(store) if images is not None else []
    violations = [f"{uri} is there {stored[uri]} times" for uri in promised if stored[uri] != 1]
    violations += [f"{uri} is there {times} times" for uri, times in stored.items() if times != 1]
    violations += [] if len(ids) == stored.total() else [f"{len(ids)} of {stored.total()} images are searchable"]
    violations += [] if ids.tolist() == own else ["an image is not found by its own embedding"]
    violations += [] if images in (None, len(stored)) else [f"{len(stored)} images instead of {images}"]
    return violations + [str(fault) for fault in faults]


def is_alive(process: BaseProcess) -> bool:
    with one_thread:
        return process.is_alive()


def lines(log: Path) -> list[str]:
    return log.read_text().split() if log.exists() else []
