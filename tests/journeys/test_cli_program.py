"""The command line as a program of its own: interrupted, killed, and what it loads."""

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from search.storing.store import Store
from search.upkeep.verification import verify
from tests.cli_album import album
from tests.conftest import painted

__all__ = ["album"]

MANY = 120
# The real program, but for one thing: it commits much sooner than after two seconds.
SOONER = "import search.storing.commits as commits; commits.MAX_BATCH_S = 0.1; "
# And for another: from the second on commits take long, however slowly the test is told of the first.
SLOWER = """
import itertools, time
commit, times = commits.Committer.commit, itertools.count()
commits.Committer.commit = lambda *batch: (time.sleep(5 * (next(times) > 0)), commit(*batch))[1]
"""
RUN = "from api.__main__ import main; main()"
PROGRAM = [sys.executable, "-c", SOONER + RUN]
INTERRUPTED = [sys.executable, "-c", SOONER + SLOWER + RUN]


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys\n"
        "from api.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(','.join(sorted({'torch', 'timm', 'fastapi', 'PIL'} & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with more pictures than are indexed before somebody notices the first commit and interrupts."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(MANY):
        painted(number, (160, 120)).save(folder / f"{number}.jpg")
    return folder


def interrupt(command: list[str], number: signal.Signals) -> tuple[int, str, int]:
    """Send a signal after the first commit; return the exit code, the last line and how many were acknowledged."""
    with subprocess.Popen([*INTERRUPTED, *command], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "acknowledged" in line)
        process.send_signal(number)
        after = process.stderr.read().splitlines()
    return process.returncode, after[-1] if after else "", json.loads(told)["images"]


def test_sigterm_ends_indexing_with_130_and_keeps_what_was_acknowledged(many: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = ["--store", str(store), "--progress", "json", "--json", "index", str(many)]
    code, last, acknowledged = interrupt(command, signal.SIGTERM)
    assert code == 130
    assert "run the same command again" in last
    with Store(store) as opened:
        kept = opened.catalogue.count_images(opened.catalogue.collection("default").id)
    assert acknowledged <= kept < MANY
    again = subprocess.run([*PROGRAM, *command], capture_output=True, text=True, check=True)
    shape = json.loads(again.stdout)
    assert shape["unchanged"] == kept
    assert shape["indexed"] == MANY - kept


def test_a_kill_of_the_real_program_costs_at_most_a_batch(many: Path, tmp_path: Path) -> None:
    settings = ["--store", str(tmp_path / "store"), "--progress", "json", "--json"]
    acknowledged = 0
    for _ in range(2):
        code, _, images = interrupt([*settings, "index", str(many)], signal.SIGKILL)
        assert code == -signal.SIGKILL
        acknowledged += images
    done = subprocess.run([*PROGRAM, *settings, "index", str(many)], capture_output=True, text=True, check=True)
    shape = json.loads(done.stdout)
    assert shape["seen"] == MANY
    assert acknowledged <= shape["unchanged"] < MANY
    assert shape["indexed"] == MANY - shape["unchanged"]
    with Store(tmp_path / "store") as store:
        assert verify(store, deep=True) == []


def test_the_journeys_with_the_built_in_backbone_load_no_torch(album: Path, tmp_path: Path) -> None:
    shutil.copytree(album / "store", tmp_path / "store")
    painted(7, (320, 240)).save(album.parent / "new.jpg")
    commands = [
        ["index", str(album.parent / "new.jpg")],
        ["search", str(album / "photos" / "1 small.jpg")],
        ["check", str(album / "photos" / "0.png")],
        ["dedup", "--threshold", "0.9"],
    ]
    program = f"""
import sys
import api.http.server, api.jobs.dedup_job, api.jobs.import_job, api.jobs.plan_jobs, api.quality.running, api.upgrading
from api.cli import main
assert "torch" not in sys.modules, "something that is imported imports it"
for command in {commands!r}:
    try:
        main(["--store", {str(tmp_path / "store")!r}, "--progress", "none", *command])
    except SystemExit as ended:
        assert not ended.code, (command, ended.code)
    assert "torch" not in sys.modules, command
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_program_starts_without_what_looks_at_pictures() -> None:
    loaded = "import sys, api.cli; print(*({'PIL', 'cv2', 'torch', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not done.stdout.split()
