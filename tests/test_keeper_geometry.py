"""What tells the original among copies: where power breaks off, where a picture goes on, what lies in the middle."""

import cv2
import numpy as np
import pytest
from PIL import Image

from search.geometry.bending import unbent
from search.geometry.consensus import distances
from search.geometry.enlargement import detail_profile
from search.geometry.keypoints import extract
from search.geometry.transformation import Points
from search.geometry.verification import ANOTHER_SHOT, reversed_roles
from search.geometry.verify import prepared, verify
from search.geometry.widening import beyond
from tests.drawn_pictures import Pixels, compressed, resized, textured
from tests.test_duplicate_kinds import real_looking


@pytest.mark.parametrize("times", [1.5, 2.0, 3.0])
def test_an_enlarged_picture_has_no_power_beyond_what_it_was_made_of(times: float) -> None:
    small = real_looking(320, 240)
    size = (int(320 * times), int(240 * times))
    large = compressed(np.asarray(cv2.resize(small, size, interpolation=cv2.INTER_CUBIC), np.uint8), 90)
    enlarged, native = detail_profile(large), detail_profile(real_looking(*size))
    assert enlarged is not None
    assert native is not None
    assert enlarged.is_enlarged(times)
    assert not native.is_enlarged(times)


@pytest.mark.parametrize("times", [1.5, 2.0, 3.0])
def test_only_what_an_enlarged_picture_was_made_of_is_sharper(times: float) -> None:
    """Soft photographs, such as this blurred one, have as little power there as enlarged ones."""
    soft = np.asarray(cv2.GaussianBlur(real_looking(640, 480), (0, 0), 0.8), np.uint8)
    small = (int(640 / times), int(480 / times))
    for filtering in (Image.Resampling.BICUBIC, Image.Resampling.LANCZOS, Image.Resampling.BOX):
        halved = np.asarray(Image.fromarray(soft).resize(small, filtering))
        own, made = detail_profile(compressed(soft, 90)), detail_profile(compressed(halved, 90))
        again = detail_profile(compressed(np.asarray(Image.fromarray(halved).resize((640, 480))), 90))
        assert own is not None
        assert made is not None
        assert again is not None
        assert own.is_enlarged(times), "which is all that its own spectrum tells"
        assert not own.is_softer_than(made, times)
        assert again.is_softer_than(made, times)


def test_a_tiny_picture_tells_nothing() -> None:
    assert detail_profile(textured(1, 20, 20)) is None


def box(left: float, top: float, width: float, height: float) -> Points:
    return np.array([(left, top), (left + width, top), (left + width, top + height), (left, top + height)], np.float64)


def test_a_scene_goes_on_where_a_crop_ends() -> None:
    assert beyond(real_looking(400, 300), box(60, 50, 260, 190), (400, 300)) == "scene"


@pytest.mark.parametrize("colour", [(0, 0, 0), (255, 255, 255), (200, 40, 90)])
def test_a_frame_begins_with_an_edge(colour: tuple[int, int, int]) -> None:
    framed = cv2.copyMakeBorder(real_looking(400, 300), 40, 40, 40, 40, cv2.BORDER_CONSTANT, value=colour)
    assert beyond(compressed(np.asarray(framed, np.uint8), 85), box(40, 40, 400, 300), (480, 380)) == "frame"


def test_more_of_a_white_backdrop_shows_nothing() -> None:
    product = np.full((380, 480, 3), 255, np.uint8)
    product[90:290, 140:340] = real_looking(200, 200)
    saved = compressed(product, 85)
    assert beyond(saved, box(40, 40, 400, 300), (480, 380)) == "nothing"
    assert beyond(saved, box(200, 150, 100, 100), (480, 380)) == "scene"


def test_the_original_is_nearest_to_all_of_its_edits() -> None:
    original = real_looking(200, 150).astype(np.int64)
    edits = [original, original + (30, 0, 0), original + (0, 30, 0), original - (0, 0, 30)]
    pictures = [np.asarray(np.clip(edit, 0, 255), np.uint8) for edit in edits]
    apart = distances(pictures, [np.eye(3)] * 4, [(200, 150)] * 4, (200, 150))
    assert apart.sum(axis=1).argmin() == 0
    assert apart[0, 1] == pytest.approx(10, abs=1.5)  # 30 levels of one channel of three, less what is clipped


def test_a_reduced_and_shifted_copy_lies_on_its_original() -> None:
    original = real_looking(400, 300)
    part = resized(np.ascontiguousarray(original[50:250, 100:300]), 100, 100)
    onto = np.array(((2.0, 0.0, 100.0), (0.0, 2.0, 50.0), (0.0, 0.0, 1.0)))
    apart = distances([original, part], [np.eye(3), onto], [(400, 300), (100, 100)], (400, 300))
    assert apart[0, 1] < 4


def through_lens(picture: Pixels, bend: float) -> Pixels:
    height, width = picture.shape[:2]
    y, x = np.mgrid[0:height, 0:width].astype(np.float64)
    half = np.hypot(width, height) / 2
    across, down = (x - width / 2) / half, (y - height / 2) / half
    factor = (1 + bend * (across**2 + down**2)) / (1 + bend)
    at = [((one * factor) * half + side / 2).astype(np.float32) for one, side in ((across, width), (down, height))]
    return np.asarray(cv2.remap(picture, at[0], at[1], cv2.INTER_LINEAR), np.uint8)


def test_a_picture_through_a_lens_is_the_same_and_a_thing_that_moved_is_not() -> None:
    original = real_looking(480, 360)
    query, bent = extract(original), extract(through_lens(original, 0.25))
    found = verify(prepared(query), bent)
    assert found.reason == ANOTHER_SHOT
    again = unbent(found, query, bent)
    assert again is not None
    assert again.answer == "yes"
    moved = original.copy()
    moved[100:260, 150:330] = np.roll(original, 9, axis=1)[100:260, 150:330]
    other = extract(moved)
    assert unbent(verify(prepared(query), other), query, other) is None


def test_what_was_found_can_be_told_from_the_other_side() -> None:
    original = textured(1)
    part = np.ascontiguousarray(original[40:260, 60:340])
    found = verify(prepared(extract(original)), extract(part))
    turned = reversed_roles(found)
    assert (turned.query_size, turned.candidate_size) == (found.candidate_size, found.query_size)
    assert turned.shared is not None
    assert found.shared is not None
    assert (turned.shared.of_query, turned.shared.of_candidate) == (found.shared.of_candidate, found.shared.of_query)
    assert turned.model is not None
    assert found.model is not None
    assert np.allclose(turned.model @ found.model, np.eye(3), atol=1e-6)


def test_a_strip_too_thin_to_show_an_edge_shows_nothing() -> None:
    padded = cv2.copyMakeBorder(real_looking(300, 320), 0, 0, 6, 6, cv2.BORDER_CONSTANT, value=(0, 0, 0))
    assert beyond(compressed(np.asarray(padded, np.uint8), 85), box(6, 0, 300, 320), (312, 320)) == "nothing"
