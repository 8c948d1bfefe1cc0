"""From decoded pixels to what is judged of them: the exact frame a backbone sees, and the small luma that is hashed.

Owns geometry and interpolation, on 8-bit samples; scaling to float and normalisation happen next to the backbone. A
Preparation is part of the identity of an embedding space, hence `as_json`. Must never import torch: it runs in decoding
children. "card" repeats the evaluation transform of timm's model cards (timm.data.transforms_imagenet_eval, with
torchvision's rounding) pixel by pixel; "full" shows the backbone the whole frame.
"""

import functools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search.errors import UsageError

Mode = Literal["full", "card"]
Interpolation = Literal["nearest", "bilinear", "bicubic", "box", "hamming", "lanczos", "area"]

# "card" keeps the middle of a picture only. Of one longer than this its resized form would need gigabytes (a column of
# 1 x 65,535 pixels becomes 256 x 16 million), so it is cut to this ratio around its centre first.
LONGEST_ASPECT: Final = 200

HASH_SIDE: Final = 64  # pixels of the luma behind contrast and perceptual hash
HASH_FREQUENCIES: Final = 16  # per axis: 16 x 16 = 256 bits

CHANNELS: Final = 3

_FILTERS: Final = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}


@dataclass(frozen=True, slots=True)
class Preparation:
    """How pixels become the (height, width, 3) frame of a backbone.

    mode: "full" squashes the whole frame; "card" resizes the short edge to floor(size / crop_pct) and keeps the centre.
    crop_pct: share of the short edge that "card" keeps. Always 1.0 in "full", which crops nothing: two ways to write
    one preparation would make two spaces. mean and std: per channel in units of 1.0 = white, for the backbone's side.
    dct_scaling: JPEG pictures of twice the frame and more are decoded at 1/2, 1/4 or 1/8 of their size, which is
    several times faster and moves levels by .2 to .5 on average.

    Raises:
        UsageError: a field has a value that cannot be used.
    """

    mode: Mode
    height: int
    width: int
    interpolation: Interpolation = "bicubic"
    crop_pct: float = 1.0
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    dct_scaling: bool = False

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise UsageError(f"preparation mode {self.mode!r} is not one of {', '.join(get_args(Mode))}")
        if self.interpolation not in get_args(Interpolation):
            raise UsageError(f"interpolation {self.interpolation!r} is not one of {', '.join(get_args(Interpolation))}")
        if not (isinstance(self.height, int) and isinstance(self.width, int) and min(self.height, self.width) >= 1):
            raise UsageError(f"a prepared image cannot be {self.width} x {self.height} pixels")
        if not 0 < self.crop_pct <= 1:
            raise UsageError(f"crop_pct {self.crop_pct} is not above 0 and at most 1")
        if len(self.mean) != CHANNELS or len(self.std) != CHANNELS or min(self.std) <= 0:
            raise UsageError(f"mean {self.mean} and std {self.std} need {CHANNELS} numbers each, and std none below 0")
        # 1 and 1.0 are equal but are written differently, and the text is what makes a space.
        object.__setattr__(self, "crop_pct", 1.0 if self.mode == "full" else float(self.crop_pct))
        object.__setattr__(self, "mean", tuple(map(float, self.mean)))
        object.__setattr__(self, "std", tuple(map(float, self.std)))

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON holds them: tuples become lists, and dct_scaling is named only where it is on."""
        scaling = {"dct_scaling": True} if self.dct_scaling else {}
        return {
            "mode": self.mode,
            "height": self.height,
            "width": self.width,
            "interpolation": self.interpolation,
            "crop_pct": self.crop_pct,
            "mean": list(self.mean),
            "std": list(self.std),
            **scaling,
        }

    def as_json(self) -> str:
        """Return `as_dict` as canonical JSON: equal preparations give equal text."""
        return json.dumps(self.as_dict(), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Preparation":
        """Return the preparation that `as_dict` described.

        Raises:
            UsageError: a field is missing, unknown, or has a value that cannot be used.
        """
        try:
            return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(f"this does not describe a preparation: {fields!r} ({error})") from error

    @classmethod
    def from_json(cls, text: str) -> "Preparation":
        """Return the preparation that `as_json` wrote.

        Raises:
            UsageError: the text is not JSON, or describes no preparation.
        """
        try:
            fields = json.loads(text)
        except ValueError as error:
            raise UsageError(f"this does not describe a preparation: {text!r} ({error})") from error
        return cls.from_dict(fields)


def prepare(pixels: NDArray[np.uint8], preparation: Preparation) -> NDArray[np.uint8]:
    """Return what the backbone sees of a picture: (height, width, 3) uint8, C-contiguous, read-only.

    pixels: (H, W, 3) uint8 RGB, upright. "card" equals timm's evaluation transform before ToTensor on every pixel, up
    to an aspect ratio of LONGEST_ASPECT; beyond, it differs by less than one source pixel.

    Raises:
        MemoryError: the picture does not fit.
    """
    if preparation.mode == "card":
        pixels = cut_to_longest_aspect(pixels)
    image = Image.fromarray(pixels)
    width, height = resized_to(image.size, preparation)
    if preparation.mode == "full":
        # Which axis goes first changes the rounding in between: Pillow's choice depends on the picture, torch's not.
        image = _resize(image, (width, image.height), preparation.interpolation)
        return np.asarray(_resize(image, (width, height), preparation.interpolation))
    resized = np.asarray(_resize(image, (width, height), preparation.interpolation))
    return cropped_centre(resized, preparation.width, preparation.height)


def resized_to(size: tuple[int, int], preparation: Preparation) -> tuple[int, int]:
    """Return (width, height) that a picture of `size` is resized to, before "card" crops it."""
    if preparation.mode == "full":
        return preparation.width, preparation.height
    return _card_size(size, preparation)


def resize_area(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """Return the image at size (width, height), each pixel the mean of the area it covers.

    An axis that shrinks is averaged (Pillow's BOX); one that grows has nothing to average: interpolated (BILINEAR).
    """
    (width, height), (new_width, new_height) = image.size, size
    shrunk = (min(width, new_width), min(height, new_height))
    if shrunk != image.size:
        image = image.resize(shrunk, Image.Resampling.BOX)
    return image if shrunk == size else image.resize(size, Image.Resampling.BILINEAR)


def _resize(image: Image.Image, size: tuple[int, int], interpolation: Interpolation) -> Image.Image:
    if image.size == size:
        return image
    if interpolation == "area":
        return resize_area(image, size)
    return image.resize(size, _FILTERS[interpolation])


def _card_size(size: tuple[int, int], preparation: Preparation) -> tuple[int, int]:
    """Return (width, height) before the crop. timm has two rules, which differ in how they round the long edge."""
    width, height = size
    goal_height = math.floor(preparation.height / preparation.crop_pct)
    goal_width = math.floor(preparation.width / preparation.crop_pct)
    if goal_height == goal_width:  # torchvision.transforms.Resize(int)
        short, long = min(size), max(size)
        new_long = int(goal_height * long / short)
        return (goal_height, new_long) if width <= height else (new_long, goal_height)
    ratio = min(height / goal_height, width / goal_width)  # timm.data.transforms.ResizeKeepRatio
    return round(width / ratio), round(height / ratio)


def cropped_centre(pixels: NDArray[np.uint8], width: int, height: int) -> NDArray[np.uint8]:
    """Cut (H, W, 3) as torchvision.transforms.CenterCrop does: black where it is too small, halves round to even."""
    rows, above = _cut(pixels.shape[0], height)
    columns, before = _cut(pixels.shape[1], width)
    middle = pixels[rows, columns]
    if middle.shape[:2] == (height, width):
        return np.ascontiguousarray(middle)
    framed = np.zeros((height, width, pixels.shape[2]), np.uint8)
    framed[above : above + middle.shape[0], before : before + middle.shape[1]] = middle
    return framed


def _cut(length: int, wanted: int) -> tuple[slice, int]:
    """Return the part of a line to keep, and how much black comes before it."""
    if length > wanted:
        start = round((length - wanted) / 2.0)
        return slice(start, start + wanted), 0
    return slice(None), (wanted - length) // 2  # of an odd lack the greater half comes after


def cut_to_longest_aspect(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the middle of a picture that is longer than LONGEST_ASPECT times its short side, else all of it."""
    height, width, _ = pixels.shape
    longest = LONGEST_ASPECT * min(height, width)
    if max(height, width) <= longest:
        return pixels
    return cropped_centre(pixels, min(width, longest), min(height, longest))


def small_luma(image: Image.Image) -> NDArray[np.uint8]:
    """Return the (64, 64) uint8 luma (ITU-R 601) of an RGB image, squashed by area."""
    luma = image.convert("L")
    blocks = min(luma.size) // (2 * HASH_SIDE)
    if blocks > 1:  # whole blocks first: half the time, and the same mean to a level
        luma = luma.reduce(blocks)
    return np.asarray(resize_area(luma, (HASH_SIDE, HASH_SIDE)))


def contrast_of(pixels: NDArray[np.uint8]) -> float:
    """Return the standard deviation of the luma of (H, W, 3) pixels, 0 to 127.5."""
    return float(small_luma(Image.fromarray(pixels)).std())


def perceptual_hash(luma: NDArray[np.uint8]) -> bytes:
    """Return 256 bits (32 bytes) of which near copies share most: compare by Hamming distance.

    luma: (64, 64) uint8. Bit 16 v + u, first bit highest, says whether the DCT-II coefficient of vertical frequency
    v + 1 and horizontal frequency u + 1 is above the median of all 256. Frequency 0, brightness, is left out as in PDQ
    (Facebook, "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", 2019).
    """
    waves = _waves()
    # Rounding makes the zeros of a flat or one-directional picture true zeros, on every machine.
    coefficients = np.round(waves @ (luma - luma.mean()) @ waves.T, 6)
    return np.packbits(coefficients > np.median(coefficients)).tobytes()


@functools.cache
def _waves() -> NDArray[np.float64]:
    """Return the DCT-II basis of frequencies 1 to 16 over 64 samples: (16, 64)."""
    frequencies, samples = np.arange(1, HASH_FREQUENCIES + 1), 2 * np.arange(HASH_SIDE) + 1
    waves: NDArray[np.float64] = np.cos(np.outer(frequencies, samples) * (np.pi / (2 * HASH_SIDE)))
    return waves * math.sqrt(2 / HASH_SIDE)
