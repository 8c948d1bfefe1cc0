"""What a calibration makes of searches, duplicates, status and the command line; and when it makes nothing of them."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from api.cli import main
from api.commands.calibrating import FEWEST_IMAGES, verified_sentence
from api.queries import QueryRequest
from api.workspace import Workspace
from search.calibration.calibration import PREVALENCE, REVIEW, Calibration
from search.calibration.calibrations import Calibrations
from search.calibration.current import with_probability
from search.calibration.labelling import verified_precision
from search.duplicates.thresholds import CUSTOMARY_THRESHOLD
from search.finding.generations import Generations
from search.index.post_transform import NONE
from search.records import Collection, ImageRecord, Match
from search.storing.store import Store
from search.upkeep.status import collection_status
from tests.conftest import Draw
from tests.jobs import index
from tests.test_calibrations import MADE

PICTURES = 4
Printed = Callable[..., dict[str, object]]


@pytest.fixture
def album(local_store: Store, photos: Path, draw: Draw) -> Store:
    for number in range(PICTURES):
        draw(f"{number}.png", number)
    index(local_store, photos)
    return local_store


@pytest.fixture
def target(album: Store) -> Collection:
    return album.catalogue.collection("default")


@pytest.fixture
def calibrated(album: Store, target: Collection) -> Calibration:
    """The review threshold lies below the scores of all pictures, so that all are probable."""
    review = replace(MADE.review, score=-1.0)
    made = replace(MADE, collection_id=target.id, space_id=target.space_id, transform=NONE.fingerprint, review=review)
    made = replace(made, images=PICTURES)
    Calibrations(album.database).add(made)
    return made


def matches(album: Store, target: Collection) -> list[Match]:
    (first,) = album.catalogue.images(target.id, limit=1)
    with Workspace(album.root) as workspace:
        return workspace.search_by_image(target, first, QueryRequest(k=PICTURES)).matches


def test_without_a_calibration_nobody_names_a_probability(album: Store, target: Collection) -> None:
    assert {match.probability for match in matches(album, target)} == {None}


def test_a_match_has_the_probability_of_its_score(album: Store, target: Collection, calibrated: Calibration) -> None:
    same, *others = matches(album, target)
    assert (same.relation, same.probability) == ("identical", 1.0)
    for match in others:
        assert match.probability == pytest.approx(calibrated.probability(match.score), abs=1e-6)
        assert match.as_json()["probability"] == match.probability


def test_probable_begins_at_the_review_threshold(album: Store, target: Collection, calibrated: Calibration) -> None:
    assert {match.relation for match in matches(album, target)[1:]} == {"probable"}


def test_duplicates_are_near_from_the_automatic_threshold_on(
    album: Store, target: Collection, calibrated: Calibration
) -> None:
    with Workspace(album.root) as workspace:
        assert workspace.duplicates.threshold(target, None) == (calibrated.automatic.score, "calibrated")
        assert workspace.duplicates.threshold(target, 0.5) == (0.5, "user")


def test_what_does_not_hold_any_more_is_not_used_and_status_says_why(
    album: Store, target: Collection, calibrated: Calibration, photos: Path, draw: Draw
) -> None:
    for number in range(PICTURES, 2 * PICTURES):
        draw(f"{number}.png", number)
    index(album, photos)
    with Workspace(album.root) as workspace:
        assert workspace.duplicates.threshold(target, None) == (CUSTOMARY_THRESHOLD, "none")
    assert {match.probability for match in matches(album, target)} == {None}
    told = collection_status(album, album.catalogue.collection("default"))
    assert told.calibration_as_json is not None
    assert told.calibration_as_json["current"] is False
    assert told.calibration_as_json["objection"] == "the collection had 4 images then and has 8 now"
    assert "run `lookalike calibrate` again" in told.calibration_explained


def test_a_calibration_of_another_transform_is_not_used(
    album: Store, target: Collection, calibrated: Calibration
) -> None:
    Calibrations(album.database).add(replace(calibrated, transform="another"))
    with Workspace(album.root) as workspace:
        assert workspace.duplicates.threshold(target, None).source == "calibrated"
    assert collection_status(album, target).calibration == calibrated


@pytest.fixture
def centred(album: Store, target: Collection) -> Collection:
    """The collection, its scores compared after a transform, for which nobody has measured a threshold."""
    Generations(album.database, album.blobs, target).publish(target.sequence, transform="centre")
    return album.catalogue.collection("default")


def test_after_a_transform_nothing_is_probable_before_somebody_calibrates(
    album: Store, centred: Collection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("api.workspace.default_threshold", lambda space: -1.0)  # every score reaches it
    assert {match.relation for match in matches(album, centred)[1:]} == {"similar"}


def test_dedup_after_a_transform_warns_that_its_threshold_was_measured_without(
    album: Store, centred: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    with Workspace(album.root) as workspace:
        assert workspace.duplicates.threshold(centred, None) == (CUSTOMARY_THRESHOLD, "none")
        assert "measured for scores without a transform, and default is compared after centre" in caplog.text
        caplog.clear()
        assert workspace.duplicates.threshold(centred, 0.5) == (0.5, "user")
        assert not caplog.records


def test_without_a_transform_dedup_has_nothing_to_warn_of(
    album: Store, target: Collection, caplog: pytest.LogCaptureFixture
) -> None:
    with Workspace(album.root) as workspace:
        workspace.duplicates.threshold(target, None)
    assert not caplog.records


def test_status_shows_what_is_known(album: Store, target: Collection, calibrated: Calibration) -> None:
    told = collection_status(album, target)
    assert told.calibration_explained.startswith("2023-11-14; 99.2 % at least of the pairs from 0.800 on")
    assert "; for review: " in told.calibration_explained
    shape = told.as_json()["calibration"]
    assert isinstance(shape, dict)
    assert (shape["current"], shape["verified"]) == (True, calibrated.verified)
    assert "knots" not in shape


def test_what_was_verified_is_as_probable_as_verification_is_precise() -> None:
    image = ImageRecord(1, "k", "file:///a", 9, 9, 9, "png", b"s" * 32, b"p" * 16, 50.0, 1)
    found = [Match(image, 0.3, "same_picture", "yes"), Match(image, 0.9, "similar", "no")]
    assert [one.probability for one in with_probability(found, MADE, looked=True)] == [MADE.verified, None]
    assert [one.probability for one in with_probability(found, None, looked=True)] == [None, None]
    few = replace(MADE, verified=0.4)
    assert [one.probability for one in with_probability(found, few, looked=True)] == [None, None]


@pytest.fixture
def printed(album: Store, capsys: pytest.CaptureFixture[str]) -> Printed:
    def run(*words: str, code: int = 0) -> dict[str, object]:
        with pytest.raises(SystemExit) as ended:
            main(["--store", str(album.root), "--json", "--progress", "none", *words])
        assert ended.value.code == code
        shape: dict[str, object] = json.loads(capsys.readouterr().out)
        return shape

    return run


def shown(album: Store, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit, match="0"):
        main(["--store", str(album.root), "--progress", "none", *words])
    return capsys.readouterr().out


def test_the_table_of_a_search_has_probabilities_where_they_are_known(
    album: Store, target: Collection, capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    assert "probability" not in shown(album, capsys, "search", "--id", "1")
    known: Calibration = request.getfixturevalue("calibrated")
    head, first, second, *_ = shown(album, capsys, "search", "--id", "1").splitlines()
    assert head.split()[:4] == ["#", "score", "relation", "probability"]
    assert first.split()[2:5] == ["identical", "100", "%"]
    told = 100 * (known.probability(float(second.split()[1])) or 0)
    assert float(second.split()[3]) == pytest.approx(told, abs=0.2)


def test_status_shows_the_threshold_of_review(
    album: Store, calibrated: Calibration, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "for review: " in shown(album, capsys, "status")


@pytest.mark.parametrize(("share", "so"), [(0.95, "they get that probability"), (0.432, "too little to give them a")])
def test_what_verification_is_worth_is_said_in_a_sentence(share: float, so: str) -> None:
    told = verified_sentence(share, 60, 0)
    assert told.startswith(f"of the matches that --accurate verifies, {100 * share:.1f} % or more are the same picture")
    assert so in told


def test_few_images_without_a_mistake_bring_no_alarming_bound() -> None:
    assert verified_sentence(0.432, 8, 0).startswith("too few images (8) to say")
    assert "43.2 % or more" in verified_sentence(0.432, 8, 1)
    assert "they get that probability" in verified_sentence(0.95, 30, 0)


def test_without_a_mistake_as_many_images_as_it_takes_bring_a_probability() -> None:
    for images in (FEWEST_IMAGES - 1, FEWEST_IMAGES):
        share = verified_precision(3 * images, 3 * images, 0, images, PREVALENCE) or 0.0
        assert (share >= REVIEW) == (images == FEWEST_IMAGES)


def test_status_says_in_one_sentence_that_there_is_no_threshold(
    album: Store, calibrated: Calibration, capsys: pytest.CaptureFixture[str]
) -> None:
    nothing = replace(MADE.automatic, score=None, bound=None)
    without = replace(calibrated, automatic=nothing, review=nothing, knots=(), evidence={"images": 1})
    Calibrations(album.database).add(without)
    told = [line for line in shown(album, capsys, "status").splitlines() if "threshold" in line]
    assert [line.split(maxsplit=1) for line in told] == [
        ["calibration", "2023-11-14; the evidence of 1 image shows no threshold"]
    ]


def test_dedup_says_that_its_threshold_is_calibrated(printed: Printed, calibrated: Calibration) -> None:
    shape = printed("dedup")
    assert (shape["threshold"], shape["threshold_source"]) == (calibrated.automatic.score, "calibrated")


def test_verdicts_go_in_and_out(printed: Printed, tmp_path: Path) -> None:
    given, written = tmp_path / "in.csv", tmp_path / "out.csv"
    given.write_text(f"first,second,verdict\n{'b' * 64},{'a' * 64},same\n{'a' * 64},{'c' * 64},different\n")
    assert printed("verdicts", "import", str(given)) == {"imported": 2}
    items = printed("verdicts", "list")["items"]
    assert isinstance(items, list)
    assert [(one["first"][0], one["second"][0], one["verdict"]) for one in items] == [
        ("a", "b", "same"),
        ("a", "c", "different"),
    ]
    assert printed("verdicts", "export", str(written))["exported"] == 2
    assert printed("verdicts", "import", str(written)) == {"imported": 2}
    assert printed("verdicts", "list")["items"] == items


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("first,second\n", "has no column verdict"),
        (f"first,second,verdict\n{'b' * 64},x,same\n", "line 2, column second: 'x' is no sha256"),
        (
            f"first,second,verdict\n{'b' * 64},{'a' * 64}\n",
            "line 2, column verdict: a verdict is one of",
        ),
    ],
)
def test_a_file_that_is_no_list_of_verdicts_changes_nothing(
    printed: Printed, tmp_path: Path, text: str, why: str
) -> None:
    file = tmp_path / "in.csv"
    file.write_text(text)
    error = printed("verdicts", "import", str(file), code=2)["error"]
    assert isinstance(error, dict)
    assert why in error["message"]
    assert printed("verdicts", "list") == {"items": []}
