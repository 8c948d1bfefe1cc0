"""Every registered fault point, with every way to fail there: nothing acknowledged is lost, nothing removed is back."""

import multiprocessing
import os
import re
import shutil
import signal
import stat
from collections.abc import Callable
from itertools import count
from multiprocessing.forkserver import ensure_running
from pathlib import Path

import pytest

from search import faults
from search.errors import LookalikeError, StoreUnavailable
from search.faults import OBJECT_POINTS, POINTS
from tests import fault_journeys, fault_worker
from tests.conftest import new_database
from tests.fault_journeys import CATALOGUE, JOURNEYS

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.kill_worker", "tests.fault_journeys", "tests.warmed"])


def ways(point: str) -> tuple[str, ...]:
    """Return how a point can fail; a write that ends early needs a file that is being written."""
    return ("kill", "eio", "enospc", "short") if point.endswith(AT_A_FILE) else ("kill", "eio", "enospc")


AT_A_FILE = (".write", ".fsync", ".put")
OFTEN = ("segment.", "commit.")  # passed once per commit, so the third time is another moment
LOCAL_POINTS = tuple(point for point in POINTS if point not in OBJECT_POINTS)
REGISTERED = [point for name, points in vars(faults).items() if name.endswith("_POINTS") for point in points]
REGISTERED += LOCAL_POINTS
MOMENTS = [
    *((point, 1, action) for point in LOCAL_POINTS for action in ways(point)),
    *((point, 3, "kill") for point in LOCAL_POINTS if point.startswith(OFTEN)),
]
JOB_MOMENTS = [
    *((name, point, 1, action) for name, one in JOURNEYS.items() for point in one.points for action in ways(point)),
    # Rolling back passes them a second time.
    *(("upgrade", point, 2, action) for point in ("promote.flip", "promote.done") for action in ("kill", "eio")),
    # After two segments and a generation were kept, a copy that was lost is fetched.
    *(("object storage", "cache.rename", 4, action) for action in ways("cache.rename")),
]
# An upload is tried again, and a blob that cannot be kept in the cache is fetched when it is needed.
HEALED = {
    *((point, 1, action) for point in ("segment.put", "generation.put") for action in ("eio", "enospc")),
    *(("cache.rename", 1, action) for action in ("eio", "enospc")),
}


def what_was_reached(point: str, action: str) -> str:
    return f"{point} {action} {'at a file' if point.endswith(AT_A_FILE) else 'at no file'}"


@pytest.mark.parametrize(("point", "nth", "action"), MOMENTS)
def test_a_fault_at_any_point_breaks_no_promise(quick_folder: Path, point: str, nth: int, action: str) -> None:
    process = context.Process(target=fault_worker.work, args=(str(quick_folder), f"{point}:{nth}:{action}"))
    process.start()
    process.join()
    ended_as_told = -signal.SIGKILL if action == "kill" else 1
    assert process.exitcode == ended_as_told, f"{point} was not reached {nth} times, or its failure went unnoticed"
    assert fault_worker.reached(quick_folder) == what_was_reached(point, action)
    assert fault_worker.violations(quick_folder) == []
    assert fault_worker.finish(quick_folder) == []


@pytest.fixture
def prepared(
    quick_folder: Path, empty_store: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], Path]:
    """A function that makes a folder with what is there before a journey begins."""

    def prepare(name: str) -> Path:
        ensure_running()  # what starts later keeps the environment of that moment for all processes
        shutil.copytree(empty_store, quick_folder / "store")
        if name == "restore into PostgreSQL":
            (quick_folder / CATALOGUE).write_text(new_database(request.getfixturevalue("postgresql")))
        fault_journeys.surroundings(name, quick_folder, monkeypatch)
        JOURNEYS[name].prepare(quick_folder)
        return quick_folder

    return prepare


@pytest.mark.parametrize(("name", "point", "nth", "action"), JOB_MOMENTS)
def test_a_fault_in_a_job_that_moves_a_store_or_in_object_storage_breaks_none_either(
    prepared: Callable[[str], Path], name: str, point: str, nth: int, action: str
) -> None:
    root = prepared(name)
    if action == "kill":
        killed_at(name, root, f"{point}:{nth}:kill")
    else:
        failed_at(name, root, f"{point}:{nth}:{action}", heals=(point, nth, action) in HEALED)
    assert fault_worker.reached(root) == what_was_reached(point, action)
    assert JOURNEYS[name].violations(root, action == "kill") == []
    assert JOURNEYS[name].finish(root) == []


def killed_at(name: str, root: Path, fault: str) -> None:
    process = context.Process(target=fault_journeys.work, args=(name, str(root), fault))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL, f"{fault} was not reached"


def failed_at(name: str, root: Path, fault: str, *, heals: bool) -> None:
    patch = fault_worker.armed(root, fault)
    try:
        JOURNEYS[name].run(root)
    except (OSError, LookalikeError):
        assert not heals
    else:
        assert heals, f"{fault} was not reached, or went unnoticed"
    finally:
        patch.undo()


@pytest.mark.parametrize(("name", "files"), [("backup", 4), ("backup.tar", 1), ("export", 3)])
def test_a_file_that_ends_early_is_part_of_no_backup_and_no_export(
    prepared: Callable[[str], Path], name: str, files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = prepared(name)
    for nth in count(1):
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", ending_early(nth))
            try:
                JOURNEYS[name].run(root)
            except StoreUnavailable:
                assert JOURNEYS[name].violations(root, False) == []
                continue
        break
    assert nth - 1 == files, "not every file was cut"


def ending_early(nth: int) -> object:
    """Return an fsync that takes the end of the nth file away, and says so."""
    sync, files = os.fsync, count(1)

    def fsync(handle: int) -> None:
        if stat.S_ISREG(os.fstat(handle).st_mode) and next(files) == nth:
            os.ftruncate(handle, max(0, os.fstat(handle).st_size - 3))
            raise OSError(5, "short write")
        sync(handle)

    return fsync


def test_every_registered_point_is_hit_in_every_way_there_is() -> None:
    hit = {(point, action) for point, _, action in MOMENTS} | {(point, action) for _, point, _, action in JOB_MOMENTS}
    assert hit == {(point, action) for point in REGISTERED for action in ways(point)}


def test_every_point_in_the_code_is_registered_and_every_registered_one_is_in_the_code() -> None:
    root = Path(__file__).parent.parent.parent
    code = "".join(path.read_text() for name in ("search", "indexer", "api") for path in (root / name).rglob("*.py"))
    assert len(REGISTERED) == len(set(REGISTERED))
    passed = set(re.findall(r'\bfault\("([a-z.]+)"', code))
    assert passed <= set(REGISTERED)
    # Others are put together of a prefix and a step, or handed to what writes.
    steps = set(re.findall(r'f"\{point\}\.([a-z]+)"', code))
    composed = {f"{prefix}.{step}" for prefix in re.findall(r'point="([a-z]+)"', code) for step in steps}
    handed = {point for point in REGISTERED if f'"{point}"' in code.replace(f'    "{point}",', "")}
    assert set(REGISTERED) <= passed | composed | handed
