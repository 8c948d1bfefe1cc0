"""The command line where something is wrong: one line, an exit code, and nothing lost."""

import os
from pathlib import Path

import pytest

from tests.cli_album import Run, album, run
from tests.conftest import painted
from tests.perturbed import perturbed_weights

__all__ = ["album", "run"]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["search", "/no/such.jpg"], 2, "/no/such.jpg: No such file"),
        (["search"], 2, "give one of"),
        (["search", "--id", "999999"], 2, "no image with id 999999"),
        (["search", "--key", "nothing"], 2, "no image with key 'nothing'"),
        (["search", "--id", "1", "--collection", "nowhere"], 2, "no collection 'nowhere'"),
        (["index", "/no/such/folder"], 2, "/no/such/folder: No such file"),
        (["index", "--backbone", "resnet_of_dreams", "."], 2, "no backbone 'resnet_of_dreams'"),
        (["index", "--backbone", "resnet18.a1_in1k", "."], 1, "--weights FILE.safetensors"),
        (["index", "--backbone", "builtin", "--weights", "x", "."], 2, "ship with the package"),
        (["index", "--weights", "x", "."], 2, "ship with the package"),
        (["index", "--preprocess", "card", "."], 2, "--preprocess card has no use with the backbone `builtin`"),
        (["index", "--image-size", "64", "."], 2, "--image-size has no use with the backbone `builtin`"),
        (["index", "--preprocess", "card", "--collection", "new", "."], 2, "--preprocess card has no use"),
        (["reembed", "--backbone", "builtin", "--preprocess", "card"], 2, "--preprocess card has no use"),
        (["index", "--device", "cuda:99", "."], 2, "cuda:99"),
        (["search", "--id", "1", "--min-score", "nan"], 2, "--min-score is nan; give a finite number"),
        (["search", "--id", "1", "--min-score", "2"], 2, '--min-score is "2"; give 1 or less'),
        (["search", "--id", "1", "-k", "0"], 2, '-k is "0"; give 1 or more'),
        (["search", "--id", "one"], 2, '--id is "one"; give a whole number'),
        (["index", "--backbone", "nonsense", "."], 2, "no backbone 'nonsense': `lookalike backbones` lists some"),
        (["promote"], 2, "has no space to promote"),
        (["rollback"], 2, "there is nothing to roll back"),
        (["serve", "--host", "0.0.0.0"], 4, "there is no valid key yet"),
        (["status", "--store", "/no/store"], 2, "no store in /no/store"),
        (["embed", "/etc/hostname", "-o", "/tmp/x.npy"], 1, "picture format"),
    ],
)
def test_an_error_is_one_line_an_exit_code_and_a_json_object(
    run: Run, arguments: list[str], code: int, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    found, shape = run(*arguments)
    assert found == code
    assert says in shape["error"]["message"]
    assert "\n" not in shape["error"]["message"]


def test_a_pipe_under_a_pictures_name_is_refused_by_search_with_2(run: Run, pipe: Path) -> None:
    code, shape = run("search", pipe)
    assert code == 2
    assert "is no regular file" in shape["error"]["message"]


def test_a_collection_in_another_space_is_refused_with_4(run: Run, album: Path, tmp_path: Path) -> None:
    weights = perturbed_weights("test_resnet.r160_in1k", tmp_path / "weights.safetensors")
    found, shape = run("index", album / "photos", "--backbone", "test_resnet", "--weights", weights)
    assert found == 4
    assert "'default' holds embeddings of builtin" in shape["error"]["message"]


def test_a_store_of_a_newer_release_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "store.toml").write_text("format = 99\n")
    code, shape = run("status", store=tmp_path)
    assert (code, shape["error"]["kind"]) == (1, "StoreTooNew")


def test_wrong_usage_exits_2_with_json_too(run: Run) -> None:
    assert run("search", "--no-such-option")[0] == 2


def test_what_is_missing_is_said_without_a_full_stop_amid_the_line(run: Run) -> None:
    message = run("reembed")[1]["error"]["message"]
    assert message == "Missing option '--backbone'; `lookalike COMMAND --help` tells more"


