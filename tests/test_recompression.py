"""What JPEG rounded can be seen in whatever file the pixels are in now, and tells which copy was made of which."""

import numpy as np
import pytest

from search.geometry.recompression import earlier_quality, is_made_of
from tests.drawn_pictures import Pixels, resized
from tests.drawn_pictures import compressed as compressed_bgr
from tests.test_duplicate_kinds import real_looking

ORIGINAL = real_looking(320, 240)


def compressed(picture: Pixels, quality: int) -> Pixels:
    """Return what JPEG leaves of a picture whose channels are red, green, blue."""
    return np.ascontiguousarray(compressed_bgr(np.ascontiguousarray(picture[..., ::-1]), quality)[..., ::-1])


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_pixels_that_were_a_jpeg_say_of_which_quality(quality: int) -> None:
    assert earlier_quality(compressed(ORIGINAL, quality)) == pytest.approx(quality, abs=4)


@pytest.mark.parametrize("flipped", [np.fliplr, np.flipud, np.rot90])
def test_they_do_so_mirrored_and_turned(flipped: object) -> None:
    odd = compressed(np.ascontiguousarray(ORIGINAL[:235, :315]), 75)  # the blocks begin elsewhere afterwards
    assert earlier_quality(np.ascontiguousarray(flipped(odd))) == pytest.approx(75, abs=2)  # type: ignore[operator]


@pytest.mark.parametrize(
    "pixels", [ORIGINAL, resized(compressed(real_looking(480, 360), 75), 320, 240), ORIGINAL[:20, :20]]
)
def test_what_never_was_one_or_was_resized_or_is_tiny_says_nothing(pixels: Pixels) -> None:
    assert earlier_quality(np.ascontiguousarray(pixels)) is None


def test_a_copy_saved_finer_was_made_of_the_coarser_one_also_with_a_caption() -> None:
    coarser = compressed(ORIGINAL, 75)
    again = coarser.copy()
    again[200:230, 100:220] = 255
    assert is_made_of(compressed(again, 92), 92, coarser, 75)


def test_what_was_saved_coarser_later_is_not_what_the_finer_one_was_made_of() -> None:
    finer = compressed(ORIGINAL, 92)
    assert not is_made_of(finer, 92, compressed(finer, 75), 75)


def test_two_copies_of_a_third_picture_are_not_made_of_each_other() -> None:
    assert not is_made_of(compressed(ORIGINAL, 92), 92, compressed(ORIGINAL, 75), 75)


def test_pictures_of_two_sizes_cannot_be_compared() -> None:
    assert not is_made_of(ORIGINAL, 92, np.ascontiguousarray(ORIGINAL[:, 8:]), 75)
