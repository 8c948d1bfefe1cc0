"""`lookalike quality` from the command line: a short run over drawn photographs, and what it refuses."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from api.cli import main

Shape = dict[str, Any]


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    for number in range(10):
        coarse = np.random.default_rng(number).integers(0, 256, (12, 16, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((192, 168), Image.Resampling.BICUBIC)
        picture.save(folder / f"photo {number}.jpg", quality=92)
    return folder


def exit_code(*arguments: object) -> int:
    with pytest.raises(SystemExit) as stop:
        main(["quality", *map(str, arguments), "--progress", "none"])
    return int(stop.value.code or 0)


@pytest.fixture(scope="module")
def made(photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Shape, Path]:
    """The report of a short run of the built-in backbone, and its page."""
    place = tmp_path_factory.mktemp("made")
    patch, printed = pytest.MonkeyPatch(), place / "report.json"
    options = (
        "--queries",
        10,
        "--distractors",
        2,
        "--strata",
        "light",
        "--workers",
        1,
        "--seed",
        2,
        "--tune",
        "--json",
    )
    with patch.context() as during, printed.open("w") as stream:
        during.setenv("LOOKALIKE_STORE", str(place / "mine"))
        during.setattr("sys.stdout", stream)
        # Photographs in full size cost half of the run; tests/test_quality_bench.py has them.
        during.setattr("indexer.quality.distractors._bundled_look_alikes", tuple)
        code = exit_code(photographs, *options, "--html", place / "page.html", "--keep", place / "kept")
    assert code == 0
    assert not (place / "mine").exists(), "the bench has a store of its own"
    return json.loads(printed.read_text()), place


def test_every_method_has_a_row_that_says_what_its_weights_are(made: tuple[Shape, Path]) -> None:
    rows = [(row["method"], row["weights"], row["mode"]) for row in made[0]["rows"]]
    assert rows[:3] == [
        ("builtin", "built-in", "fast"),
        ("builtin", "built-in", "accurate"),
        ("pHash, 256 bits", "hash", ""),
    ]
    # PDQ is there, or the report says why not.
    assert len(rows) == 4 or any("pdqhash" in remark for remark in made[0]["remarks"])


def test_light_edits_and_exact_copies_of_a_few_photographs_are_all_found(made: tuple[Shape, Path]) -> None:
    builtin = made[0]["rows"][0]
    assert builtin["groups"]["light"]["recall@1"]["value"] == 1
    assert builtin["identical"]["precision"] == builtin["identical"]["recall"] == 1
    assert builtin["imagededup_protocol"]["recall@p0.99"]["value"] > 0


def test_the_counts_add_up(made: tuple[Shape, Path]) -> None:
    counts = made[0]["counts"]
    assert counts["photographs"] == 10
    assert counts["tiles"] + counts["drawn"] == 2
    assert counts["references"] == counts["searched_for"] + counts["planted"] + 2
    assert set(made[0]["unseen_edits"]) >= {"webp", "ghost", "photographed"}


def test_transforms_are_compared_on_photographs_that_are_not_tested_on(made: tuple[Shape, Path]) -> None:
    tuning = made[0]["tuning"]
    assert tuning["photographs"] + made[0]["counts"]["searched_for"] + made[0]["counts"]["absent"] == 10
    (builtin,) = tuning["backbones"]
    rows = {row["transform"]: row for row in builtin["rows"]}
    assert list(rows) == ["none", "centre", "whiten-0.25", "whiten-0.5"]
    assert rows["none"]["recall_at_1"] == 1
    assert "needs at least as many images as dims" in rows["whiten-0.5"]["why_not"]
    assert builtin["winner"] in ("none", "centre")
    assert builtin["command"] == f"lookalike rebuild --transform {builtin['winner']}"


def test_the_page_is_written_and_the_pictures_are_kept(made: tuple[Shape, Path]) -> None:
    page = (made[1] / "page.html").read_text()
    assert "How well copies are found" in page
    assert (made[1] / "kept" / "quality.json").exists()
    assert (made[1] / "kept" / "store").is_dir()


def test_the_kept_folder_is_refused_with_other_options(
    made: tuple[Shape, Path], photographs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(photographs, "--queries", 11, "--keep", made[1] / "kept") == 4
    assert "made with other options" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nowhere"], "nowhere is no folder: name one with photographs"),
        (["."], "8 are needed"),
        ([".", "--strata", "hard"], "there is no stratum 'hard'; there are: heavy, light, medium"),
        ([".", "--edits", "jpg"], "there is no edit 'jpg'"),
        ([".", "--edits", ","], "--edits ',' names nothing"),
        ([".", "--strata", ""], "--strata '' names nothing"),
        ([".", "--weights", "w.safetensors"], "name a backbone for each"),
        ([".", "--backbone", "nfnet_10"], "there is no backbone 'nfnet_10': did you mean"),
        ([".", "--html", "nowhere/page.html"], "name a file in a folder that is there"),
    ],
)
def test_what_cannot_be_measured_is_refused_with_a_remedy(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(*arguments) == 2
    assert complaint in capsys.readouterr().err
