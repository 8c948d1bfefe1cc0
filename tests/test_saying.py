"""Verdicts by the names people have for pictures, from the command line and over HTTP."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.app import Parts, create_app
from api.cli import main
from api.readiness import Readiness
from api.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.decoding.decoder_pool import DecoderPool
from search.records import ImageRecord
from search.storing.store import Store
from search.storing.verdicts import Verdicts, one_picture, verdict_on
from tests.conftest import Draw
from tests.fakes import FAKE_PREPARATION
from tests.jobs import index

Run = Callable[..., dict[str, object]]
BASE = "/v1/collections/default/verdicts"


@pytest.fixture
def album(local_store: Store, photos: Path, draw: Draw) -> Store:
    for number in range(3):
        draw(f"{number}.png", number)
    index(local_store, photos)
    return local_store


@pytest.fixture
def run(album: Store, capsys: pytest.CaptureFixture[str]) -> Run:
    def printed(*words: object, code: int = 0) -> dict[str, object]:
        with pytest.raises(SystemExit) as ended:
            main(["--store", str(album.root), "--json", "--progress", "none", "verdicts", *map(str, words)])
        assert ended.value.code == code
        shape: dict[str, object] = json.loads(capsys.readouterr().out)
        return shape

    return printed


def pictures(album: Store) -> dict[str, ImageRecord]:
    """Return the images by their digit."""
    target = album.catalogue.collection("default")
    return {image.uri[-5:-4]: image for image in album.catalogue.images(target.id)}


def said(album: Store) -> list[tuple[str, str, str]]:
    names = {image.sha256: digit for digit, image in pictures(album).items()}
    pairs = ((names[one.first], names[one.second], one.said) for one in Verdicts(album.database).all())
    return sorted((min(one, other), max(one, other), word) for one, other, word in pairs)


def test_a_picture_is_named_by_path_key_id_or_content(run: Run, album: Store, photos: Path) -> None:
    images = pictures(album)
    run("say", photos / "0.png", images["1"].key, "keep_both")
    run("say", images["2"].sha256.hex(), images["0"].id, "not duplicate")
    assert said(album) == [("0", "1", "keep_both"), ("0", "2", "not_duplicate")]


def test_merging_and_splitting_say_the_same_of_the_keeper_and_each_of_the_others(
    run: Run, album: Store, photos: Path
) -> None:  # noqa: E501
    names = [photos / f"{number}.png" for number in range(3)]
    run("merge", *names)
    assert said(album) == [("0", "1", "duplicate"), ("0", "2", "duplicate")]
    run("split", names[0], names[2])
    assert said(album) == [("0", "1", "duplicate"), ("0", "2", "not_duplicate")]


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("say", "nothing.png", "0.png", "duplicate"), 2, "'nothing.png'"),
        (("merge", "0.png"), 2, "two pictures"),
        (("say", "a" * 64, "a" * 64, "duplicate"), 2, "both are"),
        (("say", "a" * 64, "b" * 64, "twins"), 2, "'twins'"),
    ],
)
def test_what_cannot_be_said_is_refused_and_nothing_is_written(
    run: Run, album: Store, words: tuple[str, ...], code: int, complaint: str
) -> None:
    error = run(*words, code=code)["error"]
    assert isinstance(error, dict)
    assert complaint in error["message"]
    assert said(album) == []


def test_an_export_overwrites_nothing_unless_it_is_forced_to(run: Run, tmp_path: Path) -> None:
    run("say", "a" * 64, "b" * 64, "stack")
    place = tmp_path / "said.csv"
    place.write_text("mine")
    assert "already" in str(run("export", place, code=4))
    assert place.read_text() == "mine"
    assert run("export", place, "--force")["exported"] == 1
    assert "stack" in place.read_text()
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def test_verdicts_travel_over_http(album: Store) -> None:
    one, other, third = album.catalogue.images(album.catalogue.collection("default").id)
    with Workspace(album.root) as workspace, DecoderPool(FAKE_PREPARATION, children=1) as pool:
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",))
        client = TestClient(create_app(parts))
        body = {"first": str(one.id), "second": other.sha256.hex(), "verdict": "duplicate"}
        answer = client.post(BASE, json=body)
        assert answer.status_code == 201
        many = {"items": [{"first": one.key, "second": third.key, "verdict": "keep_both"}]}
        assert client.post(BASE, json=many).status_code == 201
        page = client.get(f"{BASE}?limit=1").json()
        assert len(page["items"]) == 1
        rest = client.get(f"{BASE}?cursor={page['next_cursor']}").json()
        assert sorted(item["verdict"] for item in page["items"] + rest["items"]) == ["duplicate", "keep_both"]
        assert client.post(BASE, json=body | {"first": "/etc/passwd"}).status_code == 404
        assert client.post(BASE, json=body | {"verdict": "twins"}).status_code == 422


@pytest.mark.parametrize(
    ("word", "same", "apart"),
    [
        ("duplicate", True, False),
        ("same", True, False),
        ("keep_both", True, True),
        ("different", False, True),
        ("not_duplicate", None, True),
        ("stack", None, True),
    ],
)
def test_what_each_word_means_for_scores_and_for_groups(word: str, *, same: bool | None, apart: bool) -> None:
    verdict = verdict_on("a" * 64, "b" * 64, word)
    assert (verdict.same, one_picture(verdict.said), verdict.keeps_apart, verdict.is_duplicate) == (
        same, same, apart, not apart
    )  # fmt: skip
