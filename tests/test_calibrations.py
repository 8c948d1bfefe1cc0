"""What is kept of a calibration, on both databases: the newest counts, for its own space and transform alone."""

from dataclasses import replace

import pytest
from sqlalchemy import update

from search.calibration.calibration import AUTOMATIC, REVIEW, Calibration, Operating
from search.calibration.calibrations import Calibrations
from search.database.tables import calibration
from search.errors import CorruptFile, UsageError
from search.records import Collection
from search.storing.store import Store
from search.storing.verdicts import Verdicts, verdict_on

KNOTS = ((0.2, 0.1), (0.5, 0.1), (0.6, 0.9), (0.9, 0.98))
MADE = Calibration(
    collection_id=1,
    space_id=1,
    transform="t",
    images=100,
    automatic=Operating(AUTOMATIC, 0.8, 0.992, 640, 600.5, 595, {"light": 0.97, "heavy": 0.4}, 0.004),
    review=Operating(REVIEW, 0.6, 0.91, 900, 700.0, 55, {"light": 0.99}, 0.05),
    knots=KNOTS,
    prevalence=0.5,
    verified=0.995,
    evidence={"positives": 900, "negatives": 3000},
    samples=300,
    seed=4,
    made_at=1_700_000_000.0,
)
ONE, OTHER, THIRD = (letter * 64 for letter in "abc")


def of(target: Collection) -> Calibration:
    return replace(MADE, collection_id=target.id, space_id=target.space_id)


def test_what_was_written_comes_back_whole(store: Store, target: Collection) -> None:
    Calibrations(store.database).add(of(target))
    assert Calibrations(store.database).newest(target) == of(target)


def test_the_newest_counts_even_if_it_found_too_little(store: Store, target: Collection) -> None:
    none = replace(of(target), review=replace(MADE.review, score=None, bound=None), knots=())
    known = Calibrations(store.database)
    known.add(of(target))
    known.add(none)
    assert known.newest(target) == none


def test_each_transform_has_its_own(store: Store, target: Collection) -> None:
    known = Calibrations(store.database)
    known.add(of(target))
    known.add(replace(of(target), transform="another", seed=5))
    assert known.newest(target, "t") == of(target)
    assert known.newest(target, "a third") is None
    newest = known.last(target)
    assert newest is not None
    assert newest.transform == "another"


def test_findings_that_nobody_can_read_are_damage_with_a_remedy(store: Store, target: Collection) -> None:
    Calibrations(store.database).add(of(target))
    with store.database.writing() as connection:
        connection.execute(update(calibration).values(findings={"knots": 7}))
    with pytest.raises(CorruptFile, match="`lookalike calibrate` makes a new one"):
        Calibrations(store.database).newest(target)


def test_the_probability_lies_on_the_lines_between_the_knots() -> None:
    assert [MADE.probability(score) for score in (-1, 0.3, 0.55, 0.75, 1)] == pytest.approx([0.1, 0.1, 0.5, 0.94, 0.98])


def test_at_another_prevalence_the_odds_are_others() -> None:
    """Of odds 9:1 at a half, a picture that is there once in eleven times leaves 1.8:1."""
    assert MADE.probability(0.6, prevalence=0.1) == pytest.approx(1.8 / 2.8)
    assert MADE.probability(0.6, prevalence=0.5) == pytest.approx(0.9)


def test_without_knots_nobody_knows() -> None:
    assert replace(MADE, knots=()).probability(0.9) is None


@pytest.mark.parametrize(
    ("space", "transform", "images", "why"),
    [
        (1, "t", 199, None),
        (1, "t", 200, "the collection had 100 images then and has 200 now"),
        (2, "t", 100, "it was made in another space"),
        (1, "u", 100, "embeddings were compared after another transform"),
    ],
)
def test_it_holds_for_its_space_and_transform_until_the_collection_has_doubled(
    space: int, transform: str, images: int, why: str | None
) -> None:
    assert MADE.objection(space, transform, images) == why


def test_too_little_evidence_says_how_much_would_do() -> None:
    few = Operating(AUTOMATIC, None, None, 120, 80.0, 595)
    assert few.explanation == (
        "not enough evidence for 99 %: 120 pairs are worth only 80 independent ones; 595 such without an error would "
        "show it"
    )


def test_a_single_independent_pair_is_one() -> None:
    single = Operating(AUTOMATIC, None, None, 266, 1.2, 592)
    assert "266 pairs are worth only 1 independent one; 592" in single.explanation
    assert "1 pair is worth only 1 independent one; 592" in replace(single, pairs=1).explanation


def test_fewer_images_or_a_lost_threshold_are_less_than_a_calibration_with_one() -> None:
    made = replace(MADE, evidence={"images": 300})
    nothing = replace(MADE.review, score=None, bound=None)
    assert not made.is_less_than(made)
    assert replace(made, evidence={"images": 299}).is_less_than(made)
    assert replace(made, automatic=nothing).is_less_than(made)
    assert replace(made, automatic=nothing, review=nothing).is_less_than(replace(made, automatic=nothing))


def test_nothing_is_less_than_a_calibration_without_a_threshold() -> None:
    nothing = replace(MADE.review, score=None, bound=None)
    before = replace(MADE, automatic=nothing, review=nothing, evidence={"images": 300})
    assert not replace(before, evidence={"images": 2}).is_less_than(before)


def test_enough_evidence_with_wrong_pairs_among_it_asks_for_no_more() -> None:
    wrong = Operating(AUTOMATIC, None, None, 900, 700.0, 560)
    assert wrong.explanation == "not enough evidence for 99 %: too many of 900 pairs are wrong"


def test_a_verdict_holds_for_both_orders_and_the_last_one_counts(store: Store) -> None:
    said = Verdicts(store.database)
    assert said.say([verdict_on(OTHER, ONE, "same", 1.0), verdict_on(ONE, THIRD, "Different", 2.0)]) == 2
    assert said.say([verdict_on(ONE, OTHER, "different", 3.0)]) == 1
    assert [(one.first.hex(), one.second.hex(), one.said, one.made_at) for one in said.all()] == [
        (ONE, OTHER, "different", 3.0),
        (ONE, THIRD, "different", 2.0),
    ]


@pytest.mark.parametrize(
    ("one", "other", "said", "why"),
    [
        (ONE, ONE, "different", "cannot be said of files with the same bytes"),
        (ONE, "abc", "same", "'abc' is no sha256"),
        (ONE, OTHER, "maybe", "one of duplicate, .*, same, different, not 'maybe'"),
    ],
)
def test_a_verdict_on_nothing_is_refused(one: str, other: str, said: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        verdict_on(one, other, said)
