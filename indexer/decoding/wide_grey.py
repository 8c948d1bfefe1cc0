"""Grey pictures of 16 and 32 bits a sample, brought to 8 bits. Must never import torch."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.decoding.samples import stripes
from search.errors import BadImage

_BYTE_BITS: Final = 8
_WHITE: Final = 255


def is_wide_grey(image: Image.Image) -> bool:
    """Tell whether a picture is one channel of samples wider than a byte."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def wide_grey(image: Image.Image, bits: int, *, counts_from_white: bool) -> NDArray[np.uint8]:
    """Return (H, W) uint8 of one channel wider than a byte.

    16-bit samples keep their high byte; so do 32-bit integers that all lie in 0..65535. Other integers and floats have
    no agreed white: their finite minimum becomes 0 and their maximum 255. NaN and -infinity are black, +infinity white.
    bits: of the file's samples. counts_from_white: 0 is white in it, as a TIFF may say.

    Raises:
        BadImage: none of its samples is a finite number.
    """
    grey = np.empty((image.height, image.width), np.uint8)
    low, high = _finite_range(image)
    if image.mode == "I":
        bits = 16 if high > _WHITE else _BYTE_BITS
    stretched = image.mode == "F" or low < 0 or high >= 1 << 16
    for top, samples in stripes(image):
        if stretched:
            bounded = np.nan_to_num(samples.astype(np.float64), nan=low, posinf=high, neginf=low)
            levels = (bounded - low) / max(high - low, np.finfo(np.float64).tiny) * _WHITE + 0.5
        else:
            levels = np.minimum(samples >> (bits - _BYTE_BITS), _WHITE)
            levels[samples == image.info.get("transparency", -1)] = _WHITE
        grey[top : top + len(samples)] = levels
    return _WHITE - grey if counts_from_white else grey


def _finite_range(image: Image.Image) -> tuple[float, float]:
    parts = [samples[np.isfinite(samples)] for _, samples in stripes(image)]
    parts = [part for part in parts if part.size]
    if not parts:
        raise BadImage("corrupt", "none of its samples is a finite number")
    return float(min(part.min() for part in parts)), float(max(part.max() for part in parts))
