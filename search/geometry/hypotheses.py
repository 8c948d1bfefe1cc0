"""How two pictures may lie over each other, guessed from their thumbnails: for pictures without texture.

Blurred, pixelised and tiny copies have few keypoints or none. Their pixels still agree with the original's once the
right turn (of eight, mirrors among them) or crop is found. Guesses are only guesses: agreement.py judges them.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Pixels, resized
from search.geometry.transformation import Model

_SIDE = 32  # pixels of the squares that whole pictures are compared at
_LIKELY = 0.7  # correlation of those from which on a turn is worth a closer look
_TEMPLATE_SIDE = 64  # pixels of the longer side of pictures that are searched for crops
_CROPS = tuple(0.9 * 0.9**step for step in range(11))  # sides of a crop by those of the whole: .9 to .31
_ROUNDS = 40


@dataclass(frozen=True, slots=True, eq=False)
class Guess:
    """A model (3, 3) from the query's to the candidate's pixels, of these arrays, and its correlation at a glance."""

    model: Model
    mirrored: bool
    correlation: float


@dataclass(frozen=True, slots=True, eq=False)
class Turns:
    """A picture at its eight turns, mirrors among them.

    squares: (8, N) float32 of length 1, each turn reduced. models: from places of the picture to those of each turn.
    sizes: width and height of each turn.
    """

    squares: NDArray[np.float32]
    models: tuple[Model, ...]
    sizes: tuple[tuple[int, int], ...]


def turns_of(picture: Pixels) -> Turns:
    """Return the eight turns of a picture (H, W), upright ones first, then mirrored ones."""
    turned = list(_turned(picture, 4))
    return Turns(
        np.stack([_unit(_square(pixels)) for pixels, _, _ in turned]),
        tuple(model for _, model, _ in turned),
        tuple((pixels.shape[1], pixels.shape[0]) for pixels, _, _ in turned),
    )


def whole_pictures(query: Turns, candidate: Pixels) -> list[Guess]:
    """Return the turns and mirrors at which two whole pictures look alike, best first; squashed ones, too.

    candidate: (H, W) grey. Costs some hundredths of a millisecond.
    """
    found = query.squares @ _unit(_square(candidate))
    guesses = []
    for number in np.argsort(-found, kind="stable")[:2]:
        if found[number] >= _LIKELY:
            width, height = query.sizes[number]
            stretch = np.diag((candidate.shape[1] / width, candidate.shape[0] / height, 1.0))
            guesses.append(Guess(stretch @ query.models[number], bool(number >= 4), float(found[number])))  # noqa: PLR2004
    return guesses


def crops(query: Pixels, candidate: Pixels) -> list[Guess]:
    """Return where one of the pictures, or its mirror image, looks like a part of the other; best first, refined.

    query, candidate: (H, W) grey. Costs some 10 milliseconds.
    """
    found = []
    for turned, model, mirrored in _turned(query, 1):
        for inner, correlation in _places(turned, candidate):
            found.append(Guess(inner @ model, mirrored, correlation))
        for outer, correlation in _places(candidate, turned):
            found.append(Guess(np.linalg.inv(outer) @ model, mirrored, correlation))
    best = sorted(found, key=lambda guess: -guess.correlation)[:2]
    return [Guess(refined(guess.model, query, candidate), guess.mirrored, guess.correlation) for guess in best]


def refined(model: Model, query: Pixels, candidate: Pixels) -> Model:
    """Return the affine map near a model at which two pictures correlate best (ECC: Evangelidis and Psarakis, 2008).

    Returns the model itself where that search does not converge.
    """
    onto = _shift(-0.5) @ np.linalg.inv(model) @ _shift(0.5)  # OpenCV's places are those of pixels' centres
    start = np.asarray(onto[:2] / onto[2, 2], np.float32)
    stop = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, _ROUNDS, 1e-4)
    try:
        _, warp = cv2.findTransformECC(candidate, query, start, cv2.MOTION_AFFINE, stop, None, 5)
    except cv2.error:
        return model
    found = np.vstack((warp.astype(np.float64), (0, 0, 1)))
    found = _shift(0.5) @ found @ _shift(-0.5)
    return np.linalg.inv(found) if abs(np.linalg.det(found)) > 1e-9 else model  # noqa: PLR2004


def _turned(picture: Pixels, quarters: int) -> Iterator[tuple[Pixels, Model, bool]]:
    """Yield the picture and its mirror at each quarter turn, the model from its places to theirs, and if it mirrors."""
    height, width = picture.shape
    flip = np.array(((-1.0, 0.0, width), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    for mirrored in (False, True):
        turned = np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture
        model = flip if mirrored else np.eye(3)
        for _ in range(quarters):
            yield turned, model, mirrored
            # A quarter turn clockwise: what was at the lower left comes to the upper left.
            model = np.array(((0.0, -1.0, turned.shape[0]), (1.0, 0.0, 0.0), (0.0, 0.0, 1.0))) @ model
            turned = np.ascontiguousarray(np.rot90(turned, -1))


def _places(inner: Pixels, outer: Pixels) -> Iterator[tuple[Model, float]]:
    """Yield where the inner picture, at each of several sizes, best fits into the outer one."""
    reduced = resized(outer, min(1.0, _TEMPLATE_SIDE / max(outer.shape)))
    to_outer = np.diag((outer.shape[1] / reduced.shape[1], outer.shape[0] / reduced.shape[0], 1.0))
    largest = min(reduced.shape[0] / inner.shape[0], reduced.shape[1] / inner.shape[1])
    for side in _CROPS:
        template = resized(inner, largest * side)
        if min(template.shape) < 12 or template.std() < 3:  # noqa: PLR2004 (it would fit anywhere)
            continue
        products = cv2.matchTemplate(reduced, template, cv2.TM_CCOEFF_NORMED)
        _, correlation, _, (x, y) = cv2.minMaxLoc(products)
        scaled = np.diag((template.shape[1] / inner.shape[1], template.shape[0] / inner.shape[0], 1.0))
        placed = np.array(((1.0, 0.0, x), (0.0, 1.0, y), (0.0, 0.0, 1.0)))
        yield to_outer @ placed @ scaled, float(correlation)


def _square(picture: Pixels) -> NDArray[np.float32]:
    flags = cv2.INTER_AREA if min(picture.shape) >= _SIDE else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, (_SIDE, _SIDE), interpolation=flags), np.float32)


def _unit(square: NDArray[np.float32]) -> NDArray[np.float32]:
    centred = square.reshape(-1) - square.mean()
    return np.asarray(centred / max(float(np.linalg.norm(centred)), 1e-6), np.float32)


def _shift(by: float) -> Model:
    return np.array(((1.0, 0.0, by), (0.0, 1.0, by), (0.0, 0.0, 1.0)))
