"""Sources from the command line: archives, manifests, prune, watch; exit codes and the one JSON object."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from api.cli import main
from tests.conftest import Draw
from tests.test_tars import packed, samples

Run = Callable[..., tuple[int, dict]]  # type: ignore[type-arg]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `index` with --json; return its exit code and its one JSON object."""

    def call(*arguments: object) -> tuple[int, dict]:  # type: ignore[type-arg]
        capsys.readouterr()
        code = 0
        try:
            main(["--store", str(tmp_path / "store"), "--progress", "none", "--json", "index", *map(str, arguments)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, json.loads(capsys.readouterr().out)

    return call


def test_archives_manifests_and_folders_in_one_command(run: Run, photos: Path, draw: Draw, tmp_path: Path) -> None:
    draw("a.png", 101)
    draw("thumbs/b.png", 102)
    other = tmp_path / "other"
    other.mkdir()
    packed(other / "1.tar.gz", samples(range(3)), "w:gz")
    (other / "m.csv").write_text(f"path,key,year\n{photos / 'a.png'},sku,2024\n")
    code, shape = run(photos, other / "*.tar.gz", other / "m.csv", "--exclude", "thumbs", "--exclude", "*.gif")
    assert (code, shape["indexed"], shape["ignored"], shape["failed"]) == (0, 5, 0, 0)


def test_a_guard_exits_with_4_and_still_prints_what_was_done(run: Run, photos: Path, draw: Draw) -> None:
    for number in range(6):
        draw(f"{number}.png", number)
    assert run(photos)[0] == 0
    for number in range(3):
        (photos / f"{number}.png").unlink()
    draw("new.png", 50)
    code, shape = run(photos, "--prune")
    assert (code, shape["indexed"], shape["vanished"], shape["removed"]) == (4, 1, 3, 0)
    assert "--max-fraction 0.5" in shape["refused"]
    code, shape = run(photos, "--prune", "--max-fraction", "0.5")
    assert (code, shape["vanished"], shape["removed"]) == (0, 3, 3)
    assert "refused" not in shape


def test_a_missing_root_is_offline_when_it_was_indexed_and_a_mistake_when_not(
    run: Run, photos: Path, draw: Draw, tmp_path: Path
) -> None:
    draw("a.png", 1)
    run(photos)
    photos.rename(tmp_path / "unplugged")
    code, shape = run(photos)
    assert (code, shape["error"]["kind"]) == (4, "GuardRefused")
    assert "are kept" in shape["error"]["message"]
    assert run(tmp_path / "never")[0] == 2
    code, shape = run(photos, tmp_path / "unplugged")
    assert (code, shape["offline"]) == (0, [photos.as_uri()])


def test_metadata_that_lies_apart_in_a_packed_archive_is_told_with_the_remedy(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    members = samples(range(2))
    archive = packed(tmp_path / "1.tar.gz", members | {"0000.json": b'{"n": 1}'}, "w:gz")
    assert run(archive)[1]["metadata_apart"] == {archive.as_uri(): 1}
    archive.touch()
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(tmp_path / "store"), "--progress", "none", "index", str(archive)])
    said = capsys.readouterr().err
    assert f"{archive}: 1 sample keeps its metadata apart from the picture" in said
    assert "tar --sort=name" in said


def test_a_table_that_is_no_manifest_is_a_usage_error(run: Run, photos: Path) -> None:
    (photos / "m.csv").write_text("name\nx\n")
    code, shape = run(photos / "m.csv")
    assert code == 2
    assert "its columns are: name" in shape["error"]["message"]
    assert run("s3x://bucket/x")[0] == 2


@pytest.fixture
def watched(photos: Path, draw: Draw, tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    draw("a.png", 1)
    arguments = ["--store", tmp_path / "store", "--json", "--progress", "plain", "index", photos, "--watch"]
    process = subprocess.Popen(
        [sys.executable, "-m", "api", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    yield process
    process.kill()
    process.communicate()


def said(process: "subprocess.Popen[str]", word: str) -> str:
    assert process.stderr is not None
    began = time.monotonic()
    while time.monotonic() - began < 100 and (line := process.stderr.readline()):
        if word in line:
            return line
    pytest.fail(f"nobody said {word!r}")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watching_goes_on_until_interrupted_and_then_sums_up(
    watched: "subprocess.Popen[str]", draw: Draw, number: signal.Signals
) -> None:
    assert "1 indexed" in said(watched, "watching")
    draw("b.png", 2)
    assert "1 indexed" in said(watched, "changed")
    watched.send_signal(number)
    out, err = watched.communicate(timeout=60)
    shape = json.loads(out)
    assert (watched.returncode, shape.get("indexed"), shape.get("failed")) == (0, 2, 0), (shape, err)
