"""Blank, one-coloured and tiny queries: they match identical images alone, and every face of the product says why."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import lookalike
from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.queries import Found, QueryRequest
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from search.finding.plain_pictures import MIN_CONTRAST
from search.records import Match
from tests.conftest import own_cache, painted

BLANK = "the picture shows next to nothing, so only identical ones are compared"
TINY = "the picture is only 7 x 30 pixels large, so only identical ones are compared"
PART = "this part of the picture shows next to nothing, so it is compared with nothing"
SIZE = (64, 64)


def striped(amplitude: int) -> Image.Image:
    """Four wide stripes, so far above and below a grey: the standard deviation of the luma is that amplitude."""
    rows = np.where(np.arange(64) // 16 % 2, amplitude, -amplitude)
    return Image.fromarray(np.broadcast_to((120 + rows)[:, None, None], (64, 64, 3)).astype(np.uint8))


def tiny() -> Image.Image:
    return Image.fromarray(np.random.default_rng(4).integers(0, 256, (30, 7, 3), np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files of the same white, another white, black, a grey one with faint stripes, a tiny one, and a picture."""
    folder = tmp_path_factory.mktemp("plain")
    Image.new("RGB", SIZE, "white").save(folder / "white.png")
    Image.new("RGB", SIZE, "white").save(folder / "white again.bmp")
    Image.new("RGB", (96, 64), "white").save(folder / "wide white.png")
    Image.new("RGB", SIZE, "black").save(folder / "black.png")
    striped(int(MIN_CONTRAST) + 2).save(folder / "faint stripes.png")
    tiny().save(folder / "tiny.png")
    painted(3, SIZE).save(folder / "painted.png")
    return folder


@pytest.fixture(scope="module")
def workspace(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workspace]:
    store = tmp_path_factory.mktemp("album") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKALIKE_CACHE", own_cache(tmp_path_factory.mktemp("cache")))
        with lookalike.open(store) as album:
            album.index(folder, progress=False)
        with Workspace(store) as opened:
            yield opened


def search(workspace: Workspace, file: Path, **wanted: object) -> Found:
    request = QueryRequest(**wanted)  # type: ignore[arg-type]
    return workspace.search_by_picture(workspace.collection("default"), file.read_bytes(), file.name, request)


def names(found: Found) -> list[str]:
    return [match.image.uri.rsplit("/", 1)[-1].replace("%20", " ") for match in found.matches]


@pytest.mark.parametrize("accurate", [False, True])
def test_a_blank_picture_matches_only_the_same_bytes_and_the_same_pixels(
    workspace: Workspace, folder: Path, *, accurate: bool
) -> None:
    found = search(workspace, folder / "white.png", accurate=accurate)
    assert sorted(names(found)) == ["white again.bmp", "white.png"]
    assert [match.image.id for match in found.matches] == sorted(match.image.id for match in found.matches)
    assert {(match.score, match.relation) for match in found.matches} == {(1.0, "identical")}
    assert {match.verified for match in found.matches} == {"yes" if accurate else None}
    assert found.note == BLANK


def test_a_blank_picture_that_is_nowhere_matches_nothing(workspace: Workspace, tmp_path: Path) -> None:
    Image.new("RGB", SIZE, (250, 255, 255)).save(tmp_path / "nearly white.png")
    found = search(workspace, tmp_path / "nearly white.png")
    assert (names(found), found.note) == ([], BLANK)


def test_one_pixel_matches_nothing(workspace: Workspace, tmp_path: Path) -> None:
    Image.new("RGB", (1, 1), "white").save(tmp_path / "pixel.png")
    found = search(workspace, tmp_path / "pixel.png")
    assert names(found) == []
    assert found.note == "the picture is only 1 x 1 pixels large, so only identical ones are compared"


def test_a_tiny_picture_matches_only_itself_however_colourful(workspace: Workspace, folder: Path) -> None:
    found = search(workspace, folder / "tiny.png")
    assert (names(found), found.note) == (["tiny.png"], TINY)


def test_eight_pixels_are_enough_to_be_searched_for(workspace: Workspace, tmp_path: Path) -> None:
    tiny().resize((8, 30)).save(tmp_path / "small.png")
    found = search(workspace, tmp_path / "small.png")
    assert (len(found.matches), found.note) == (7, None)


