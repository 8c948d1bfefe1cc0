"""Accurate searches: the same picture is found however it was edited, and everything else is said not to be it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

import lookalike
from api.cli import main
from indexer.procedural.pictures import procedural_images
from search.errors import UsageError
from search.records import Edit, Match
from tests.conftest import own_cache
from tests.indexed_album import indexed_album

PICTURES = 12
SOUGHT = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(procedural_images(PICTURES, 5)):
        Image.fromarray(pixels).resize((420, 420), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def album(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lookalike.Lookalike]:
    with indexed_album(folder, tmp_path_factory) as opened:
        yield opened


def sought(folder: Path) -> Image.Image:
    with Image.open(folder / f"{SOUGHT}.png") as picture:
        return picture.convert("RGB")


def saved(picture: Image.Image, tmp_path: Path) -> Path:
    path = tmp_path / "query.jpg"
    picture.save(path, quality=70)
    return path


def name(match: Match) -> str:
    return Path(match.image.uri).stem


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "a quarter turn": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "mirrored": ImageOps.mirror,
    "a third of it": lambda picture: picture.crop((120, 60, 370, 300)),
    "mirrored, cut and small": lambda picture: ImageOps.mirror(picture).crop((0, 0, 330, 330)).resize((230, 230)),
    "framed": lambda picture: ImageOps.expand(picture.resize((250, 250)), 150, (20, 90, 160)),
}


KINDS = {
    "a quarter turn": {"rotated"},
    "mirrored": {"mirrored"},
    "a third of it": {"cropped"},
    "mirrored, cut and small": {"mirrored", "cropped", "scaled"},
    "framed": {"framed", "scaled"},
}


@pytest.mark.parametrize("edit", EDITS)
def test_the_same_picture_is_first_and_verified_however_it_was_edited(
    album: lookalike.Lookalike, folder: Path, tmp_path: Path, edit: str
) -> None:
    first, *others = album.search(saved(EDITS[edit](sought(folder)), tmp_path), k=PICTURES, accurate=True)
    assert (name(first), first.relation, first.verified) == (str(SOUGHT), "same_picture", "yes")
    assert KINDS[edit] <= {done.kind for done in first.edits or ()}
    assert len(others) == PICTURES - 1
    assert {match.verified for match in others} <= {"no", "cannot"}
    assert "same_picture" not in {match.relation for match in others}


def test_the_same_pixels_are_identical_and_come_before_an_edit(
    album: lookalike.Lookalike, folder: Path, tmp_path: Path
) -> None:
    best = album.search(folder / f"{SOUGHT}.png", k=1, accurate=True)[0]
    assert (best.relation, best.verified, best.edits) == ("identical", "yes", ())
    for file, edit in (("again.webp", Edit("converted")), ("again.png", Edit("resaved"))):
        with Image.open(folder / f"{SOUGHT}.png") as picture:
            picture.save(tmp_path / file, lossless=True, compress_level=1)
        best = album.search(tmp_path / file, k=1, accurate=True)[0]
        assert (best.relation, best.edits) == ("identical", (edit,))


def test_a_stored_image_is_looked_at_too(album: lookalike.Lookalike, folder: Path) -> None:
    key = (folder / "2.png").as_uri()
    best, second = album.search(key=key, k=2, accurate=True)
    assert (best.image.key, best.relation, best.verified) == (key, "identical", "yes")
    assert second.verified in ("no", "cannot")


def test_a_stored_image_finds_its_turned_copy(
    album: lookalike.Lookalike, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_CACHE", own_cache(tmp_path / "cache"))
    both = tmp_path / "both"
    both.mkdir()
    for number in range(4, 9):
        (both / f"{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    sought(folder).transpose(Image.Transpose.ROTATE_90).save(both / "turned.jpg", quality=80)
    with lookalike.open(tmp_path / "store") as opened:
        opened.index(both, progress=False)
        itself, copy = opened.search(key=(both / f"{SOUGHT}.png").as_uri(), k=2, accurate=True)
        assert (name(itself), itself.relation) == (str(SOUGHT), "identical")
        assert (name(copy), copy.relation, copy.score > 0.9) == ("turned", "same_picture", True)
        (both / f"{SOUGHT}.png").unlink()
        found = opened.search(key=(both / f"{SOUGHT}.png").as_uri(), k=6, accurate=True)
        assert {match.verified for match in found[1:]} == {"cannot"}


def test_a_search_that_does_not_look_says_nothing_about_pixels(album: lookalike.Lookalike, folder: Path) -> None:
    assert {match.verified for match in album.search(folder / "1.png", k=5)} == {None}


def test_a_box_finds_what_is_inside_it(album: lookalike.Lookalike, folder: Path, tmp_path: Path) -> None:
    both = Image.new("RGB", (900, 500), (200, 190, 170))
    both.paste(sought(folder), (440, 40))
    with Image.open(folder / "7.png") as other:
        both.paste(other.convert("RGB").resize((380, 380)), (20, 60))
    path = saved(both, tmp_path)
    assert name(album.search(path, k=1, box="440,40,420,420")[0]) == str(SOUGHT)
    best = album.search(path, k=1, box="20,60,380,380", accurate=True)[0]
    assert (name(best), best.relation, best.verified) == ("7", "same_picture", "yes")


def test_a_box_needs_the_picture_itself(album: lookalike.Lookalike, folder: Path) -> None:
    with pytest.raises(UsageError, match="lies outside the picture, which has 420 x 420"):
        album.search(folder / "1.png", box="500,0,10,10")
    with pytest.raises(UsageError, match="instead of its id or key"):
        album.search(key=(folder / "1.png").as_uri(), box="0,0,10,10")


def test_whose_file_is_gone_cannot_be_verified_and_is_still_found(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_CACHE", own_cache(tmp_path / "cache"))
    copies = tmp_path / "copies"
    copies.mkdir()
    for number in (1, SOUGHT):
        (copies / f"{number}.png").write_bytes((folder / f"{number}.png").read_bytes())
    with lookalike.open(tmp_path / "store") as album:
        album.index(copies, progress=False)
        (copies / f"{SOUGHT}.png").unlink()
        Image.fromarray(np.zeros((5, 5, 3), np.uint8)).save(copies / "1.png")  # another picture by now
        best, other = album.search(saved(sought(folder), tmp_path), k=2, accurate=True)
        assert (name(best), best.relation, best.verified, best.edits) == (str(SOUGHT), "probable", "cannot", None)
        assert (name(other), other.verified) == ("1", "cannot")


def test_the_command_says_what_was_verified_and_how_long_it_took(
    album: lookalike.Lookalike, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    query = saved(ImageOps.mirror(sought(folder)), tmp_path)
    arguments = ["--store", str(album.store), "search", str(query), "-k", "2", "--accurate"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert [match["verified"] for match in answer["matches"]][0] == "yes"
    assert answer["took_ms"]["verify"] > 0
    with pytest.raises(SystemExit, match="0"):
        main(arguments)
    shown = capsys.readouterr().out
    assert "verified" in shown
    assert "same_picture" in shown
    assert "1: mirrored, " in shown


def test_the_explanation_shows_both_pictures_and_says_where_they_lie(
    album: lookalike.Lookalike, folder: Path, tmp_path: Path
) -> None:
    query = saved(sought(folder).crop((100, 100, 400, 400)), tmp_path)
    arguments = ["--store", str(album.store), "search", str(query), "-k", "5", "--accurate"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--explain", str(tmp_path / "why")])
    picture, facts = sorted((tmp_path / "why").iterdir(), key=lambda path: path.suffix, reverse=True)
    with Image.open(picture) as shown:
        assert shown.width > 3 * 400
    said = json.loads(facts.read_text())
    assert said["answer"] == "yes"
    assert "cropped to 51 % of its area" in said["sentences"]
    (cropped,) = [edit for edit in said["edits"] if edit["kind"] == "cropped"]
    assert cropped["amount"] == pytest.approx(0.51, abs=0.01)
    assert (said["relation"], said["verified"], said["id"]) == ("same_picture", "yes", str(int(facts.stem[4:])))
    assert 0 < said["score"] < 1
    np.testing.assert_allclose(said["quad"], [[100, 100], [400, 100], [400, 400], [100, 400]], atol=3)


def test_a_match_whose_file_is_gone_is_shown_and_said_not_to_be_explained(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "photos"
    shutil.copytree(folder, photos)
    arguments = ["--store", str(tmp_path / "store"), "--progress", "none"]
    query = saved(sought(photos).crop((100, 100, 400, 400)), tmp_path)
    asked = [*arguments, "--json", "search", str(query), "-k", "1", "--accurate"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "index", str(photos)])
    with pytest.raises(SystemExit, match="0"):
        main(asked)
    (match,) = json.loads(capsys.readouterr().out.splitlines()[-1])["matches"]
    Path(match["path"]).unlink()
    with pytest.raises(SystemExit, match="0"):
        main([*asked, "--explain", str(tmp_path / "why")])
    told = capsys.readouterr()
    assert json.loads(told.out)["matches"][0]["id"] == match["id"]
    assert "not explained: the file of image" in told.err
    assert not list((tmp_path / "why").iterdir())


def test_an_explanation_needs_a_picture_and_an_accurate_search(
    album: lookalike.Lookalike, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["--id", "1", "--accurate"], [str(folder / "1.png")]):
        with pytest.raises(SystemExit, match="2"):
            main(["--store", str(album.store), "search", *arguments, "--explain", str(tmp_path / "why")])
        assert "--explain needs an IMAGE file and --accurate" in capsys.readouterr().err
    assert not (tmp_path / "why").exists()
