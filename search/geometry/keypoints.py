"""The keypoints of a picture: places that are found again after edits, each with what it looks like.

SIFT (Lowe, "Distinctive image features from scale-invariant keypoints", 2004) as OpenCV finds it, described as in
Arandjelovic and Zisserman, "Three things everyone should know to improve object retrieval" (2012). Everything is stored
in the small integers it is compared with, so that keypoints from the cache equal fresh ones to the bit.

Places are in pixels of the picture as its file has it, from its upper left corner: the first pixel covers (0, 0) to
(1, 1) and its centre lies at (.5, .5). A reduced copy therefore has the same places, times the reduction.
"""

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB, or (H, W) grey

# Tuned on half of 200 photographs by bench/geometry.py; see docs/benchmarks.md.
WORKING_AREA = (
    400 * 320
)  # pixels of the copy that SIFT is shown, whatever its shape; it looks for details at four times that
RECIPE = 1  # goes up when the same pixels give other keypoints, so that those in caches are made anew
SHARES = 65535  # places are stored as shares of the width and height
TURN = 65536  # stored angles of a full turn
DESCRIPTOR_NORM = 512.0  # length of a stored descriptor
_FLAT = 2.0  # standard deviation of the grey levels below which a picture shows nothing
_CELLS = 6  # cells along each side, over which keypoints are spread


@dataclass(frozen=True, slots=True)
class Detail:
    """How much is kept of a picture. thumbnail_area: pixels of the small grey copy at most."""

    keypoints: int
    thumbnail_area: int


STORED = Detail(keypoints=400, thumbnail_area=128 * 96)  # of an indexed picture: 67 kB
# Of a query, which is compared with many: more keypoints find smaller parts.
ASKED = Detail(keypoints=800, thumbnail_area=256 * 192)


@dataclass(frozen=True, slots=True, eq=False)
class Keypoints:
    """What is kept of a picture to compare it with others. K may be 0; the strongest keypoints come first.

    width, height: of the picture, in pixels.
    shares: (K, 2) uint16, places as shares of width and height.
    diameters: (K,) float16, of each keypoint's neighbourhood, relative to the picture's longer side.
    turns: (K,) uint16, directions, clockwise from the x axis.
    descriptors: (K, 128) uint8, RootSIFT.
    thumbnail: (h, w) uint8, grey.
    """

    width: int
    height: int
    shares: NDArray[np.uint16]
    diameters: NDArray[np.float16]
    turns: NDArray[np.uint16]
    descriptors: NDArray[np.uint8]
    thumbnail: NDArray[np.uint8]

    def __len__(self) -> int:
        return len(self.shares)

    @property
    def longer_side(self) -> int:
        """Pixels of the longer side."""
        return max(self.width, self.height)

    def points(self) -> NDArray[np.float64]:
        """Return (K, 2) places in pixels of the picture."""
        return self.shares.astype(np.float64) * np.array((self.width / SHARES, self.height / SHARES), np.float64)

    def sizes(self) -> NDArray[np.float64]:
        """Return (K,) diameters in pixels of the picture."""
        return self.diameters.astype(np.float64) * self.longer_side

    def angles(self) -> NDArray[np.float64]:
        """Return (K,) directions in radians, clockwise from the x axis, as y points down."""
        return self.turns.astype(np.float64) * (2 * np.pi / TURN)


def extract(pixels: Pixels, detail: Detail = STORED) -> Keypoints:
    """Return the strongest keypoints of a picture, none where it shows nothing.

    pixels: (H, W, 3) RGB or (H, W) grey, of any size from 1x1. The same pixels give the same keypoints.

    Raises:
        ValueError: pixels have another shape or dtype.
    """
    grey = as_grey(pixels)
    height, width = grey.shape
    thumbnail = resized(grey, min(1.0, (detail.thumbnail_area / (width * height)) ** 0.5))
    if grey.std() < _FLAT:
        return _nothing(width, height, thumbnail)
    return _strongest(grey, detail.keypoints, thumbnail)


def as_grey(pixels: Pixels) -> Pixels:
    """Return (H, W) grey levels of a picture.

    Raises:
        ValueError: pixels are neither (H, W, 3) nor (H, W) uint8, or there are none.
    """
    if pixels.dtype != np.uint8 or pixels.size == 0:
        raise ValueError(f"pixels are {pixels.dtype} of the shape {pixels.shape}; uint8 is needed, one pixel at least")
    if pixels.ndim == 2:  # noqa: PLR2004
        return pixels
    if pixels.ndim != 3 or pixels.shape[2] != 3:  # noqa: PLR2004
        raise ValueError(f"pixels have the shape {pixels.shape}; (H, W, 3) or (H, W) is needed")
    return np.asarray(cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY), np.uint8)


