"""The built wheel is complete: it works in an environment that has never seen this checkout."""

import json
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.conftest import painted

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    # A copy of what git would give, so that no build folder lands in the checkout.
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\n"):
        if name and (ROOT / name).is_file():
            (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / "source" / name).write_bytes((ROOT / name).read_bytes())
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        folder / "source",
    ]
    subprocess.run(command, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def program(wheel: Path) -> Path:
    """A fresh environment with the wheel; the libraries are those of this one, the project's own code is not."""
    environment = wheel.parent / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    site = environment / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    # A path file adds the libraries, but not the editable install beside them, whose own path files are not read.
    (site / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", site, wheel], check=True
    )
    script = f"import api, sys; sys.exit(0 if api.__file__.startswith({str(site)!r}) else api.__file__)"
    subprocess.run([environment / "bin" / "python", "-c", script], check=True, cwd=wheel.parent)
    return environment / "bin" / "python"


def test_the_wheel_holds_the_product_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert {"indexer/weights/builtin.safetensors", "api/page/index.html", "lookalike.py"} <= set(names)
    assert "migrations/versions/0001_create_catalogue.py" in names
    tops = {name.split("/")[0] for name in names}
    assert tops == {"api", "indexer", "search", "migrations", "lookalike.py", "lookalike-0.1.0.dist-info"}


def test_the_installed_program_indexes_searches_and_finds_copies(program: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        painted(number, (200, 150)).save(photos / f"{number}.png")
    (photos / "copy.png").write_bytes((photos / "0.png").read_bytes())

    def run(*arguments: object) -> dict[str, object]:
        clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "LOOKALIKE"))}
        command: list[str | Path] = [
            program,
            "-m",
            "api",
            "--store",
            tmp_path / "store",
            "--json",
            *map(str, arguments),
        ]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=clean, check=False)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    assert run("index", photos)["indexed"] == 4
    matches = run("search", photos / "1.png")["matches"]
    assert isinstance(matches, list)
    assert matches[0]["path"].endswith("1.png")
    assert run("dedup")["groups_total"] == 1
    assert run("verify", "--deep")["ok"]
    assert run("migrate")["applied"] == []