@pytest.mark.parametrize("accurate", [False, True])
def test_a_faint_picture_is_still_searched_for(
    workspace: Workspace, folder: Path, tmp_path: Path, *, accurate: bool
) -> None:
    striped(int(MIN_CONTRAST) + 1).save(tmp_path / "fainter.png")
    found = search(workspace, tmp_path / "fainter.png", accurate=accurate)
    assert (len(found.matches), found.note) == (7, None)
    striped(int(MIN_CONTRAST) - 1).save(tmp_path / "faintest.png")
    assert search(workspace, tmp_path / "faintest.png", accurate=accurate).note == BLANK


def test_identical_images_must_fulfil_the_condition_and_the_first_k_are_named(
    workspace: Workspace, folder: Path
) -> None:
    white = folder / "white.png"
    assert names(search(workspace, white, where='format = "bmp"')) == ["white again.bmp"]
    assert names(search(workspace, white, where='format = "jpeg"')) == []
    both = names(search(workspace, white))
    assert names(search(workspace, white, k=1)) == both[:1]
    assert names(search(workspace, white, k=1, where="width = 64")) == both[:1]


def test_a_part_that_shows_nothing_matches_nothing_and_one_that_shows_something_is_searched_for(
    workspace: Workspace, tmp_path: Path
) -> None:
    picture = Image.new("RGB", (200, 100), "white")
    picture.paste(painted(3, SIZE), (120, 20))
    picture.save(tmp_path / "query.png")
    found = search(workspace, tmp_path / "query.png", box="0,0,64,64")
    assert (names(found), found.note) == ([], PART)
    found = search(workspace, tmp_path / "query.png", box="120,20,64,64", k=1)
    assert (names(found), found.note) == (["painted.png"], None)
    found = search(workspace, tmp_path / "query.png", box="130,30,5,40")
    assert (names(found), found.note) == (
        [], "this part of the picture is only 5 x 40 pixels large, so it is compared with nothing",
    )  # fmt: skip


@pytest.mark.parametrize("accurate", [False, True])
def test_a_stored_blank_image_behaves_alike(workspace: Workspace, folder: Path, *, accurate: bool) -> None:
    target = workspace.collection("default")
    by_name = {name: match.image for match, name in zip(*_all(workspace, folder), strict=True)}
    found = workspace.search_by_image(target, by_name["white.png"], QueryRequest(accurate=accurate))
    assert sorted(names(found)) == ["white again.bmp", "white.png"]
    assert found.note == BLANK
    assert workspace.search_by_image(target, by_name["painted.png"], QueryRequest(accurate=accurate)).note is None


def _all(workspace: Workspace, folder: Path) -> tuple[list[Match], list[str]]:
    found = search(workspace, folder / "painted.png")
    return found.matches, names(found)


def test_the_command_says_why(
    workspace: Workspace, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--store", str(workspace.store.root), "search", str(folder / "white.png")]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert answer["note"] == BLANK
    assert [match["relation"] for match in answer["matches"]] == ["identical", "identical"]
    with pytest.raises(SystemExit, match="0"):
        main([*arguments, "--where", 'format = "jpeg"'])
    assert capsys.readouterr().out.split("\n")[:2] == [BLANK, "no image is identical with it"]
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(workspace.store.root), "search", str(folder / "painted.png"), "--json"])
    assert "note" not in json.loads(capsys.readouterr().out)


@pytest.mark.parametrize(
    ("box", "why"), [("-20,-20,84,84", PART), ("0,0,5,40", "this part of the picture is only 5 x 40 pixels large")]
)
def test_of_a_box_around_nothing_the_command_says_one_line(
    workspace: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str], box: str, why: str
) -> None:
    Image.new("RGB", (200, 100), "white").save(tmp_path / "query.png")
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(workspace.store.root), "search", str(tmp_path / "query.png"), f"--box={box}"])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(why)


def test_http_says_why(workspace: Workspace, folder: Path) -> None:
    with DecoderPool(BUILTIN_PREPARATION, children=1) as pool:
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",))
        with TestClient(create_app(parts)) as client:
            for name, note in (("white.png", BLANK), ("painted.png", None)):
                files = {"image": (name, (folder / name).read_bytes())}
                answer = client.post("/v1/collections/default/search", files=files).json()
                assert answer.get("note") == note


def test_a_script_gets_the_identical_ones_and_a_warning(
    workspace: Workspace, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with lookalike.open(workspace.store.root) as album, caplog.at_level(logging.WARNING, "lookalike"):
        assert [match.relation for match in album.search(folder / "white.png")] == ["identical"] * 2
        assert caplog.messages == [BLANK]
        caplog.clear()
        assert len(album.search(folder / "painted.png")) == 7
        assert caplog.messages == []
