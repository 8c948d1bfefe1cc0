"""What JPEG left in pixels: by which steps they were rounded before, and which of two files was made of the other.

JPEG rounds the 64 frequencies of each block of 8 by 8 pixels to multiples of a step each. Who decodes the picture and
saves it again, without a loss or with a smaller one, saves those multiples: around them the frequencies still gather
(Fan and de Queiroz, "Identification of bitmap compression history", 2003).
"""

from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.keypoints import Pixels, as_grey

_SIDE: Final = 8
_MOST_BLOCKS: Final = 2_000
_FEWEST_BLOCKS: Final = 64
# The frequencies that are looked at: rows and columns of a block, the lowest ones, as the others are mostly zero.
_ROWS: Final = np.array((0, 1, 2, 1, 0, 0, 1, 2, 3))
_COLUMNS: Final = np.array((1, 0, 0, 1, 2, 3, 2, 1, 0))
_STEPS: Final = np.arange(2, 81)
_FEWEST: Final = 40  # coefficients of a frequency that are no zeros
_GATHERED: Final = 0.5  # mean cosine of the places between multiples, 1 where all are multiples
_FEWEST_FREQUENCIES: Final = 4
_STANDARD: Final = np.array((11, 12, 14, 12, 10, 16, 14, 13, 14), np.float64)  # their steps at quality 50
_NOISE: Final = 0.3  # levels of a frequency, beyond which rounding pixels to levels seldom moves it
_SURELY: Final = 0.5  # of the way from what chance leaves to all of them
# Steps that are compared: below the first, rounding of pixels hides them; so many times coarser; and so far apart that
# half a finer step and the noise are well below half a coarser one, else either copy could be the other's.
_LEAST_STEP, _STEPS_APART, _TELLS = 4.0, 1.1, 0.85


def earlier_quality(pixels: Pixels) -> int | None:
    """Return the quality, 1 to 100 as libjpeg counts, of the coarsest JPEG compression that shows, None without one.

    pixels: (H, W, 3) RGB or (H, W) grey uint8, of the picture's full size. Mirrored and turned pictures count, and
    those where something was laid over a part; resized, cut and turned by a few degrees they show nothing any more.
    """
    grey = as_grey(pixels)
    height, width = grey.shape
    places = {(top, left) for top in (0, height % _SIDE) for left in (0, width % _SIDE)}
    found = [quality for place in sorted(places) if (quality := _quality_at(grey, *place)) is not None]
    return min(found, default=None)


def is_made_of(finer: Pixels, finer_quality: int, coarser: Pixels, coarser_quality: int) -> bool:
    """Tell whether a picture that was compressed less was made of one of the same size that was compressed more.

    finer, coarser: (H, W, 3) or (H, W) uint8, of their full sizes. Of what the coarser steps left, saving with finer
    ones takes half a finer step at most. Where both were made of a third picture, or the coarser one of the finer one,
    they are up to half a coarser step apart. A part may have been covered meanwhile.
    """
    one, other = as_grey(finer), as_grey(coarser)
    if one.shape != other.shape:
        return False
    frequencies = _frequencies(one), _frequencies(other)
    if frequencies[0] is None or frequencies[1] is None:
        return False
    near, usual, asked = 0, 0.0, 0
    for now, before, step, coarse in zip(
        frequencies[0].T, frequencies[1].T, _steps_at(finer_quality), _steps_at(coarser_quality), strict=True
    ):
        if coarse < max(_LEAST_STEP, _STEPS_APART * step):
            continue
        within = step / 2 + _NOISE
        if within > _TELLS * coarse / 2:  # a coarser copy of the finer one is as near
            continue
        shown = np.abs(before) > coarse / 2
        near += int(np.count_nonzero(np.abs(now - before)[shown] <= within))
        asked += int(np.count_nonzero(shown))
        usual += within / (coarse / 2 + _NOISE) * np.count_nonzero(shown)
    return bool(asked >= _FEWEST and near / asked > _SURELY + (1 - _SURELY) * usual / asked)


def _steps_at(quality: int) -> list[float]:
    """Return the steps of the frequencies at a quality, as libjpeg counts."""
    percent = 200 - 2 * quality if quality >= 50 else 5000 / max(1, quality)  # noqa: PLR2004
    return [max(1.0, float(np.floor((usual * percent + 50) / 100))) for usual in _STANDARD]


def _quality_at(grey: Pixels, top: int, left: int) -> int | None:
    """Return the quality of what was compressed in blocks that begin at a place."""
    frequencies = _frequencies(grey[top:, left:])
    if frequencies is None:
        return None
    steps = [_step(values) for values in frequencies.T]
    known = [(step, usual) for step, usual in zip(steps, _STANDARD.tolist(), strict=True) if step is not None]
    if len(known) < _FEWEST_FREQUENCIES:
        return None
    percent = float(np.median([100 * step / usual for step, usual in known]))
    return int(min(100, max(1, round((200 - percent) / 2 if percent <= 100 else 5000 / percent))))  # noqa: PLR2004


def _frequencies(grey: Pixels) -> NDArray[np.float32] | None:
    """Return (blocks, frequencies) of blocks from all over a picture, None where there are too few."""
    down, across = (side // _SIDE for side in grey.shape)
    if down * across < _FEWEST_BLOCKS:
        return None
    blocks = grey[: down * _SIDE, : across * _SIDE].reshape(down, _SIDE, across, _SIDE).swapaxes(1, 2)
    chosen = blocks.reshape(-1, _SIDE, _SIDE)[:: -(-down * across // _MOST_BLOCKS)].astype(np.float32) - 128
    basis = np.asarray(cv2.dct(np.eye(_SIDE, dtype=np.float32), flags=cv2.DCT_ROWS).T, np.float32)
    return np.asarray(np.einsum("ky,byx,kx->bk", basis[_ROWS], chosen, basis[_COLUMNS], optimize=True), np.float32)


def _step(values: NDArray[np.float32]) -> int | None:
    """Return the largest step of which most values are multiples but for noise, None where there is none."""
    for step in _STEPS[::-1].tolist():
        far = values[np.abs(values) > step / 2]
        if len(far) >= _FEWEST and float(np.cos(2 * np.pi / step * far).mean()) >= _GATHERED:
            return int(step)
    return None
