"""The command line, with the built-in backbone and real decoding children: what commands do and say."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from api.cli import GLOBAL_OPTIONS, hoisted, main
from search.storing.store import Store
from tests.cli_album import Run, album, names, run
from tests.conftest import painted
from tests.fakes import FakeBackbone
from tests.perturbed import perturbed_weights

__all__ = ["album", "run"]


def test_index_says_what_it_did_and_that_files_failed(album: Path, run: Run, tmp_path: Path) -> None:
    code, shape = run("index", album / "photos", store=tmp_path / "store")
    assert code == 3
    assert {name: shape[name] for name in ("collection", "backbone", "seen", "indexed", "failed", "ignored")} == {
        "collection": "default",
        "backbone": "builtin",
        "seen": 6,
        "indexed": 5,
        "failed": 1,
        "ignored": 1,
    }
    assert list(shape["failures_by_reason"].values()) == [1]
    names = "collection space backbone seen indexed unchanged moved vanished removed ignored failed"
    assert set(shape) == {*names.split(), "failures_by_reason", "seconds", "images_per_second", "bound_by"}


def test_failures_within_max_failed_are_no_error(album: Path, run: Run) -> None:
    code, shape = run("index", album / "photos", "--max-failed", 1)
    assert (code, shape["unchanged"], shape["failed"]) == (0, 5, 1)


def test_a_picture_finds_itself_first(album: Path, run: Run) -> None:
    code, shape = run("search", album / "photos" / "2.png", "-k", 2)
    assert code == 0
    best = shape["matches"][0]
    assert names(shape["matches"])[0] == "2.png"
    assert best["score"] == pytest.approx(1.0, abs=1e-3)
    assert (best["relation"], best["verified"], best["format"]) == ("identical", None, "png")
    assert isinstance(best["id"], str)
    assert set(shape["took_ms"]) == {"decode", "embed", "search", "verify", "total"}


def test_search_by_id_and_by_key_need_no_picture(run: Run, album: Path) -> None:
    _, by_picture = run("search", album / "photos" / "2.png", "-k", 1)
    image = by_picture["matches"][0]
    for option in (("--id", image["id"]), ("--key", image["key"])):
        code, shape = run("search", *option, "-k", 1)
        assert code == 0
        assert shape["matches"][0]["id"] == image["id"]
        assert shape["query"]["id"] == image["id"]


def test_min_score_leaves_only_close_matches(run: Run, album: Path) -> None:
    _, shape = run("search", album / "photos" / "1.png", "--min-score", 0.99)
    assert "1.png" in names(shape["matches"])
    assert all(match["score"] >= 0.99 for match in shape["matches"])


def test_examples_an_embedding_and_unique_are_options_of_search(run: Run, album: Path, tmp_path: Path) -> None:
    path = album / "photos" / "0.png"
    _, shape = run("search", path, "--unique")
    by_name = {match["path"].rsplit("/", 1)[1]: match for match in shape["matches"]}
    # Which of two files with the same bytes was indexed first is up to the decoding children.
    assert {name[0]: match["copies"] for name, match in by_name.items()}["0"] == 1
    one, two = by_name["1.png"]["id"], by_name["2.png"]["id"]
    _, shape = run("search", "--like", one, "--unlike", two)
    assert shape["query"] == {"like": [one], "unlike": [two]}
    assert not {one, two} & {match["id"] for match in shape["matches"]}
    _, shape = run("search", path, album / "photos" / "2.png", "-k", 1)
    assert [Path(name).name for name in shape["query"]["paths"]] == ["0.png", "2.png"]
    run("embed", path, "-o", tmp_path / "e.npy", "--preprocess", "full")
    _, shape = run("search", "--embedding", tmp_path / "e.npy", "-k", 1)
    assert shape["matches"][0]["score"] == pytest.approx(1, abs=1e-3)
    assert run("search", "--unlike", one)[0] == run("search", path, "--id", one)[0] == 2


def test_dedup_reports_the_copy_and_the_near_copy(run: Run) -> None:
    code, shape = run("dedup")
    assert code == 0
    groups = {group["keeper"]["path"].rsplit("/")[-1]: names(group["members"]) for group in shape["groups"]}
    assert groups["1.png"] == ["1 small.jpg"]
    assert groups["0.png"] == ["0 again.png"]
    assert (shape["threshold_source"], shape["images"], shape["truncated"]) == ("none", 5, False)
    assert json.loads(Path(shape["plan_path"]).read_text())["id"] == shape["plan"]
    assert shape["groups_total"] == len(shape["groups"]) == 2


def test_a_threshold_of_the_user_is_named_as_such(run: Run) -> None:
    _, shape = run("dedup", "--threshold", 1)
    assert (shape["threshold"], shape["threshold_source"], shape["groups_total"]) == (1.0, "user", 1)


def test_status_failures_and_verify_agree(run: Run, album: Path) -> None:
    (status,) = run("status")[1]["collections"]
    assert (status["seen"], status["images"], status["searchable"], status["failed"]) == (6, 5, 5, 1)
    (failure,) = run("failures")[1]["items"]
    assert failure["uri"] == (album / "photos" / "broken.jpg").as_uri()
    assert run("verify", "--deep") == (0, {"ok": True, "faults": []})


def test_status_tells_of_one_collection_when_that_was_asked_for_and_else_of_all(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "store"
    with Store.create(place) as store:
        for name in ("default", "other"):
            store.open_collection(name, FakeBackbone().space)

    def told(*arguments: str) -> list[str]:
        return [one["name"] for one in run("status", *arguments, store=place)[1]["collections"]]

    assert told("--collection", "other") == ["other"]
    assert told("--collection=default") == ["default"]
    assert told() == ["default", "other"]
    monkeypatch.setenv("LOOKALIKE_COLLECTION", "other")
    assert told() == ["default", "other"], "nobody asked for one in this call"
    assert run("status", "--collection", "nowhere", store=place)[0] == 2


def test_rebuild_needs_no_backbone_and_keeps_every_image(run: Run) -> None:
    measured = {"recall_target": 1.0, "recall_measured": None}
    assert run("rebuild") == (0, {"collection": "default", "rows": 5, "transform": "none"} | measured)


def test_rebuild_chooses_a_transform_which_searches_use_and_status_shows(run: Run, album: Path, tmp_path: Path) -> None:
    store = shutil.copytree(album / "store", tmp_path / "store")

    def scores() -> dict[str, float]:
        return {one["id"]: one["score"] for one in run("search", "--id", "1", store=store)[1]["matches"]}

    def shown() -> tuple[str, str]:
        (one,) = run("status", store=store)[1]["collections"]
        return one["index"]["transform"], one["index"]["transform_chosen"]

    before = scores()
    assert run("rebuild", "--transform", "centre", store=store)[1]["transform"] == "centre"
    after = scores()
    assert after["1"] == pytest.approx(1.0, abs=1e-5)
    assert sum(after.values()) < sum(before.values())  # what all pictures share counts no more
    assert shown() == ("centre", "centre")
    for refused in ("whiten-0.5", "bleach"):
        assert run("rebuild", "--transform", refused, store=store)[0] == 2
    assert (shown(), scores()) == (("centre", "centre"), after)
    assert run("rebuild", "--transform", "none", store=store)[1]["transform"] == "none"
    assert (shown(), scores()) == (("none", "none"), before)


def test_embed_writes_rows_in_the_order_given(run: Run, album: Path, tmp_path: Path) -> None:
    first, second = album / "photos" / "0.png", album / "photos" / "1.png"
    for order, name in (((first, second), "a.npy"), ((second, first), "b.npy")):
        code, shape = run("embed", *order, "-o", tmp_path / name)
        assert (code, shape["rows"], shape["dims"]) == (0, 2, 256)
    forward, backward = (np.load(tmp_path / name) for name in ("a.npy", "b.npy"))
    assert forward.dtype == np.float32
    np.testing.assert_allclose(forward, backward[::-1], atol=1e-6)


def test_backbones_lists_the_builtin_first(run: Run) -> None:
    _, shape = run("backbones", "builtin")
    (facts,) = shape["backbones"]
    assert (facts["name"], facts["dims"], facts["licence"]) == ("builtin", 256, "apache-2.0")


def test_another_backbone_makes_another_collection_of_the_same_store(run: Run, album: Path, tmp_path: Path) -> None:
    weights = perturbed_weights("test_resnet.r160_in1k", tmp_path / "weights.safetensors")
    made = ("--collection", "tiny", "--backbone", "test_resnet", "--weights", weights, "--max-failed", 1)
    _, shape = run("index", album / "photos", *made)
    assert (shape["backbone"], shape["indexed"]) == ("test_resnet.r160_in1k", 5)
    _, found = run("search", album / "photos" / "2.png", "--collection", "tiny", "-k", 1)
    assert names(found["matches"]) == ["2.png"]
    assert run("verify")[0] == 0


def test_an_empty_folder_is_said_and_no_error(run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert run("index", tmp_path / "empty", store=tmp_path / "store")[1]["seen"] == 0
    with pytest.raises(SystemExit) as stop:
        main(["--store", str(tmp_path / "store"), "index", str(tmp_path / "empty")])
    assert stop.value.code in (0, None)
    assert "no images found" in capsys.readouterr().out


def test_global_options_may_follow_the_command() -> None:
    assert hoisted(["search", "a", "--json", "--store", "s", "-k", "3"]) == [
        "--json", "--store", "s", "search", "a", "-k", "3",
    ]  # fmt: skip
    assert hoisted(["index", "--collection=x", "--", "--json"]) == ["--collection=x", "index", "--", "--json"]


def test_every_global_option_is_known_to_the_reordering(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(option in shown for option in GLOBAL_OPTIONS)


def test_brackets_and_control_characters_in_names_are_shown_as_they_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = tmp_path / "IMG [edited]"
    photos.mkdir()
    for name in ("a[", "plain"):
        (photos / name).mkdir()
        painted(1, (200, 150)).save(photos / name / "b].png")
    painted(2, (200, 150)).save(photos / "line\nbreak\x1b[31m.png")
    store = ["--store", str(tmp_path / "[red]store"), "--progress", "none"]
    for command in (["index", str(photos)], ["search", str(photos / "plain" / "b].png")], ["dedup"], ["status"]):
        with pytest.raises(SystemExit) as stop:
            main([*store, *command])
        assert stop.value.code == 0
        shown = capsys.readouterr().out
        if command[0] in ("search", "dedup"):
            assert str(photos / "a[" / "b].png") in shown
            assert "\x1b[31m" not in shown
        if command[0] == "search":
            assert "line\\nbreak\\x1b[31m.png" in shown
        if command[0] == "status":
            assert "[red]store" in shown
