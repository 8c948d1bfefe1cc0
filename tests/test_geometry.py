"""Verifying that two pictures show the same picture: drawn ones, transformed in ways that can be checked by hand."""

import importlib.util
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from search.geometry import verification as answers
from search.geometry.agreement import align
from search.geometry.keypoints import ASKED, STORED, Keypoints, as_grey, extract, mirrored
from search.geometry.matching import match
from search.geometry.transformation import Pairs, moved, residuals
from search.geometry.verification import Verification
from search.geometry.verify import prepare, prepared, verify, verify_in_order
from tests.conftest import painted
from tests.drawn_pictures import Pixels, compressed, embedded, indexed, resized, smooth, textured, turned

WIDTH, HEIGHT = 400, 300
CORNERS = ((0, 0), (WIDTH, 0), (WIDTH, HEIGHT), (0, HEIGHT))


def compared(query: Pixels, candidate: Pixels | int) -> Verification:
    """candidate: a picture, or the number of a drawn one."""
    return verify(prepare(query), indexed(candidate) if isinstance(candidate, int) else extract(candidate))


@cache
def stereo_pair() -> tuple[Pixels, Pixels]:
    """Return the two shots of a motorcycle that ship with scikit-image, which is not imported: that takes a second."""
    package = importlib.util.find_spec("skimage")
    assert package is not None
    assert package.origin is not None
    folder = Path(package.origin).parent / "data"
    left, right = (cv2.imread(str(folder / f"motorcycle_{side}.png")) for side in ("left", "right"))
    return np.asarray(left, np.uint8), np.asarray(right, np.uint8)


def corners_there(found: Verification) -> NDArray[np.float64]:
    """Return where the query's four corners lie in the candidate, clockwise from the upper left."""
    assert found.answer == "yes", found
    assert found.model is not None
    width, height = found.query_size
    return moved(found.model, np.array(((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))))


def test_a_picture_is_itself() -> None:
    found = compared(textured(1), 1)
    np.testing.assert_allclose(corners_there(found), CORNERS, atol=0.1)
    assert found.agreement == pytest.approx(1, abs=0.01)
    assert found.ratio > 0.95
    assert not found.mirrored


@pytest.mark.parametrize("side", [1.0, 0.5])
def test_a_crop_lies_where_it_was_cut_out_however_large_it_is_shown(side: float) -> None:
    crop = textured(1)[90:240, 150:350]
    found = compared(resized(crop, round(200 * side), round(150 * side)), 1)
    np.testing.assert_allclose(corners_there(found), ((150, 90), (350, 90), (350, 240), (150, 240)), atol=1)
    assert found.shared is not None
    assert found.shared.of_candidate == pytest.approx(200 * 150 / (WIDTH * HEIGHT), abs=0.01)
    assert found.shared.of_query == pytest.approx(1, abs=0.02)


def test_a_picture_inside_a_larger_one_lies_where_it_was_put() -> None:
    larger = embedded(resized(textured(1), 200, 150), textured(2, 500, 400), left=210, top=40)
    found = compared(larger, 1)
    assert found.answer == "yes"
    assert found.model is not None
    assert found.shared is not None
    there = moved(found.model, np.array(((210.0, 40.0), (410.0, 190.0))))
    np.testing.assert_allclose(there, ((0, 0), (WIDTH, HEIGHT)), atol=2)
    assert found.shared.of_candidate == pytest.approx(1, abs=0.02)
    assert found.shared.of_query == pytest.approx(200 * 150 / (500 * 400), abs=0.01)


@pytest.mark.parametrize(
    ("quarters", "upper_left"), [(1, (0, HEIGHT)), (2, (WIDTH, HEIGHT)), (3, (WIDTH, 0))], ids=["90", "180", "270"]
)
def test_the_upper_left_of_a_turned_picture_was_another_corner(quarters: int, upper_left: tuple[int, int]) -> None:
    there = corners_there(compared(turned(textured(1), quarters), 1))
    order = CORNERS.index(upper_left)
    np.testing.assert_allclose(there, CORNERS[order:] + CORNERS[:order], atol=1)


@pytest.mark.parametrize("quarters", [0, 1])
def test_a_mirror_image_is_found_without_extracting_it_again(quarters: int) -> None:
    found = compared(turned(textured(1)[:, ::-1], quarters), 1)
    assert found.mirrored
    expected = ((400, 0), (0, 0), (0, 300), (400, 300)) if quarters == 0 else ((400, 300), (400, 0), (0, 0), (0, 300))
    np.testing.assert_allclose(corners_there(found), expected, atol=1)
    assert found.places is not None
    assert found.model is not None
    np.testing.assert_allclose(moved(found.model, found.places[:, :2]), found.places[:, 2:], atol=8)


def test_the_keypoints_of_a_mirror_image_are_those_extracted_from_it() -> None:
    turned_round, extracted = mirrored(extract(textured(1), ASKED)), extract(np.ascontiguousarray(textured(1)[:, ::-1]))
    pairs = next(match(turned_round, [extracted]))
    apart = np.linalg.norm(turned_round.points()[pairs.query] - extracted.points()[pairs.candidate], axis=1)
    turns = (turned_round.angles()[pairs.query] - extracted.angles()[pairs.candidate] + np.pi) % (2 * np.pi) - np.pi
    assert len(pairs) > 0.8 * len(extracted)
    assert (apart < 1).mean() > 0.95
    assert (np.abs(turns) < 0.2).mean() > 0.95


def test_a_picture_stretched_to_a_square_has_an_affine_model() -> None:
    np.testing.assert_allclose(corners_there(compared(resized(textured(1), 260, 260), 1)), CORNERS, atol=2)


@pytest.mark.parametrize("quarters", [0, 1])
def test_turning_the_roles_round_inverts_the_model(quarters: int) -> None:
    small, whole = turned(resized(textured(1)[60:260, 100:380], 210, 150), quarters), textured(1)
    forth, back = compared(small, whole), compared(whole, small)
    assert forth.model is not None
    assert back.model is not None
    there = corners_there(forth)
    np.testing.assert_allclose(moved(back.model, there), moved(np.eye(3), _frame(small)), atol=1)
    assert forth.shared is not None
    assert back.shared is not None
    assert forth.shared.of_candidate == pytest.approx(back.shared.of_query, abs=0.02)


def test_different_pictures_have_nothing_in_common() -> None:
    found = compared(textured(1), textured(2))
    assert (found.answer, found.reason) == ("no", answers.DIFFERENT)


@pytest.mark.parametrize("shown", ["blank", "faint", "one pixel", "one row"])
def test_a_picture_that_shows_nothing_cannot_be_verified_and_is_not_different(shown: str) -> None:
    picture = {
        "blank": np.full((300, 400, 3), 130, np.uint8),
        "faint": np.full((300, 400, 3), 130, np.uint8) + (np.arange(400) % 2).astype(np.uint8)[None, :, None],
        "one pixel": np.zeros((1, 1, 3), np.uint8),
        "one row": np.zeros((1, 400), np.uint8),
    }[shown]
    assert len(extract(picture)) == 0
    for found in (compared(picture, 1), compared(textured(1), picture), compared(picture, picture)):
        assert (found.answer, found.reason) == ("cannot", answers.TOO_LITTLE)


def test_a_gradient_looks_like_any_other_and_cannot_be_verified() -> None:
    backdrop = np.repeat(np.linspace(40, 220, 400).astype(np.uint8)[None, :], 300, axis=0)
    other = resized(backdrop[:, :390], 400, 300)
    assert compared(backdrop, other).answer == "cannot"


