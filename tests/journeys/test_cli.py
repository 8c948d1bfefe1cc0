"""The command line, with the built-in backbone and real decoding children."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from api.cli import GLOBAL_OPTIONS, hoisted, main
from search.storing.store import Store
from search.upkeep.verification import verify
from tests.conftest import painted
from tests.fakes import FakeBackbone
from tests.perturbed import perturbed_weights

MANY = 120
# The real program, but for one thing: it commits much sooner than after two seconds.
SOONER = "import search.storing.commits as commits; commits.MAX_BATCH_S = 0.1; "
# And for another: from the second on commits take long, however slowly the test is told of the first.
SLOWER = """
import itertools, time
commit, times = commits.Committer.commit, itertools.count()
commits.Committer.commit = lambda *batch: (time.sleep(5 * (next(times) > 0)), commit(*batch))[1]
"""
RUN = "from api.__main__ import main; main()"
PROGRAM = [sys.executable, "-c", SOONER + RUN]
INTERRUPTED = [sys.executable, "-c", SOONER + SLOWER + RUN]
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


def test_verify_exits_1_when_a_segment_is_damaged(run: Run, album: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    run("index", album / "photos" / "0.png", store=store)
    segment = next((store / "segments").iterdir())
    segment.write_bytes(segment.read_bytes()[:-1])
    code, shape = run("verify", store=store)
    assert code == 1
    assert "segment_damaged" in {fault["kind"] for fault in shape["faults"]}


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


def test_a_store_of_a_newer_release_is_refused_in_one_line(run: Run, tmp_path: Path) -> None:
    (tmp_path / "store.toml").write_text("format = 99\n")
    code, shape = run("status", store=tmp_path)
    assert (code, shape["error"]["kind"]) == (1, "StoreTooNew")


def test_wrong_usage_exits_2_with_json_too(run: Run) -> None:
    assert run("search", "--no-such-option")[0] == 2


def test_what_is_missing_is_said_without_a_full_stop_amid_the_line(run: Run) -> None:
    message = run("reembed")[1]["error"]["message"]
    assert message == "Missing option '--backbone'; `lookalike COMMAND --help` tells more"


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


def test_help_loads_no_heavy_library() -> None:
    script = (
        "import sys\n"
        "from api.cli import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\n"
        "sys.exit(','.join(sorted({'torch', 'timm', 'fastapi', 'PIL'} & set(sys.modules))) or None)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with more pictures than are indexed before somebody notices the first commit and interrupts."""
    folder = tmp_path_factory.mktemp("many")
    for number in range(MANY):
        painted(number, (160, 120)).save(folder / f"{number}.jpg")
    return folder


def interrupt(command: list[str], number: signal.Signals) -> tuple[int, str, int]:
    """Send a signal after the first commit; return the exit code, the last line and how many were acknowledged."""
    with subprocess.Popen([*INTERRUPTED, *command], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = next(line for line in process.stderr if "acknowledged" in line)
        process.send_signal(number)
        after = process.stderr.read().splitlines()
    return process.returncode, after[-1] if after else "", json.loads(told)["images"]


def test_sigterm_ends_indexing_with_130_and_keeps_what_was_acknowledged(many: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    command = ["--store", str(store), "--progress", "json", "--json", "index", str(many)]
    code, last, acknowledged = interrupt(command, signal.SIGTERM)
    assert code == 130
    assert "run the same command again" in last
    with Store(store) as opened:
        kept = opened.catalogue.count_images(opened.catalogue.collection("default").id)
    assert acknowledged <= kept < MANY
    again = subprocess.run([*PROGRAM, *command], capture_output=True, text=True, check=True)
    shape = json.loads(again.stdout)
    assert shape["unchanged"] == kept
    assert shape["indexed"] == MANY - kept


def test_a_kill_of_the_real_program_costs_at_most_a_batch(many: Path, tmp_path: Path) -> None:
    settings = ["--store", str(tmp_path / "store"), "--progress", "json", "--json"]
    acknowledged = 0
    for _ in range(2):
        code, _, images = interrupt([*settings, "index", str(many)], signal.SIGKILL)
        assert code == -signal.SIGKILL
        acknowledged += images
    done = subprocess.run([*PROGRAM, *settings, "index", str(many)], capture_output=True, text=True, check=True)
    shape = json.loads(done.stdout)
    assert shape["seen"] == MANY
    assert acknowledged <= shape["unchanged"] < MANY
    assert shape["indexed"] == MANY - shape["unchanged"]
    with Store(tmp_path / "store") as store:
        assert verify(store, deep=True) == []


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


def test_the_journeys_with_the_built_in_backbone_load_no_torch(album: Path, tmp_path: Path) -> None:
    shutil.copytree(album / "store", tmp_path / "store")
    painted(7, (320, 240)).save(album.parent / "new.jpg")
    commands = [
        ["index", str(album.parent / "new.jpg")],
        ["search", str(album / "photos" / "1 small.jpg")],
        ["check", str(album / "photos" / "0.png")],
        ["dedup", "--threshold", "0.9"],
    ]
    program = f"""
import sys
import api.http.server, api.jobs.dedup_job, api.jobs.import_job, api.jobs.plan_jobs, api.quality.running, api.upgrading
from api.cli import main
assert "torch" not in sys.modules, "something that is imported imports it"
for command in {commands!r}:
    try:
        main(["--store", {str(tmp_path / "store")!r}, "--progress", "none", *command])
    except SystemExit as ended:
        assert not ended.code, (command, ended.code)
    assert "torch" not in sys.modules, command
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_program_starts_without_what_looks_at_pictures() -> None:
    loaded = "import sys, api.cli; print(*({'PIL', 'cv2', 'torch', 'onnxruntime'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True)
    assert not done.stdout.split()