def mirrored(keypoints: Keypoints) -> Keypoints:
    """Return the keypoints of the mirror image, left and right swapped, without looking at its pixels."""
    return Keypoints(
        keypoints.width,
        keypoints.height,
        np.stack((SHARES - keypoints.shares[:, 0], keypoints.shares[:, 1]), axis=1).astype(np.uint16),
        keypoints.diameters,
        ((TURN // 2 - keypoints.turns.astype(np.int64)) % TURN).astype(np.uint16),
        np.ascontiguousarray(keypoints.descriptors[:, _mirror_order()]),
        np.ascontiguousarray(keypoints.thumbnail[:, ::-1]),
    )


@cache
def _mirror_order() -> NDArray[np.intp]:
    """Return where each of the 128 numbers of a mirrored descriptor lay: 4 rows, 4 columns, 8 directions.

    In the frame of a keypoint, which is turned to its direction, the mirror swaps the two sides of that direction:
    rows come in reverse and directions change their sign.
    """
    places = np.arange(128).reshape(4, 4, 8)
    return places[::-1][:, :, (-np.arange(8)) % 8].reshape(-1)


def _strongest(grey: Pixels, limit: int, thumbnail: Pixels) -> Keypoints:
    height, width = grey.shape
    working = resized(grey, (WORKING_AREA / (width * height)) ** 0.5)
    sift = cv2.SIFT.create(nfeatures=limit * 2, contrastThreshold=0.02, enable_precise_upscale=True)
    found, descriptors = sift.detectAndCompute(working, None)
    if not found:
        return _nothing(width, height, thumbnail)
    table = np.array([(*one.pt, one.size, one.angle, one.response) for one in found], np.float64)
    chosen = _spread(table, working.shape, limit)
    table = table[chosen]
    size = np.array((working.shape[1], working.shape[0]))
    shares = np.clip((table[:, :2] + 0.5) / size, 0, 1) * SHARES
    return Keypoints(
        width,
        height,
        np.round(shares).astype(np.uint16),
        (table[:, 2] / size.max()).astype(np.float16),
        (np.round(table[:, 3] / 360 * TURN) % TURN).astype(np.uint16),
        _rooted(descriptors[chosen]),
        thumbnail,
    )


def _nothing(width: int, height: int, thumbnail: Pixels) -> Keypoints:
    none = np.empty(0, np.uint16)
    return Keypoints(
        width, height, none.reshape(0, 2), none.astype(np.float16), none, np.empty((0, 128), np.uint8), thumbnail
    )


def resized(grey: Pixels, factor: float) -> Pixels:
    """Return the picture with its sides times a factor, averaging where it shrinks."""
    if factor == 1:
        return grey
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return np.asarray(cv2.resize(grey, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC), np.uint8)


def _spread(table: NDArray[np.float64], shape: tuple[int, ...], limit: int) -> NDArray[np.intp]:
    """Return which keypoints to keep, strongest first: half of them anywhere, the rest from all over the picture.

    table: (N, 5) of x, y, diameter, direction and strength. A coarse keypoint counts more than a fine one of the same
    contrast, because it outlives blurring and shrinking.
    """
    strength = table[:, 4] * np.sqrt(table[:, 2])
    order = np.lexsort((table[:, 3], table[:, 1], table[:, 0], -strength))
    cells = np.minimum(table[order, :2] * _CELLS // np.array((shape[1], shape[0])), _CELLS - 1) @ (1, _CELLS)
    rank = np.empty(len(order), np.int64)
    for cell in np.unique(cells):
        inside = np.flatnonzero(cells == cell)
        rank[inside] = np.arange(len(inside))
    rank[: limit // 2] = -1
    kept = np.sort(np.argsort(rank, kind="stable")[:limit])
    return order[kept]


def _rooted(descriptors: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return RootSIFT: their scalar product is then the Hellinger kernel of the histograms."""
    total = np.maximum(descriptors.sum(axis=1, keepdims=True), 1e-6)
    rooted = np.round(np.sqrt(descriptors / total) * DESCRIPTOR_NORM)
    return np.asarray(np.clip(rooted, 0, 255), np.uint8)
