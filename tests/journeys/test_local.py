"""`index --local`: a small part of a picture is found by what it shares with it."""

import json
from pathlib import Path

import pytest
from PIL import Image

import lookalike
from api.cli import main
from indexer.procedural.pictures import procedural_images
from tests.conftest import own_cache

PICTURES = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number, pixels in enumerate(procedural_images(PICTURES, 5)):
        Image.fromarray(pixels).resize((420, 420), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    with Image.open(folder / "1.png") as picture:  # one more, as those that come from cameras
        picture.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.jpg", quality=90)
    return folder


def test_local_features_are_asked_for_once_counted_and_found(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_CACHE", own_cache(tmp_path / "cache"))
    store = ["--store", str(tmp_path / "store"), "--json", "--progress", "none"]
    with pytest.raises(SystemExit, match="0"):
        main([*store, "index", str(folder / "0.png"), "--local", "--workers", "1"])
    assert json.loads(capsys.readouterr().out)["local"] == 1
    with pytest.raises(SystemExit, match="2"):
        main([*store, "index", str(folder), "--decode", "gpu"])
    assert "--no-local" in capsys.readouterr().out
    with lookalike.open(tmp_path / "store") as opened:
        assert opened.index(folder, progress=False).counts.local == PICTURES, "the collection remembers"
        with Image.open(folder / "5.png") as picture:
            picture.crop((200, 120, 350, 270)).save(tmp_path / "part.jpg", quality=80)
        (match,) = opened.search(tmp_path / "part.jpg", accurate=True, k=1)
        assert (Path(match.image.uri).name, match.relation) == ("5.png", "same_picture")
        assert opened.index(folder, local=False, progress=False).counts.local is None
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(tmp_path / "store"), "status"])
    assert f"{PICTURES + 1} of {PICTURES + 1} images have local features" in capsys.readouterr().out
