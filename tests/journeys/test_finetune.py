"""`finetune` from pictures to a backbone that classifies and indexes, by the real command line."""

import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from api.cli import main
from api.commands.finetuning import default_name
from tests.drawn_classes import KINDS, draw_classes, drawn
from tests.perturbed import perturbed_weights

TINY = "test_resnet.r160_in1k"
# The real program as on a machine with one core: on a busy one, tiny networks mostly wait for their threads.
# With as many threads as the calls in this process have, both come to the same bits.
PROGRAM = [sys.executable, "-c", "import os; os.cpu_count = lambda: 1; from api.__main__ import main; main()"]
# The same, but after each epoch it waits at its stdin, so that it cannot have ended before it is interrupted.
WAITING = [
    sys.executable,
    "-c",
    """
import os
os.cpu_count = lambda: 1
from api.training_progress import Lines
ended = Lines.ended
def ended_and_waits(self, result, *, best):
    ended(self, result, best=best)
    os.read(0, 1)
Lines.ended = ended_and_waits
from api.__main__ import main
main()
""",
]
Shape = dict[str, Any]
Run = Callable[..., tuple[int, Shape]]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with classes/ and weights.safetensors, and a place for models/."""
    folder = tmp_path_factory.mktemp("finetune")
    draw_classes(folder / "classes", 10)
    (folder / "classes" / "dots" / "cut.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut")
    perturbed_weights(TINY, folder / "weights.safetensors")
    return folder


@pytest.fixture(autouse=True)
def models(place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    threads = torch.get_num_threads()
    monkeypatch.setenv("LOOKALIKE_MODELS", str(place / "models"))
    monkeypatch.setenv("LOOKALIKE_CACHE", str(place / "cache"))
    monkeypatch.setattr("os.cpu_count", lambda: 1)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(place: Path, capfd: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, Shape]:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["--store", str(place / "store"), "--progress", "none", "--json", *map(str, arguments)])
        return int(stop.value.code or 0), json.loads(capfd.readouterr().out)

    return call


def settings(place: Path) -> list[str]:
    weights = str(place / "weights.safetensors")
    return ["--backbone", "test_resnet", "--weights", weights, "--image-size", "64", "--workers", "0"]


@pytest.fixture(scope="module")
def tuned(place: Path) -> Shape:
    environment = os.environ | {"LOOKALIKE_MODELS": str(place / "models")}
    command = ["finetune", str(place / "classes"), "--name", "shapes", "--epochs", "8", "--batch-size", "8"]
    done = subprocess.run(
        [*PROGRAM, "--progress", "json", "--json", *command, *settings(place)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]
    assert [event["epoch"] for event in events if event["event"] == "epoch"] == list(range(1, 9))
    assert "cut.jpg" in done.stderr
    found: Shape = json.loads(done.stdout)
    return found


def test_one_object_says_what_came_out_and_reports_lie_beside_the_model(tuned: Shape, place: Path) -> None:
    assert (tuned["name"], tuned["architecture"], tuned["licence"]) == ("shapes", TINY, "apache-2.0")
    assert tuned["classes"] == list(KINDS)
    assert tuned["images"] == {"train": 24, "val": 6}
    assert tuned["accuracy"] >= 0.8
    assert [Path(one["path"]).name for one in tuned["skipped"]] == ["cut.jpg"]
    (csv_rows, json_report) = (place / "models" / "shapes" / name for name in ("confusion.csv", "confusion.json"))
    with csv_rows.open(newline="") as file:
        assert next(csv.reader(file))[1:] == list(KINDS)
    assert json.loads(json_report.read_text())["accuracy"] == tuned["accuracy"]
    left = {path.name for path in Path(tuned["run"]).iterdir()}
    assert left == {"run.json", "report.json", "confusion.csv", "confusion.json"}


def test_the_result_classifies_by_its_own_names(tuned: Shape, run: Run, tmp_path: Path) -> None:
    random = np.random.default_rng(77)
    for kind in KINDS:
        drawn(kind, random).save(tmp_path / f"{kind}.png")
    code, shape = run("classify", *(tmp_path / f"{kind}.png" for kind in KINDS), "--backbone", "shapes", "-k", 3)
    assert code == 0
    assert {label["label"] for label in shape["images"][0]["labels"]} == set(KINDS)
    best = [image["labels"][0]["label"] for image in shape["images"]]
    assert sum(found == kind for found, kind in zip(best, KINDS, strict=True)) >= 2


def test_the_result_is_a_backbone_with_a_card(tuned: Shape, run: Run) -> None:
    code, shape = run("backbones", "shapes")
    (facts,) = shape["backbones"]
    assert code == 0
    assert (facts["name"], facts["dims"], facts["licence"]) == ("shapes", 96, "apache-2.0")
    assert facts["preparation"] == tuned["preparation"]


def test_the_result_embeds_as_its_base_does_when_only_the_head_learnt(
    tuned: Shape,
    run: Run,
    place: Path,
    tmp_path: Path,
) -> None:
    picture = place / "classes" / "dots" / "00.png"
    base = ("--backbone", TINY, "--weights", place / "weights.safetensors", "--image-size", 64)
    assert run("embed", picture, "-o", tmp_path / "ours.npy", "--backbone", "shapes")[0] == 0
    assert run("embed", picture, "-o", tmp_path / "base.npy", *base)[0] == 0
    np.testing.assert_allclose(np.load(tmp_path / "ours.npy"), np.load(tmp_path / "base.npy"), atol=1e-5)


def test_the_result_indexes_a_collection_that_is_searched_later(tuned: Shape, run: Run, place: Path) -> None:
    classes = place / "classes"
    code, shape = run("index", classes, "--backbone", "shapes", "--max-failed", 1)
    assert (code, shape["backbone"], shape["indexed"]) == (0, "shapes", 30)
    (status,) = run("status")[1]["collections"]
    assert status["backbone"] == "shapes"
    code, found = run("search", classes / "stripes" / "03.png", "-k", 1)
    assert code == 0
    assert found["matches"][0]["path"] == str(classes / "stripes" / "03.png")
    code, found = run("index", classes, "--max-failed", 1)
    assert (code, found["unchanged"]) == (0, 30)


def test_a_collection_finds_its_backbone_where_the_registry_was_moved_to(
    tuned: Shape, run: Run, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOOKALIKE_ENGINE", "torch")  # a model file for ONNX Runtime would do without the weights
    picture = place / "classes" / "dots" / "01.png"
    run("--collection", "moved", "index", picture, "--backbone", "shapes")
    (place / "models").rename(tmp_path / "elsewhere")
    try:
        code, shape = run("--collection", "moved", "search", picture, "-k", 1)
        assert (code, shape["error"]["kind"]) == (1, "WeightsUnavailable")
        monkeypatch.setenv("LOOKALIKE_MODELS", str(tmp_path / "elsewhere"))
        assert run("--collection", "moved", "search", picture, "-k", 1)[0] == 0
    finally:
        (tmp_path / "elsewhere").rename(place / "models")


def test_a_fine_tuned_backbone_can_be_fine_tuned_again(tuned: Shape, run: Run, place: Path, tmp_path: Path) -> None:
    draw_classes(tmp_path / "two", 6, ("dots", "stripes"), seed=5)
    code, shape = run(
        "finetune", tmp_path / "two", "--backbone", "shapes", "--name", "again", "--workers", 0, "--epochs", 2,
        "--no-augment",
    )  # fmt: skip
    assert code == 0, shape
    assert (shape["backbone"], shape["architecture"], shape["classes"]) == ("shapes", TINY, ["dots", "stripes"])
    assert shape["preparation"] == tuned["preparation"]


def test_ctrl_c_exits_130_and_the_same_command_goes_on_to_the_same_end(
    tuned: Shape,
    run: Run,
    place: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    command = ["finetune", str(place / "classes"), *settings(place), "--epochs", "12", "--batch-size", "8"]
    environment = os.environ | {"LOOKALIKE_MODELS": str(place / "models")}
    broken = [*WAITING, "--progress", "json", *command, "--name", "broken"]
    with subprocess.Popen(
        broken,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as job:
        assert job.stderr is not None
        for line in job.stderr:
            if '"event": "epoch"' in line:
                break
        job.send_signal(signal.SIGINT)
        _, rest = job.communicate()
        last = rest.splitlines()
    assert job.returncode == 130
    assert "finished epochs stay in" in last[-2]
    assert "run the same command again to go on" in last[-1]
    assert not (place / "models" / "broken").exists()
    code, refused = run(*command, "--name", "broken", "--lr", 1)
    assert (code, refused["error"]["kind"]) == (4, "GuardRefused")
    _, resumed = run(*command, "--name", "broken")
    _, straight = run(*command, "--name", "straight")
    assert len(resumed["history"]) == 12
    for ours, theirs in zip(resumed["history"], straight["history"], strict=True):
        assert {**ours, "seconds": 0} == {**theirs, "seconds": 0}
    files = [(place / "models" / name / "model.safetensors").read_bytes() for name in ("broken", "straight")]
    assert files[0] == files[1]


def test_people_get_a_table_and_what_to_do_next(tuned: Shape, place: Path, capfd: pytest.CaptureFixture[str]) -> None:
    command = ["finetune", str(place / "classes"), *settings(place), "--name", "shown", "--epochs", "1", "--no-augment"]
    with pytest.raises(SystemExit) as stop:
        main(["--progress", "plain", *command])
    shown = capfd.readouterr()
    assert stop.value.code in (0, None)
    assert all(
        word in shown.out for word in ("precision", "recall", "F1", *KINDS, "--backbone shown --preprocess card")
    )
    assert "epoch 1 of 1" in shown.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["--backbone", "builtin"], 2, "cannot be fine-tuned: choose a timm model"),
        (["--backbone", "test_resnett"], 2, "did you mean"),
        (["--name", "resnet50"], 2, "name of a backbone already"),
        (["--name", "../up"], 2, "letters, digits"),
        (["--name", "shapes"], 4, "--replace"),
        (["--epochs", "0"], 2, "--epochs 0"),
        (["--randaugment", "rand-q1"], 2, "--randaugment"),
        (["--agc", "0.01"], 2, "only trains with --whole"),
        (["--val-fraction", "2"], 2, "--val-fraction"),
        (["--device", "cuda:99"], 2, "cannot be used"),
        (["--image-size", "7"], 2, "image size 7"),
        (["--image-size", "big"], 2, "neither a number of pixels nor `test`"),
        (["--backbone", "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k"], 4, "--accept-license cc-by-nc-4.0"),
    ],
)
def test_what_cannot_be_done_is_told_before_any_training(
    arguments: list[str],
    code: int,
    says: str,
    tuned: Shape,
    run: Run,
    place: Path,
) -> None:
    before = sorted((place / "models").rglob("*"))
    found, shape = run("finetune", place / "classes", *settings(place), "--name", "other", *arguments)
    assert found == code, shape
    assert says in shape["error"]["message"]
    assert sorted((place / "models").rglob("*")) == before


def test_a_class_without_pictures_is_told_before_the_weights_are_looked_for(run: Run, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "classes" / name).mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(tmp_path / "classes" / "a" / "1.png")
    code, shape = run("finetune", tmp_path / "classes", "--weights", tmp_path / "nowhere.safetensors")
    assert code == 2
    assert "no pictures in 'b'" in shape["error"]["message"]


@pytest.mark.parametrize(
    ("folder", "backbone", "name"),
    [
        ("flowers", "eca_nfnet_l0", "flowers-eca_nfnet_l0"),
        ("Meine Blümchen (neu)", "hf_hub:timm/resnet50.a1_in1k", "Meine-Bl-mchen-neu-resnet50"),
        (".hidden", "mine", "hidden-mine"),
    ],
)
def test_a_model_is_named_after_its_folder_and_its_backbone(folder: str, backbone: str, name: str) -> None:
    assert default_name(Path("/photos") / folder, backbone) == name
