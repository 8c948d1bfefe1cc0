"""The ways a query is seen: turned, mirrored, in parts, or only the part inside a box."""

import numpy as np
import pytest

from indexer.decoding.preparation import Preparation, prepare
from indexer.query_box import Box
from indexer.query_variants import parts, turned, variants
from search.errors import UsageError

SQUARE = Preparation("full", 8, 8, "bilinear")
DRAWN = np.random.default_rng(0).integers(0, 256, (30, 20, 3)).astype(np.uint8)


def test_the_other_turns_and_mirrors_are_seven_and_all_differ() -> None:
    seen = [DRAWN[:20], *turned(DRAWN[:20])]
    assert len(seen) == 8
    assert len({picture.tobytes() for picture in seen}) == 8


def test_parts_lie_in_the_corners_and_in_the_middle() -> None:
    seen = parts(DRAWN)
    assert {part.shape for part in seen} == {(18, 12, 3)}
    np.testing.assert_array_equal(seen[0], DRAWN[:18, :12])
    np.testing.assert_array_equal(seen[3], DRAWN[12:, 8:])
    np.testing.assert_array_equal(seen[4], DRAWN[6:24, 4:16])


def test_a_picture_of_one_pixel_has_parts_of_one_pixel() -> None:
    assert {part.shape for part in parts(DRAWN[:1, :1])} == {(1, 1, 3)}


@pytest.mark.parametrize("preparation", [SQUARE, Preparation("full", 8, 12, "bilinear"), Preparation("card", 8, 8)])
def test_the_first_view_is_what_was_indexed_and_a_turned_view_is_what_a_turned_picture_would_be(
    preparation: Preparation,
) -> None:
    whole = prepare(DRAWN, preparation)
    seen = variants(whole, DRAWN, preparation)
    assert seen.shape == (13, preparation.height, preparation.width, 3)
    np.testing.assert_array_equal(seen[0], whole)
    for view, picture in zip(seen[1:8], turned(DRAWN), strict=True):
        expected = prepare(np.ascontiguousarray(picture), preparation)
        assert np.abs(view.astype(int) - expected).max() <= 1  # the order of the axes rounds differently


def test_a_box_cuts_its_pixels_out() -> None:
    np.testing.assert_array_equal(Box.parse("2,3,10,20").cut(DRAWN, (20, 30)), DRAWN[3:23, 2:12])


def test_a_box_means_pixels_of_the_picture_also_where_a_reduced_copy_is_cut() -> None:
    np.testing.assert_array_equal(Box.parse("4,6,20,40").cut(DRAWN, (40, 60)), DRAWN[3:23, 2:12])


def test_what_sticks_out_of_the_picture_is_left_out_and_a_pixel_is_left_at_least() -> None:
    assert Box.parse("15,25,100,100").cut(DRAWN, (20, 30)).shape == (5, 5, 3)
    assert Box.parse("19.9,29.9,.01,.01").cut(DRAWN, (20, 30)).shape == (1, 1, 3)


def test_a_box_that_begins_left_of_the_picture_and_above_it_shows_the_same_as_its_part_inside() -> None:
    box = Box.parse("-50,-40,60,52")
    np.testing.assert_array_equal(box.cut(DRAWN, (20, 30)), DRAWN[:12, :10])
    assert box.within((20, 30)) == (10, 12)
    everything = Box.parse("-1,-1,100,100")
    np.testing.assert_array_equal(everything.cut(DRAWN, (20, 30)), DRAWN)
    assert everything.within((20, 30)) == (20, 30)


@pytest.mark.parametrize("text", ["", "1,2,3", "1,2,3,4,5", "a,b,c,d", "0,0,0,5", "0,0,5,-5", "nan,0,1,1", "0,0,inf,1"])
def test_what_is_no_box_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match="120,80,640,480"):
        Box.parse(text)


@pytest.mark.parametrize("text", ["0,0,0,5", "0,0,5,-5"])
def test_four_numbers_without_an_area_are_not_called_something_else(text: str) -> None:
    with pytest.raises(UsageError, match=f"box '{text}' has no area"):
        Box.parse(text)


@pytest.mark.parametrize("text", ["20,0,5,5", "0,30,5,5", "-5,0,5,5", "0,-9,5,5"])
def test_a_box_outside_the_picture_is_refused_with_the_size_of_the_picture(text: str) -> None:
    with pytest.raises(UsageError, match="20 x 30"):
        Box.parse(text).cut(DRAWN, (20, 30))