@pytest.mark.parametrize("quarters", [0, 1, 2, 3])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_picture_without_texture_is_recognised_by_its_pixels_at_every_turn(quarters: int, mirror: bool) -> None:
    copy = turned(smooth(3)[:, ::-1] if mirror else smooth(3), quarters)
    query = prepare(compressed(resized(copy, copy.shape[1] // 2, copy.shape[0] // 2), 60))
    found = verify(query, extract(smooth(3)))
    assert found.answer == "yes"
    assert found.mirrored == mirror
    assert verify(query, extract(smooth(4))).answer != "yes"


def test_a_crop_without_texture_is_found_in_the_whole() -> None:
    found = compared(smooth(3)[60:240, 120:360], smooth(3))
    np.testing.assert_allclose(corners_there(found), ((120, 60), (360, 60), (360, 240), (120, 240)), atol=8)
    assert compared(smooth(4)[60:240, 120:360], smooth(3)).answer != "yes"


def test_a_few_blobs_of_colour_agree_with_other_blobs_which_says_nothing() -> None:
    one, other = (np.asarray(painted(number, (288, 240))) for number in (18, 1000))
    found = compared(one, other)
    assert (found.answer, found.reason) == ("cannot", answers.TOO_LITTLE)
    assert compared(compressed(one, 60), one).answer == "yes", "what agrees level by level does"


def test_a_logo_in_common_does_not_make_pictures_the_same() -> None:
    logo = textured(9, 100, 80)
    found = compared(embedded(logo, textured(1), 290, 210), embedded(logo, textured(2), 290, 210))
    assert (found.answer, found.reason) == ("no", answers.PART)


def test_a_page_with_another_picture_on_more_than_half_of_it_is_another_page() -> None:
    page = textured(9)
    one, other = (embedded(textured(seed, 320, 220), page, 40, 40) for seed in (1, 2))
    found = verify(prepare(one), extract(other))
    assert found.inliers >= answers.ENOUGH_INLIERS
    assert found.spread
    assert (found.answer, found.reason) == ("no", answers.PART)


def test_a_quarter_covered_leaves_a_picture_the_same() -> None:
    assert compared(embedded(textured(2, 200, 150), textured(1), 30, 90), 1).answer == "yes"


def test_bars_all_over_a_picture_touch_every_cell_of_pixels_and_leave_it_the_same() -> None:
    barred = textured(1)
    for left in range(8, WIDTH, 57):
        barred[:, left : left + 9] = 255
    found = compared(barred, 1)
    assert found.agreement is not None
    assert found.agreement < answers.ENOUGH_AGREEMENT
    assert found.answer == "yes"


def test_a_logo_is_not_enough_where_nothing_else_is_to_be_seen() -> None:
    logo, one, other = textured(9, 85, 65), textured(1, 12, 12), textured(2, 12, 12)
    page = np.full((300, 400, 3), 240, np.uint8)
    letter, bill = (embedded(logo, embedded(part, page, x, 200), 310, 5) for part, x in ((one, 60), (other, 200)))
    found = verify(prepare(letter), extract(bill))
    assert found.inliers >= answers.ENOUGH_INLIERS
    assert (found.answer, found.reason) == ("no", answers.PART)


def test_pixels_are_laid_over_each_other_to_the_pixel() -> None:
    grey = as_grey(textured(1))
    flip = np.array(((-1.0, 0.0, 400.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    aligned = align(np.ascontiguousarray(grey[:, ::-1]), grey, flip)
    assert aligned is not None
    np.testing.assert_allclose(aligned.query[aligned.both], aligned.candidate[aligned.both], atol=0.01)
    assert aligned.both.mean() > 0.95


def test_errors_are_measured_in_the_coarser_of_the_two_pictures() -> None:
    source = np.array(((0.1, 0.1), (0.2, 0.1), (0.2, 0.3)))
    none = np.zeros(3)
    larger = Pairs(source, source * 4 + (0.08, 0), none, none)
    smaller = Pairs(source, source / 4 + (0.02, 0), none, none)
    np.testing.assert_allclose(residuals(larger, np.diag((4.0, 4.0, 1.0))), 0.02)
    np.testing.assert_allclose(residuals(smaller, np.diag((0.25, 0.25, 1.0))), 0.02)


@pytest.mark.parametrize("camera", [6, 20])
def test_things_that_moved_against_each_other_are_another_shot(camera: int) -> None:
    scene, nearer = textured(1, 440, 300), textured(2, 220, 120)

    def shot(right: int) -> Pixels:
        """Return the scene from a place so many pixels to the right: what is near moves twice as far."""
        return embedded(nearer, scene[:, right : right + 400], 150 - 2 * right, 120)

    assert compared(shot(0), compressed(shot(0), 40)).answer == "yes"
    found = compared(shot(0), shot(camera))
    assert (found.answer, found.reason) == ("no", answers.ANOTHER_SHOT)


@pytest.mark.parametrize("shown", ["whole", "half the size", "lower left"])
def test_the_other_picture_of_a_stereo_pair_is_another_shot(shown: str) -> None:
    left, right = stereo_pair()
    query = {"whole": right, "half the size": resized(right, 370, 250), "lower left": right[150:, :500]}[shown]
    assert verify(prepare(np.ascontiguousarray(query)), extract(right)).answer == "yes"
    found = verify(prepare(np.ascontiguousarray(query)), extract(left))
    assert (found.answer, found.reason) == ("no", answers.ANOTHER_SHOT)


def test_a_caption_over_a_third_leaves_a_picture_the_same() -> None:
    covered = textured(1)
    covered[200:] = 255
    assert compared(covered, 1).answer == "yes"


def test_the_same_pixels_give_the_same_answer_alone_or_among_others() -> None:
    query = prepare(textured(1)[50:250, 80:300])
    candidates = [indexed(seed) for seed in (5, 1, 6, 7)]
    together, alone = (
        list(verify_in_order(query, candidates))[1],
        verify(prepare(textured(1)[50:250, 80:300]), candidates[1]),
    )
    assert together.model is not None
    assert alone.model is not None
    np.testing.assert_array_equal(together.model, alone.model)
    assert (together.inliers, together.matches, together.agreement) == (alone.inliers, alone.matches, alone.agreement)


def test_verifying_stops_after_so_many_in_vain_and_loads_no_more() -> None:
    loaded: list[Keypoints] = []

    def candidates() -> Iterator[Keypoints]:
        for one in (same, *[other] * 40):
            loaded.append(one)
            yield one

    same, other = indexed(1), indexed(2)
    found = list(verify_in_order(prepare(textured(1)), candidates(), patience=3))
    assert [one.answer for one in found] == ["yes", "no", "no", "no"]
    assert len(loaded) == 8


def test_without_a_yes_all_candidates_are_compared() -> None:
    query, other = prepare(textured(1)), indexed(2)
    assert len(list(verify_in_order(query, [other] * 11, patience=3))) == 11
    assert list(verify_in_order(query, [])) == []


def test_an_indexed_picture_can_be_the_query_without_its_pixels() -> None:
    found = verify(prepared(indexed(1)), extract(textured(1)[20:280, 30:370]))
    np.testing.assert_allclose(corners_there(found), np.array(CORNERS) - (30, 20), atol=1)


@pytest.mark.parametrize(("width", "height"), [(1600, 100), (90, 1500)])
def test_a_part_of_a_long_strip_is_found_in_it(width: int, height: int) -> None:
    strip = textured(1, width, height)
    left, top = width // 4, height // 4
    part = strip[top : top + height // 2, left : left + width // 2] if width < height else strip[:, left : left + 400]
    found = compared(part, strip)
    there = (left, top if width < height else 0)
    np.testing.assert_allclose(corners_there(found)[0], there, atol=1)


def test_keypoints_are_few_strong_and_spread_over_the_picture() -> None:
    busy_corner = np.full((600, 800, 3), 120, np.uint8)
    busy_corner[:300, :400] = textured(1)
    busy_corner[300:] = resized(textured(2), 800, 300)
    found = extract(busy_corner)
    assert len(found) == STORED.keypoints
    assert found.thumbnail.size == pytest.approx(STORED.thumbnail_area, rel=0.02)
    in_corner = (found.points() < (400, 300)).all(axis=1)
    assert 0.2 < in_corner.mean() < 0.6


@pytest.mark.parametrize(
    "picture", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.float32), np.zeros((0, 4), np.uint8)]
)
def test_what_is_no_picture_is_refused(picture: NDArray[np.uint8]) -> None:
    with pytest.raises(ValueError, match="pixels"):
        extract(picture)


def _frame(picture: Pixels) -> NDArray[np.float64]:
    height, width = picture.shape[:2]
    return np.array(((0.0, 0.0), (width, 0.0), (width, height), (0.0, height)))


def test_a_query_keeps_more_than_an_indexed_picture() -> None:
    query = prepare(textured(1))
    assert len(indexed(1)) < len(query.keypoints) <= ASKED.keypoints
