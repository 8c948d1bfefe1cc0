"""Every registered fault point, with every way to fail there: nothing acknowledged is lost, nothing removed is back."""

import multiprocessing
import re
import signal
from pathlib import Path

import pytest

from search import faults
from search.faults import OBJECT_POINTS, POINTS
from tests import fault_worker

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.kill_worker", "tests.fault_worker"])

OFTEN = ("segment.", "commit.")  # passed once per commit, so the third time is another moment
LOCAL_POINTS = tuple(point for point in POINTS if point not in OBJECT_POINTS)  # for the others: test_kill.py
AT_A_FILE = tuple(
    point for point in LOCAL_POINTS if point.endswith((".write", ".fsync")) and not point.startswith("store")
)
MOMENTS = [
    *((point, 1, action) for point in LOCAL_POINTS for action in ("kill", "eio", "enospc")),
    *((point, 1, "short") for point in AT_A_FILE),
    *((point, 3, "kill") for point in LOCAL_POINTS if point.startswith(OFTEN)),
]


@pytest.mark.parametrize(("point", "nth", "action"), MOMENTS)
def test_a_fault_at_any_point_breaks_no_promise(quick_folder: Path, point: str, nth: int, action: str) -> None:
    process = context.Process(target=fault_worker.work, args=(str(quick_folder), f"{point}:{nth}:{action}"))
    process.start()
    process.join()
    ended_as_told = -signal.SIGKILL if action == "kill" else 1
    assert process.exitcode == ended_as_told, f"{point} was not reached {nth} times, or its failure went unnoticed"
    assert fault_worker.violations(quick_folder) == []
    assert fault_worker.finish(quick_folder) == []


def test_every_point_in_the_code_is_registered_and_every_registered_one_is_in_the_code() -> None:
    root = Path(__file__).parent.parent.parent
    code = "".join(path.read_text() for name in ("search", "indexer", "api") for path in (root / name).rglob("*.py"))
    registered = [
        *POINTS,
        *faults.BACKUP_POINTS,
        *faults.EXPORT_POINTS,
        *faults.RESTORE_POINTS,
        *faults.UPGRADE_POINTS,
    ]
    assert len(registered) == len(set(registered))
    passed = set(re.findall(r'fault\("([a-z.]+)"', code))
    assert passed <= set(registered)
    # Others are put together of a prefix and a step, or handed to what writes.
    steps = set(re.findall(r'f"\{point\}\.([a-z]+)"', code))
    composed = {f"{prefix}.{step}" for prefix in re.findall(r'point="([a-z]+)"', code) for step in steps}
    handed = {point for point in registered if f'"{point}"' in code.replace(f'    "{point}",', "")}
    assert set(registered) <= passed | composed | handed
