"""Drawn pictures with texture, and exact transformations of them, for the tests of geometric verification."""

from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Keypoints, extract

Pixels = NDArray[np.uint8]


@cache
def indexed(seed: int) -> Keypoints:
    """Return the keypoints of a drawn picture of 400 x 300, extracted once."""
    return extract(textured(seed))


def textured(seed: int, width: int = 400, height: int = 300) -> Pixels:
    """Return (height, width, 3): a few hundred coloured discs, boxes and lines of all sizes, never twice the same."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, 3), rng.integers(60, 200, 3), np.uint8)
    for size in np.sort(rng.uniform(2, 45, 260))[::-1]:
        centre = tuple(int(one) for one in rng.uniform((0, 0), (width, height)))
        colour = tuple(int(one) for one in rng.integers(0, 256, 3))
        far = (centre[0] + int(size * rng.uniform(-2, 2)), centre[1] + int(size * rng.uniform(-2, 2)))
        shape = rng.integers(3)
        if shape == 0:
            cv2.circle(picture, centre, int(size), colour, -1, cv2.LINE_AA)
        elif shape == 1:
            cv2.rectangle(picture, centre, far, colour, -1)
        else:
            cv2.line(picture, centre, far, colour, 1 + int(size / 8), cv2.LINE_AA)
    return picture


def smooth(seed: int, width: int = 400, height: int = 300) -> Pixels:
    """Return a picture without texture: a drawn one, blurred until SIFT finds little or nothing."""
    return np.asarray(cv2.GaussianBlur(textured(seed, width, height), (0, 0), 14), np.uint8)


def resized(picture: Pixels, width: int, height: int) -> Pixels:
    return np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def turned(picture: Pixels, quarters: int) -> Pixels:
    """Return the picture turned clockwise by so many quarters."""
    return np.ascontiguousarray(np.rot90(picture, -quarters))


def compressed(picture: Pixels, quality: int) -> Pixels:
    _, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)


def embedded(picture: Pixels, within: Pixels, left: int, top: int) -> Pixels:
    """Return a picture that shows another one at a place."""
    canvas = within.copy()
    canvas[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas
