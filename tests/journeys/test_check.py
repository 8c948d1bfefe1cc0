"""The ingest gate: the command, HTTP and Python say new, exact copy of or near copy of, and what that rests on."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, ImageOps
from starlette.testclient import TestClient

import lookalike
from api import checks
from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.queries import CheckRequest
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from indexer.procedural.pictures import procedural_images
from search.errors import UsageError
from tests.indexed_album import indexed_album

PICTURES = 6
SOUGHT = 2  # of which the uploads are made
CHECK = "/v1/collections/default/check"
Printed = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures, two with the same pixels in other files, and a white one."""
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(procedural_images(PICTURES, 5)):
        Image.fromarray(pixels).resize((420, 420), Image.Resampling.BICUBIC).save(folder / f"{number}.png")
    with Image.open(folder / "4.png") as picture:
        picture.save(folder / "4 again.bmp")
    Image.new("RGB", (64, 64), "white").save(folder / "white.png")
    return folder


@pytest.fixture(scope="module")
def album(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[lookalike.Lookalike]:
    with indexed_album(folder, tmp_path_factory) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(album: lookalike.Lookalike) -> Iterator[TestClient]:
    with (
        Workspace(album.store) as workspace,
        DecoderPool(BUILTIN_PREPARATION, children=1) as pool,
        TestClient(create_app(Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",)))) as made,
    ):
        yield made


@pytest.fixture(scope="module")
def uploads(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same bytes, the same pixels, a cut copy, one in a frame, a picture that is not there, a white one, a text."""
    uploads = tmp_path_factory.mktemp("uploads")
    (uploads / "bytes.png").write_bytes((folder / f"{SOUGHT}.png").read_bytes())
    with Image.open(folder / f"{SOUGHT}.png") as picture:
        picture.save(uploads / "pixels.bmp")
        picture.crop((30, 20, 400, 410)).save(uploads / "near.jpg", quality=70)
        ImageOps.expand(picture.resize((200, 200)), 220, (20, 90, 160)).save(uploads / "framed.jpg", quality=80)
    Image.fromarray(next(procedural_images(1, 77))).save(uploads / "new.png")
    Image.new("RGB", (80, 64), "white").save(uploads / "white.png")
    (uploads / "text.jpg").write_text("no picture")
    return uploads


@pytest.fixture
def printed(album: lookalike.Lookalike, capsys: pytest.CaptureFixture[str]) -> Printed:
    def run(*arguments: object, code: int = 0) -> dict[str, Any]:
        with pytest.raises(SystemExit, match=str(code)):
            main(["--store", str(album.store), "--json", "check", *map(str, arguments)])
        return dict(json.loads(capsys.readouterr().out))

    return run


def uploaded(client: TestClient, path: Path, **fields: str) -> dict[str, Any]:
    answer = client.post(CHECK, files={"image": ("upload", path.read_bytes())}, data=fields)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


@pytest.mark.parametrize(
    ("name", "status", "same_bytes", "same_pixels"),
    [
        ("bytes.png", "exact", True, True),
        ("pixels.bmp", "exact", False, True),
        ("near.jpg", "near", False, False),
        ("new.png", "new", False, False),
    ],
)
def test_every_upload_gets_its_status_with_evidence(
    client: TestClient, uploads: Path, name: str, status: str, same_bytes: bool, same_pixels: bool
) -> None:
    answer = uploaded(client, uploads / name)
    evidence = answer["evidence"]
    assert (answer["status"], evidence["same_bytes"], evidence["same_pixels"]) == (status, same_bytes, same_pixels)
    if status == "new":
        assert "match" not in answer
        assert evidence["nearest"] is not None
    else:
        assert answer["match"]["path"].endswith(f"/{SOUGHT}.png")
        assert answer["match"]["id"] == evidence["nearest"]
    if status == "exact":
        assert answer["probability"] == 1.0


def test_a_near_copy_says_score_threshold_and_what_was_done(client: TestClient, uploads: Path) -> None:
    evidence = uploaded(client, uploads / "near.jpg")["evidence"]
    assert evidence["threshold"] == pytest.approx(0.80)
    assert evidence["threshold_source"] == "none"
    assert (evidence["verified"], evidence["reason"]) == ("yes", "the same picture")
    assert evidence["inliers"] >= 15
    assert evidence["agreement"] > 0.9
    assert evidence["score"] > 0.65
    assert {"cropped", "converted", "recompressed"} <= {edit["kind"] for edit in evidence["edits"]}


def test_the_same_bytes_are_recognised_without_decoding_and_without_a_backbone(
    album: lookalike.Lookalike, uploads: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Workspace(album.store) as workspace:
        monkeypatch.setattr(workspace, "embedder", None)
        data, target = (uploads / "bytes.png").read_bytes(), workspace.collection("default")
        found = checks.check_picture(workspace, target, data, "it", CheckRequest())
    assert found.checked.status == "exact"
    assert (found.took_ms["decode"], found.took_ms["embed"], found.took_ms["verify"]) == (None, None, None)


def test_a_blank_upload_is_compared_with_identical_images_alone(
    client: TestClient, uploads: Path, folder: Path
) -> None:
    answer = uploaded(client, uploads / "white.png")
    assert (answer["status"], answer["evidence"]["score"]) == ("new", None)
    assert answer["evidence"]["note"] == "the picture shows next to nothing, so only identical ones are compared"
    assert uploaded(client, folder / "white.png")["status"] == "exact"


def test_a_copy_in_a_wide_frame_is_found_by_an_accurate_check_alone(client: TestClient, uploads: Path) -> None:
    assert uploaded(client, uploads / "framed.jpg")["status"] == "new"
    found = uploaded(client, uploads / "framed.jpg", accurate="true")
    assert (found["status"], found["evidence"]["verified"]) == ("near", "yes")
    assert found["match"]["path"].endswith(f"/{SOUGHT}.png")
    assert "framed" in {edit["kind"] for edit in found["evidence"]["edits"]}


def test_whoever_chooses_a_threshold_gets_nothing_below_it(client: TestClient, uploads: Path) -> None:
    score = uploaded(client, uploads / "near.jpg")["evidence"]["score"]
    stricter = uploaded(client, uploads / "near.jpg", threshold=str(score + 0.01), accurate="true")
    assert (stricter["status"], stricter["evidence"]["threshold_source"]) == ("new", "user")
    assert uploaded(client, uploads / "near.jpg", threshold=str(score - 0.01))["status"] == "near"


def test_several_pictures_are_checked_though_one_is_missing(uploads: Path, printed: Printed) -> None:
    gone = uploads / "gone.jpg"
    answer = printed(gone, uploads / "bytes.png", uploads / "text.jpg", code=3)
    assert [item["status"] for item in answer["items"]] == ["failed", "exact", "failed"]
    assert (answer["failed"], answer["items"][0]["reason"], answer["items"][2]["reason"]) == (
        2, "read_error", "not_an_image"
    )  # fmt: skip
    assert str(gone) in answer["items"][0]["detail"]


def test_a_stored_image_is_checked_against_the_others(client: TestClient, folder: Path) -> None:
    for name, status in ((f"{SOUGHT}.png", "new"), ("4.png", "exact"), ("white.png", "new")):
        answer = client.post(CHECK, json={"key": (folder / name).as_uri()}).json()
        assert answer["status"] == status, name
    assert answer["evidence"]["note"] is not None
    copy = client.post(CHECK, json={"key": (folder / "4.png").as_uri()}).json()
    assert copy["match"]["path"].endswith("/4 again.bmp")
    by_id = client.post(CHECK, files={"id": (None, copy["match"]["id"]), "accurate": (None, "true")}).json()
    assert by_id["match"]["path"].endswith("/4.png")


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({}, 422, "exactly one of"),
        ({"id": "1", "key": "x"}, 422, "exactly one of"),
        ({"id": "99999"}, 404, "no image with id 99999"),
        ({"id": "1", "threshold": 2}, 422, "threshold"),
        ({"id": "1", "k": 3}, 422, "k"),
    ],
)
def test_a_bad_request_is_refused_with_what_is_wrong(
    client: TestClient, body: dict[str, object], status: int, said: str
) -> None:
    answer = client.post(CHECK, json=body)
    assert answer.status_code == status, answer.text
    assert said in answer.json()["detail"]


def test_an_upload_that_is_no_picture_names_the_reason(client: TestClient, uploads: Path) -> None:
    answer = client.post(CHECK, files={"image": ("upload", (uploads / "text.jpg").read_bytes())})
    assert (answer.status_code, answer.json()["reason"]) == (422, "not_an_image")
    wrong = client.post(CHECK, files={"picture": ("upload", b"...")})
    assert "the field" not in wrong.json()["detail"]
    assert "field `image`" in wrong.json()["detail"]


def test_the_command_answers_with_the_shape_of_http(printed: Printed, client: TestClient, uploads: Path) -> None:
    told, answer = printed(uploads / "near.jpg"), uploaded(client, uploads / "near.jpg")
    assert told.keys() == answer.keys()
    for shape in (told, answer):
        shape.pop("took_ms")
    assert told == answer


def test_several_pictures_are_checked_in_one_call_and_one_that_is_none_stops_no_other(
    printed: Printed, uploads: Path
) -> None:
    told = printed(uploads / "bytes.png", uploads / "text.jpg", uploads / "new.png", code=3)
    assert [item["status"] for item in told["items"]] == ["exact", "failed", "new"]
    assert told["items"][1]["reason"] == "not_an_image"
    assert {status: told[status] for status in ("new", "exact", "near", "failed")} == {
        "new": 1, "exact": 1, "near": 0, "failed": 1,
    }  # fmt: skip


def test_people_read_one_line_for_each_picture(
    album: lookalike.Lookalike, uploads: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = ["bytes.png", "pixels.bmp", "near.jpg", "new.png", "white.png"]
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(album.store), "check", *(str(uploads / name) for name in names)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(names)
    expected = (
        "(the same bytes)",
        "(the same pixels in another file)",
        "cropped to",
        "is the nearest, score",
        "next to",
    )
    for line, name, said in zip(lines, names, expected, strict=True):
        assert line.startswith(f"{uploads / name}: ")
        assert said in line


def test_a_notebook_asks_the_same(album: lookalike.Lookalike, uploads: Path, folder: Path) -> None:
    found = album.check(uploads / "near.jpg")
    assert (found.checked.status, found.checked.evidence.verified) == ("near", "yes")
    assert album.check(key=(folder / "4.png").as_uri()).checked.status == "exact"
    with pytest.raises(UsageError, match="exactly one of"):
        album.check()
    with pytest.raises(UsageError, match="choose -1 to 1"):
        album.check(uploads / "near.jpg", threshold=1.5)
