"""Who stands for the threshold of `dedup`, and when it calibrates first."""

from dataclasses import replace
from pathlib import Path

import pytest

from api.calibrating import CalibrationRequest
from api.deduplicating import DedupOptions, Told, deduplicate
from api.workspace import Workspace
from search.calibration.calibration import Calibration
from search.calibration.calibrations import Calibrations
from search.errors import UsageError
from search.index.post_transform import NONE
from search.storing.store import Store
from tests.conftest import Draw
from tests.jobs import index
from tests.test_calibrations import MADE

PICTURES = 3


@pytest.fixture
def album(local_store: Store, photos: Path, draw: Draw) -> Store:
    for number in range(PICTURES):
        draw(f"{number}.png", number)
    index(local_store, photos)
    return local_store


def made(album: Store, precision: float = 0.99, score: float | None = 0.97) -> Calibration:
    target = album.catalogue.collection("default")
    automatic = replace(MADE.automatic, precision=precision, score=score)
    found = replace(MADE, collection_id=target.id, space_id=target.space_id, transform=NONE.fingerprint)
    found = replace(found, images=PICTURES, automatic=automatic)
    Calibrations(album.database).add(found)
    return found


def source(album: Store, options: DedupOptions, told: Told | None = None) -> tuple[str, tuple[str, ...]]:
    with Workspace(album.root) as workspace:
        found = deduplicate(workspace, workspace.collection("default"), options, told or Told())
    return found.source, found.notes


def test_a_calibration_for_this_precision_gives_the_threshold(album: Store) -> None:
    made(album)
    assert source(album, DedupOptions()) == ("calibrated", ())


def test_one_for_another_precision_promises_nothing(album: Store) -> None:
    made(album, precision=0.95)
    kind, notes = source(album, DedupOptions(calibrate=False))
    assert (kind, "as you asked" in notes[0]) == ("none", True)


def test_too_few_images_are_not_calibrated_and_a_note_says_so(album: Store) -> None:
    kind, notes = source(album, DedupOptions())
    assert kind == "none"
    assert "3 different images are too few, 592 might do" in notes[0]


def test_many_copies_of_few_pictures_are_not_calibrated(
    album: Store, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.deduplicating.sources_needed", lambda _precision, _prevalence: PICTURES + 1)
    for number in range(PICTURES):
        (photos / f"again {number}.png").write_bytes((photos / "0.png").read_bytes())
    index(album, photos)
    kind, notes = source(album, DedupOptions())
    assert (kind, f"{PICTURES} different images are too few" in notes[0]) == ("none", True)


def test_what_nobody_calibrated_is_calibrated_first_with_the_same_precision(
    album: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, told = list[float](), list[str]()

    def calibrate(workspace: Workspace, target: object, request: CalibrationRequest, told: object) -> None:
        asked.append(request.precision)
        made(album, precision=request.precision)

    monkeypatch.setattr("api.calibrating.calibrate", calibrate)
    monkeypatch.setattr("api.deduplicating.sources_needed", lambda _precision, _prevalence: PICTURES)
    assert source(album, DedupOptions(precision=0.97), Told(say=told.append)) == ("calibrated", ())
    assert (asked, len(told)) == ([0.97], 1)
    assert told[0].startswith("nobody has calibrated this collection")
    assert source(album, DedupOptions(precision=0.97))[0] == "calibrated"
    assert asked == [0.97]
    source(album, DedupOptions(precision=0.95), Told(say=told.append))
    assert "calibrated for a precision of 0.97, which is replaced" in told[1]


def test_too_little_evidence_leaves_only_what_is_sure(album: Store) -> None:
    made(album, score=None)
    kind, notes = source(album, DedupOptions())
    assert kind == "none"
    assert "too little evidence" in notes[0]


def test_a_threshold_of_the_user_needs_no_calibration(album: Store) -> None:
    assert source(album, DedupOptions(threshold=0.5)) == ("user", ())


@pytest.mark.parametrize("wrong", [{"threshold": 2.0}, {"precision": 1.0}, {"precision": 0.5}])
def test_numbers_that_cannot_be_wanted_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=str(next(iter(wrong.values())))):
        DedupOptions(**wrong)  # type: ignore[arg-type]
