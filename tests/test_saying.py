"""Verdicts by the names people have for pictures, from the command line and over HTTP."""

import json
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
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


def test_of_files_with_the_same_bytes_splitting_keeps_all_and_merging_takes_it_back(
    run: Run, album: Store, photos: Path
) -> None:
    copy = photos / "copy.png"
    copy.write_bytes((photos / "0.png").read_bytes())
    index(album, photos)
    run("split", photos / "0.png", copy)
    assert [verdict.keeps_all for verdict in Verdicts(album.database).all()] == [True]
    run("merge", copy, photos / "0.png")
    assert [verdict.keeps_all for verdict in Verdicts(album.database).all()] == [False]
    run("say", copy, photos / "0.png", "keep both")
    run("export", photos / "said.csv")
    content = pictures(album)["0"].sha256.hex()
    run("merge", content, content)
    run("import", photos / "said.csv")
    assert [verdict.keeps_all for verdict in Verdicts(album.database).all()] == [True]


@pytest.mark.parametrize("word", ["duplicate", "keep_both"])
def test_nothing_is_said_of_an_image_and_itself_whatever_names_it(
    run: Run, album: Store, photos: Path, word: str
) -> None:
    image = pictures(album)["0"]
    for other in (image.key, image.id, photos / "0.png"):
        error = run("say", photos / "0.png", other, word, code=2)["error"]
        assert "are one image, of which nothing can be said to itself; name two" in str(error)
    assert Verdicts(album.database).all() == []


@pytest.mark.parametrize(
    ("words", "code", "complaint"),
    [
        (("say", "nothing.png", "0.png", "duplicate"), 2, "'nothing.png'"),
        (("merge", "0.png"), 2, "two pictures"),
        (("say", "a" * 64, "a" * 64, "different"), 2, "keep_both keeps every one"),
        (("say", "a" * 64, "a" * 64, "stack"), 2, "stack cannot be said of files with the same bytes"),
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


def written(place: Path, made_at: str, verdict: str = "stack", first: str = "a" * 64) -> Path:
    place.write_text(f"first,second,verdict,made_at\n{first},{'b' * 64},{verdict},{made_at}\n")
    return place


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1763881200.25", 1763881200.25),
        ("2025-11-23T07:00:00.250000+00:00", 1763881200.25),
        ("2025-11-23T07:00:00Z", 1763881200.0),
        ("2025-11-23T08:00:00+01:00", 1763881200.0),
        (" 2025-11-23 07:00:00 ", 1763881200.0),
    ],
)
def test_moments_are_read_as_seconds_and_as_iso_8601_and_written_as_the_latter(
    run: Run, album: Store, tmp_path: Path, text: str, seconds: float
) -> None:
    run("import", written(tmp_path / "said.csv", text))
    assert [one.made_at for one in Verdicts(album.database).all()] == [seconds]
    run("export", tmp_path / "back.csv")
    told = (tmp_path / "back.csv").read_text().splitlines()[1].rsplit(",", 1)[1]
    assert told.startswith("2025-11-23T07:00:00")
    assert told.endswith("+00:00")
    run("import", tmp_path / "back.csv")
    assert [one.made_at for one in Verdicts(album.database).all()] == [seconds]


def test_without_a_moment_a_verdict_is_of_now(run: Run, album: Store, tmp_path: Path) -> None:
    before = time.time()
    run("import", written(tmp_path / "said.csv", ""))
    assert Verdicts(album.database).all()[0].made_at >= before - 1e-6


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"made_at": "yesterday"}, "line 2, column made_at: 'yesterday' is no moment; write it like 2026-"),
        ({"made_at": "nan"}, "line 2, column made_at: 'nan'"),
        ({"made_at": "1e300"}, "line 2, column made_at: '1e300'"),
        ({"made_at": "", "verdict": "twins"}, "line 2, column verdict: a verdict is one of"),
        ({"made_at": "", "first": "abc"}, "line 2, column first: 'abc' is no sha256"),
        ({"made_at": "", "first": "b" * 64}, "line 2: both are bbbb"),
    ],
)
def test_an_error_of_a_csv_names_the_line_and_the_column(
    run: Run, album: Store, tmp_path: Path, row: dict[str, str], complaint: str
) -> None:
    error = run("import", written(tmp_path / "said.csv", **row), code=2)["error"]
    assert isinstance(error, dict)
    assert f"said.csv, {complaint}" in error["message"]
    assert Verdicts(album.database).all() == []


def test_verdicts_travel_over_http(album: Store) -> None:
    one, other, third = album.catalogue.images(album.catalogue.collection("default").id)
    with Workspace(album.root) as workspace, DecoderPool(FAKE_PREPARATION, children=1) as pool:
        parts = Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",))
        client = TestClient(create_app(parts))
        body = {"first": str(one.id), "second": other.sha256.hex(), "verdict": "duplicate"}
        refused = client.post(BASE, json=body | {"second": one.key})
        assert (refused.status_code, "are one image" in refused.json()["detail"]) == (422, True)
        answer = client.post(BASE, json=body)
        assert answer.status_code == 201
        said_at = datetime.fromisoformat(answer.json()["items"][0]["made_at"])
        assert abs(said_at.timestamp() - Verdicts(album.database).all()[0].made_at) < 1e-5
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
