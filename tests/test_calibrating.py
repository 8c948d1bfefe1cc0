"""The whole job on thirty-two drawn pictures: what it finds, what it says, and what searches make of it."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import lookalike
from api.calibrating import CalibrationRequest, Told, calibrate
from api.cli import main
from api.queries import QueryRequest
from api.workspace import Workspace
from indexer.procedural.pictures import procedural_images
from search.calibration.calibration import Calibration
from search.calibration.calibrations import Calibrations
from search.errors import UsageError
from search.storing.verdicts import Verdicts, verdict_on
from tests.conftest import own_cache

PICTURES = 32
REQUEST = CalibrationRequest(samples=28, seed=3, copies=3, prevalence=1.0)  # 26 images are enough for 90 %


@cache
def drawn_once(count: int, seed: int) -> list[NDArray[np.uint8]]:
    """The pictures that edits lay over others: every job draws the same ones, which is most of a small job's work."""
    return list(procedural_images(count, seed))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for number, pixels in enumerate(procedural_images(PICTURES, 5)):
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def root(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    root = tmp_path_factory.mktemp("album") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOOKALIKE_CACHE", own_cache(tmp_path_factory.mktemp("cache")))
        patch.setattr("api.calibrating.procedural_images", drawn_once)
        with lookalike.open(root) as album:
            album.index(pictures, progress=False)
        yield root


@pytest.fixture(scope="module")
def workspace(root: Path) -> Iterator[Workspace]:
    with Workspace(root) as opened:
        yield opened


@pytest.fixture(scope="module")
def found(workspace: Workspace) -> Calibration:
    """A calibration that compares fewer pairs of pictures than a user's, which takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.calibrating.PAIRS", 3)
        return calibrate(workspace, workspace.collection("default"), REQUEST)


def test_copies_are_made_of_the_sample_and_their_neighbours_are_the_wrong_answers(found: Calibration) -> None:
    assert found.evidence["images"] == 28
    assert found.evidence["copies"] == 84
    assert found.evidence["queries"] == 112
    assert found.evidence["right"] >= 84
    assert found.evidence["wrong"] > 35


def test_what_was_shown_is_a_threshold_and_what_was_not_is_none(found: Calibration) -> None:
    assert found.review.score is not None
    assert found.review.bound is not None
    assert found.review.bound >= 0.9
    assert found.review.recall["light"] > found.review.recall["heavy"]
    assert found.automatic.score is None
    assert found.automatic.explanation.startswith("not enough evidence for 99 %")
    assert found.verified is not None


def test_the_probability_rises_with_the_score(found: Calibration) -> None:
    low, high = found.probability(0.2), found.probability(0.98)
    assert low is not None
    assert high is not None
    assert low < 0.5
    assert 0.9 < high < 1


def test_the_attempt_is_kept(workspace: Workspace, found: Calibration) -> None:
    assert Calibrations(workspace.store.database).newest(workspace.collection("default")) == found


def test_the_same_seed_finds_the_same(workspace: Workspace, found: Calibration) -> None:
    small = replace(REQUEST, samples=2, copies=3)
    one, other = (calibrate(workspace, workspace.collection("default"), small) for _ in range(2))
    assert replace(one, made_at=0.0) == replace(other, made_at=0.0)


def test_the_same_pictures_in_another_order_give_the_same(
    pictures: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.calibrating.procedural_images", drawn_once)

    def evidence_of(name: str, order: list[int]) -> tuple[str, dict[str, int]]:
        """Return the content of the first image, and what was found."""
        (tmp_path / name).mkdir()
        with lookalike.open(tmp_path / f"{name}-store") as album:
            for some in (order[:1], order[1:]):
                for number in some:
                    shutil.copy(pictures / f"{number}.png", tmp_path / name)
                album.index(tmp_path / name, progress=False)
        with Workspace(tmp_path / f"{name}-store") as opened:
            target = opened.collection("default")
            (first,) = opened.store.catalogue.images(target.id, limit=1)
            return first.sha256.hex(), dict(calibrate(opened, target, replace(REQUEST, samples=2)).evidence)

    (first, evidence), (last, other) = evidence_of("forwards", [0, 1, 2]), evidence_of("backwards", [2, 1, 0])
    assert first != last
    assert evidence == other


def test_a_few_images_are_not_enough_and_it_says_how_many_pairs_would_be(workspace: Workspace) -> None:
    few = calibrate(workspace, workspace.collection("default"), replace(REQUEST, samples=2, copies=3))
    assert (few.review.score, few.automatic.score, few.knots) == (None, None, ())
    assert few.review.explanation.startswith("not enough evidence for 90 %")


def test_the_command_says_which_better_calibration_it_replaces(
    root: Path, workspace: Workspace, found: Calibration, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: str) -> str:
        Calibrations(workspace.store.database).add(found)
        with pytest.raises(SystemExit, match="0"):
            main(["--store", str(root), "--progress", "none", "calibrate", "--samples", "1", *words])
        return capsys.readouterr().out

    told = said()
    assert "15 edited copies of 1 image;" in told
    assert told.splitlines()[-1] == (
        f"this replaces the calibration of {found.date[:10]} with more evidence (28 images): "
        "`lookalike calibrate --samples 28` looks for it again"
    )
    replaced = json.loads(said("--json"))["replaced"]
    assert (replaced["samples"], replaced["images"], replaced["automatic"]) == (28, 28, None)
    assert replaced["review"] == found.review.score


def test_verdicts_override_what_the_machine_says(root: Path) -> None:
    """Somebody says of an image and its neighbour that they are one picture, then that they are not."""
    with Workspace(root) as workspace:
        target = workspace.collection("default")
        (first,) = workspace.store.catalogue.images(target.id, limit=1)
        second = workspace.search_by_image(target, first, QueryRequest(k=2)).matches[1].image
        Verdicts(workspace.store.database).say([verdict_on(first.sha256.hex(), second.sha256.hex(), "same")])
        one = calibrate(workspace, target, replace(REQUEST, samples=3, copies=3))
        assert one.evidence["verdicts"] >= 1
        assert one.evidence["right"] > one.evidence["copies"]
        Verdicts(workspace.store.database).say([verdict_on(first.sha256.hex(), second.sha256.hex(), "different")])
        other = calibrate(workspace, target, replace(REQUEST, samples=3, copies=3))
        assert other.evidence["right"] == other.evidence["copies"]


def test_who_waits_is_told_how_long_and_how_far(workspace: Workspace) -> None:
    asked, compared, seconds = list[tuple[int, int]](), list[tuple[int, int]](), list[float]()
    told = Told(lambda *far: asked.append(far), lambda *far: compared.append(far), seconds.append)
    calibrate(workspace, workspace.collection("default"), replace(REQUEST, samples=2, copies=3), told)
    assert asked == [(1, 2), (2, 2)]
    assert compared[-1][0] == compared[-1][1] > 0
    assert len(seconds) == 1


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"precision": 1.0}, {"precision": 0.5}, {"prevalence": 0.0}])
def test_what_cannot_be_wanted_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="choose"):
        CalibrationRequest(**wrong)  # type: ignore[arg-type]
