"""JPEG by simplejpeg: libjpeg-turbo straight into an array, the same pixels as Pillow's, sooner.

Whatever is unusual (CMYK, damage, an odd header) is left to Pillow, which either decodes it or says what is wrong. Must
never import torch: it runs in decoding children.
"""

from typing import Final

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from indexer.decoding.preparation import Preparation, resized_to

Writable = NDArray[np.uint8]

_MODES: Final = ("RGB", "L")  # what Pillow makes of a JPEG; CMYK is converted by its profile there
_DCT_FACTORS: Final = (8, 4, 2)
_SPARE: Final = 2  # a scaled picture keeps at least this many times the pixels a side that it is resized to

# How many quarter turns to the left, after mirroring left to right or not: by EXIF orientation (TIFF 6.0, page 36).
TURNS: Final = {
    2: (True, 0),
    3: (False, 2),
    4: (True, 2),
    5: (True, 1),
    6: (False, 3),
    7: (True, 3),
    8: (False, 1),
}
TURNED: Final = (5, 6, 7, 8)  # width and height change places
_ORIENTATION: Final = 0x0112
_LEAST_OF_FTYP, _MOST_OF_FTYP = 8, 256  # bytes


def read_jpeg(
    image: Image.Image, data: bytes, turn: int, factor: int, into: Writable | None
) -> NDArray[np.uint8] | None:
    """Return the (H, W, 3) uint8 RGB pixels of an opened, not yet loaded JPEG, upright; None when Pillow must do it.

    turn: its EXIF orientation. factor: it is decoded at 1/factor of its size, 1 for all of it. into: flat memory that
    the answer shall lie in, where it is long enough; else it has memory of its own.
    """
    if image.format not in ("JPEG", "MPO") or image.mode not in _MODES:
        return None
    height, width = -(-image.height // factor), -(-image.width // factor)
    room = into[: height * width * 3] if into is not None and len(into) >= height * width * 3 else None
    limits = {"min_height": height, "min_width": width} if factor > 1 else {}
    try:
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
            data, "RGB", buffer=room if turn not in TURNS else None, **limits
        )
    except (ValueError, RuntimeError):
        return None
    if pixels.shape != (height, width, 3):
        return None
    return pixels if turn not in TURNS else _upright(pixels, turn, room)


def orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an opened picture: 1 to 8, 1 when it says nothing or nonsense."""
    if image.format not in ("JPEG", "MPO"):
        return 1  # the others are turned by Pillow
    try:
        turn = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001 -- damaged EXIF data fails in many ways and is no reason to refuse a picture
        return 1
    return turn if turn in TURNS else 1


def _upright(pixels: NDArray[np.uint8], turn: int, room: Writable | None) -> NDArray[np.uint8]:
    mirrored, quarters = TURNS[turn]
    upright = np.rot90(pixels[:, ::-1] if mirrored else pixels, quarters)
    if room is None:
        return np.ascontiguousarray(upright)
    copied = room.reshape(upright.shape)
    copied[...] = upright
    return copied


def dct_factor(size: tuple[int, int], preparation: Preparation) -> int:
    """Return the largest factor a picture can be decoded at that leaves _SPARE times the pixels of its resized form.

    size: (width, height), upright. 1 when the preparation does not scale, or the picture is not that large, or its
    sides are no multiples of the factor.
    """
    if not preparation.dct_scaling:
        return 1
    goal = resized_to(size, preparation)
    for factor in _DCT_FACTORS:
        # A side that is no multiple would be rounded up, and its last pixel, which is mostly padding, stretched along.
        whole = not any(side % factor for side in size)
        if whole and all(side // factor >= _SPARE * wanted for side, wanted in zip(size, goal, strict=True)):
            return factor
    return 1


def has_video(data: bytes) -> bool:
    """Return whether a video lies behind a JPEG, as in the motion photos of phones: it begins with the box `ftyp`."""
    place = data.find(b"ftyp")
    while place >= 0:
        if _LEAST_OF_FTYP <= int.from_bytes(data[max(0, place - 4) : place], "big") <= _MOST_OF_FTYP:
            return True
        place = data.find(b"ftyp", place + 4)
    return False
