"""Smooth pictures are the same where their pixels agree outright, and where they show more than slow changes."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from search.geometry.equal_pictures import equal_pictures
from search.geometry.keypoints import extract
from tests.conftest import painted


def pixels(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture.convert("RGB"))


def saved(picture: Image.Image, quality: int) -> NDArray[np.uint8]:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return pixels(Image.open(file))


@pytest.mark.parametrize("size", [(320, 240), (160, 120), (64, 48)])
def test_a_smooth_picture_saved_again_or_resized_is_the_same(size: tuple[int, int]) -> None:
    query, candidate = extract(saved(painted(1, size), 70)), extract(pixels(painted(1, (320, 240))))
    found = equal_pictures(query, candidate)
    assert found is not None
    assert (found.answer, found.model is not None and found.model[0, 0]) == ("yes", 320 / size[0])


def test_another_smooth_picture_is_none() -> None:
    assert equal_pictures(extract(pixels(painted(1))), extract(pixels(painted(2)))) is None


def test_a_picture_of_another_shape_is_none() -> None:
    assert equal_pictures(extract(pixels(painted(1))), extract(pixels(painted(1, (64, 64))))) is None


def ramp(low: float, high: float) -> NDArray[np.uint8]:
    return np.tile(np.linspace(low, high, 320), (240, 1)).astype(np.uint8)


@pytest.mark.parametrize(("low", "high"), [(0, 255), (1, 255), (250, 255)])
def test_gradients_agree_with_every_gradient_and_so_are_never_the_same(low: float, high: float) -> None:
    assert equal_pictures(extract(ramp(0, 255)), extract(ramp(low, high))) is None