def test_verify_exits_1_when_a_segment_is_damaged(run: Run, album: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("index", album / "photos" / "0.png", store=store)
    segment = next((store / "segments").iterdir())
    segment.write_bytes(segment.read_bytes()[:-1])
    code, shape = run("verify", store=store)
    assert code == 1
    assert "segment_damaged" in {fault["kind"] for fault in shape["faults"]}


@pytest.mark.parametrize("command", [["status"], ["search", "--id", "1"], ["verify"], ["migrate"]])
@pytest.mark.parametrize("damage", ["missing", "empty", "random"])
def test_a_lost_catalogue_is_named_and_never_replaced_by_an_empty_one(
    run: Run, tmp_path: Path, damage: str, command: list[str]
) -> None:
    store = tmp_path / "store"
    run("init", store=store)
    catalogue = store / "catalogue.sqlite"
    catalogue.unlink()
    if damage != "missing":
        catalogue.write_bytes(os.urandom(20_000) if damage == "random" else b"")
    code, shape = run(*command, store=store)
    assert code == 1
    assert "backup" in shape["error"]["message"]


def test_a_store_in_an_impossible_place_is_one_clear_error(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below"):
        code, shape = run("status", store=place)
        assert code == 2
        assert "--store" in shape["error"]["message"]


def test_a_damaged_segment_is_told_by_status_and_by_verify(run: Run, album: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("index", album / "photos" / "0.png", store=store)
    (segment,) = (store / "segments").iterdir()
    segment.write_bytes(segment.read_bytes()[:-2] + b"xx")
    for generation in (store / "generations").iterdir():
        generation.unlink()
    code, shape = run("status", store=store)
    assert code == 0
    assert "is damaged" in shape["collections"][0]["damage"]
    faults = {fault["kind"]: fault for fault in run("verify", store=store)[1]["faults"]}
    assert set(faults) == {"segment_damaged", "generation_damaged"}
    # Where it is has been said by `where`, and what tells more is this very command.
    assert faults["segment_damaged"]["where"] == f"segments/{segment.name}"
    assert faults["segment_damaged"]["detail"] == "block 0 (bytes from 0) is damaged"
    assert faults["generation_damaged"]["detail"] == "is missing; the next `index` rebuilds it"


def test_a_small_collection_is_searched_from_its_index_while_a_segment_is_damaged(
    run: Run, album: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    run("index", album / "photos" / "0.png", store=store)
    (segment,) = (store / "segments").iterdir()
    segment.write_bytes(segment.read_bytes()[:-2] + b"xx")
    code, found = run("search", "--id", "1", store=store)
    assert (code, len(found["matches"])) == (0, 1)
    assert run("status", store=store)[1]["collections"][0]["damage"] is None
    assert [fault["kind"] for fault in run("verify", store=store)[1]["faults"]] == ["segment_damaged"]


def test_a_picture_that_went_bad_after_it_was_indexed_is_seen_once(run: Run, tmp_path: Path) -> None:
    for number in range(2):
        painted(number, (100, 80)).save(tmp_path / f"{number}.png")
    store = tmp_path / "store"
    run("index", tmp_path / "0.png", tmp_path / "1.png", store=store)
    (tmp_path / "0.png").write_bytes(b"")
    assert run("index", tmp_path / "0.png", store=store)[0] == 3
    (status,) = run("status", store=store)[1]["collections"]
    assert (status["seen"], status["images"], status["failed"]) == (2, 2, 1)


def test_an_error_nobody_expected_is_one_line_and_not_a_traceback(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.commands.operations.Workspace.status", lambda *_: 1 / 0)
    code, shape = run("status")
    assert code == 1
    assert "ZeroDivisionError" in shape["error"]["message"]


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--preprocess", "card"], "--preprocess card --image-size 160"),
        (["--image-size", "64"], "--preprocess full --image-size 64"),
        (["--dct-scaling"], "--preprocess full --image-size 160 --dct-scaling"),
    ],
    ids=["mode", "size", "scaling"],
)
def test_another_preparation_is_refused_before_any_weights_are_looked_for(
    option: list[str], said: str, run: Run, album: Path, tmp_path: Path
) -> None:
    weights = perturbed_weights("test_resnet.r160_in1k", tmp_path / "tiny.safetensors")
    mine = ("--store", tmp_path / "made")
    run(*mine, "index", album, "--backbone", "test_resnet", "--weights", weights, "--max-failed", 9)
    weights.unlink()
    code, answer = run(*mine, "index", album, *option)
    assert code == 4
    assert f"not with {said}; the two cannot be compared" in answer["error"]["message"]
