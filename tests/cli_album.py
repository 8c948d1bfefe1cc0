"""An album in a store, and the command line that is asked about it, with the built-in backbone and real children."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from api.cli import main
from tests.conftest import painted

Run = Callable[..., tuple[int, dict]]  # type: ignore[type-arg]


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ (three pictures, one copy, one near copy, two bad files) and a store/ that holds them."""
    folder = tmp_path_factory.mktemp("album")
    photos = folder / "photos"
    photos.mkdir()
    for number in range(3):
        painted(number, (320, 240)).save(photos / f"{number}.png")
    (photos / "0 again.png").write_bytes((photos / "0.png").read_bytes())
    painted(1, (320, 240)).save(photos / "1 small.jpg", quality=70)
    (photos / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    (photos / "notes.txt").write_text("no picture")
    with pytest.raises(SystemExit) as stop:
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(photos)])
    assert stop.value.code == 3
    return folder


@pytest.fixture
def run(album: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command with --json on the album's store; return its exit code and its one JSON object."""

    def call(*arguments: object, store: Path | None = None) -> tuple[int, dict]:  # type: ignore[type-arg]
        capsys.readouterr()
        code = 0
        try:
            main(["--store", str(store or album / "store"), "--progress", "none", "--json", *map(str, arguments)])
        except SystemExit as stop:
            code = int(stop.code or 0)
        return code, json.loads(capsys.readouterr().out)

    return call


def names(images: list[dict]) -> list[str]:  # type: ignore[type-arg]
    return [Path(image["path"]).name for image in images]
