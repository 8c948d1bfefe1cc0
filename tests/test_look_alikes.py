"""Pictures that agree pixel by pixel where they are laid over each other, and are not the same picture."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from search.geometry import verification as answers
from search.geometry.agreement import closest, count_corners
from search.geometry.by_keypoints import compare_keypoints
from search.geometry.by_pixels import compare_pixels
from search.geometry.keypoints import extract
from search.geometry.matching import match
from search.geometry.verify import prepare, verify
from tests.drawn_pictures import Pixels, embedded, textured

FLIP = np.array(((-1.0, 0.0, 300.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))


def half_of_a_tapered_thing(top: int, slope: float) -> Pixels:
    """Return (300, 300) grey: a dark frame at the left and above, and a slanted edge from there down."""
    picture = np.full((300, 300), 245, np.uint8)
    picture[:, :20] = picture[:18] = 20
    cv2.fillPoly(picture, [np.array(((140, top), (300, top), (300, 300), (140 + int(200 * slope), 300)))], 120)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 2), np.uint8)


def test_the_halves_of_a_symmetric_thing_agree_along_straight_edges_alone_and_are_not_the_same() -> None:
    left = half_of_a_tapered_thing(80, 0.35)
    right = np.ascontiguousarray(half_of_a_tapered_thing(84, 0.33)[:, ::-1])
    agreement = closest(left, right, FLIP)
    assert agreement is not None
    assert agreement.typical > 0.95
    assert count_corners(left, right, FLIP) < 16
    assert verify(prepare(left), extract(right)).answer == "cannot"


def test_corners_are_counted_where_both_pictures_have_one() -> None:
    squares = np.full((160, 160), 30, np.uint8)
    squares[50:110, 50:110] = 220  # its four corners, each in a cell of 20 x 20 of its own; windows reach into others
    assert 4 <= count_corners(squares, squares, np.eye(3)) <= 16
    assert count_corners(squares, np.full((160, 160), 30, np.uint8), np.eye(3)) == 0
    assert count_corners(squares, (squares // 3).astype(np.uint8), np.eye(3)) >= 4, "less contrast is no fewer corners"


@pytest.mark.parametrize(("shift", "answer"), [((150, 100), "yes"), ((200, 150), "no")])
def test_parts_of_one_picture_that_share_a_quarter_of_themselves_have_a_part_in_common(
    shift: tuple[int, int], answer: str
) -> None:
    whole, (x, y) = textured(5, 800, 600), shift
    found = verify(prepare(whole[:300, :400].copy()), extract(whole[y : y + 300, x : x + 400].copy()))
    shared = (400 - x) * (300 - y) / (400 * 300)  # 42 or 25 %
    assert found.shared is not None
    assert found.shared.of_query == pytest.approx(shared, abs=0.01)
    assert (found.answer, found.reason) == (answer, answers.SAME if answer == "yes" else answers.PART)


def test_a_detail_that_repeats_itself_in_another_place_is_a_part_in_common() -> None:
    detail = textured(9, 130, 180)
    found = verify(
        prepare(embedded(detail, textured(1), 0, 0)), extract(embedded(detail, textured(2), 400 - 130, 300 - 180))
    )
    assert found.agreement is not None
    assert found.agreement > 0.95
    assert (found.answer, found.reason) == ("no", answers.PART)


def test_few_inliers_count_only_where_most_matches_are_among_them_as_a_repeated_pattern_has_many_others() -> None:
    part = np.asarray(cv2.GaussianBlur(textured(4)[40:260, 60:330], (0, 0), 8), np.uint8)
    query, candidate = prepare(part), extract(textured(4))
    found = compare_keypoints(query.keypoints, candidate, next(match(query.keypoints, [candidate])))
    assert 4 <= found.inliers < answers.ENOUGH_INLIERS
    assert compare_pixels(found, query.keypoints, query.turns, candidate).answer == "yes"
    lattice = replace(found, matches=4 * found.inliers)
    assert compare_pixels(lattice, query.keypoints, query.turns, candidate).answer != "yes"


def test_of_a_small_part_of_a_picture_few_inliers_among_chance_matches_are_enough_where_its_pixels_agree() -> None:
    part = textured(4)[100:190, 150:270].copy()  # 9 % of the area
    query, candidate = prepare(part), extract(textured(4))
    found = compare_keypoints(query.keypoints, candidate, next(match(query.keypoints, [candidate])))
    assert found.places is not None
    few = replace(found, answer="no", reason=answers.DIFFERENT, places=found.places[:8], matches=27)
    assert compare_pixels(few, query.keypoints, query.turns, candidate).answer == "yes"
    other = extract(np.asarray(cv2.flip(textured(6), 1), np.uint8))
    assert compare_pixels(few, query.keypoints, query.turns, other).answer == "no", "there its pixels do not agree"
