"""Comparing pictures by the maps of a network, here stood in for by what lies in each cell's surroundings."""

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from search.geometry.dense_maps import compare_maps, fit_points, match_maps
from search.geometry.keypoints import extract
from search.geometry.transformation import moved
from tests.drawn_pictures import Pixels, smooth

ROWS, COLUMNS = 15, 20


def map_of(picture: Pixels) -> NDArray[np.float32]:
    """Return (C, 15, 20): the blurred colours around each cell, in nine places, as a network would see them."""
    small = cv2.resize(picture, (COLUMNS, ROWS), interpolation=cv2.INTER_AREA).astype(np.float32)
    around = [np.roll(small, (y, x), axis=(0, 1)) for y in (-1, 0, 1) for x in (-1, 0, 1)]
    return np.ascontiguousarray(np.concatenate(around, axis=2).transpose(2, 0, 1))


def test_points_of_a_map_match_themselves_and_lie_at_the_centres_of_cells() -> None:
    dense = np.random.default_rng(0).normal(size=(16, 3, 4)).astype(np.float32)
    here, there = match_maps(dense, dense)
    np.testing.assert_array_equal(here, there)
    assert here.tolist() == [[column + 0.5, row + 0.5] for row in range(3) for column in range(4)]


def test_the_similarity_most_points_agree_on_is_found_among_wrong_ones() -> None:
    rng = np.random.default_rng(1)
    source = rng.uniform(0, 20, (60, 2))
    target = source * 0.5 + (4, 2)
    target[40:] = rng.uniform(0, 20, (20, 2))
    found = fit_points(source, target)
    assert found is not None
    model, agree = found
    assert agree[:40].all()
    np.testing.assert_allclose(moved(model, np.array(((0.0, 0.0), (10.0, 10.0)))), ((4, 2), (9, 7)), atol=0.3)


def test_no_two_points_apart_give_no_model() -> None:
    here = np.array(((1.0, 1.0), (1.5, 1.5)))
    assert fit_points(here, here) is None


@pytest.mark.parametrize("mirror", [False, True])
def test_a_copy_without_texture_is_recognised_by_its_map(mirror: bool) -> None:
    picture = smooth(3)
    shown = np.ascontiguousarray(picture[:, ::-1]) if mirror else picture
    found = compare_maps(extract(shown), extract(picture), map_of(shown), map_of(picture))
    assert found.answer == "yes"
    assert found.mirrored == mirror
    assert found.model is not None
    corners = np.array(((0.0, 0.0), (400.0, 300.0)))
    expected = ((400, 0), (0, 300)) if mirror else ((0, 0), (400, 300))
    np.testing.assert_allclose(moved(found.model, corners), expected, atol=6)


def test_maps_never_say_that_pictures_differ() -> None:
    found = compare_maps(extract(smooth(3)), extract(smooth(4)), map_of(smooth(3)), map_of(smooth(4)))
    assert found.answer == "cannot"


def test_maps_that_agree_do_not_outweigh_pixels_that_do_not() -> None:
    dense = map_of(smooth(3))
    assert compare_maps(extract(smooth(3)), extract(smooth(4)), dense, dense).answer == "cannot"


@pytest.mark.parametrize("shape", [(4, 3), (5, 3, 4), (4, 0, 4)])
def test_maps_of_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    keypoints = extract(smooth(3))
    with pytest.raises(ValueError, match="maps have the shapes"):
        compare_maps(keypoints, keypoints, np.ones((4, 3, 4), np.float32), np.ones(shape, np.float32))
