"""The local features of a picture: what its strongest keypoints look like, in 20 bytes each.

Each descriptor becomes the cell it lies in and a code of what is left of it, as in Jegou, Douze and Schmid, "Product
quantization for nearest neighbor search" (2011), with the cells of Babenko and Lempitsky, "The inverted multi-index"
(2012): two halves of 64 numbers, 256 centres each, 65,536 cells in all. Beside it stand direction and size, by which a
search tells matches that agree from those that are chance. The centres are the same in every store: they come with this
release, from training/train_local_quantiser.py, so that what was encoded once stays comparable. Everything is a small
integer and every product exact in float32: the same pixels give the same bytes.

A record is FEATURES rows of 20 bytes: the two numbers of the cell, 16 of the code, direction, size. Rows whose size is
0 hold nothing; they come last.
"""

import hashlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np
from numpy.typing import NDArray

from search.errors import CorruptFile

if TYPE_CHECKING:  # OpenCV is loaded by those who look at pixels alone
    from search.geometry.keypoints import Keypoints

FEATURES: Final = 256  # of a picture at most
FEATURE_BYTES: Final = 20
RECORD_BYTES: Final = FEATURES * FEATURE_BYTES

HALVES, PARTS, CENTRES, DIMS = 2, 16, 256, 128
QUANTISER: Final = Path(__file__).with_name("local_quantiser.bin")
QUANTISER_SHA256: Final = "43954f0c431097c3167ebfc4b1d2f28952ddcdf2c4b7ea5bb2f30bb447e30de3"
KEYPOINTS_RECIPE: Final = 1  # that of search/geometry/keypoints.py
# What stored records depend on; another one is another space (search/storing/local_rows.py).
MADE_BY: Final = f"keypoints {KEYPOINTS_RECIPE}, {FEATURES} of {FEATURE_BYTES} bytes"
SIZES_AN_OCTAVE: Final = 16
_SMALLEST = 2.0**-12  # relative diameter of size 1
_MOST_SIZE = 255

Record = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, eq=False)
class Quantiser:
    """The centres. coarse: (2, 256, 64) uint8, of cells; fine: (16, 256, 8) int8, of what is left."""

    coarse: NDArray[np.uint8]
    fine: NDArray[np.int8]

    def encode(self, descriptors: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return cells and codes of (K, 128) RootSIFT descriptors: (K, 18) uint8."""
        halves = descriptors.reshape(-1, HALVES, DIMS // HALVES).transpose(1, 0, 2).astype(np.float32)
        cells = _nearest(halves, self.coarse)
        centres = np.stack([self.coarse[half][cells[half]] for half in range(HALVES)]).astype(np.float32)
        left = (halves - centres).transpose(1, 0, 2).reshape(len(descriptors), PARTS, DIMS // PARTS)
        codes = _nearest(np.ascontiguousarray(left.transpose(1, 0, 2)), self.fine)
        return np.asarray(np.concatenate([cells, codes]).T, np.uint8)

    def to_bytes(self) -> bytes:
        """Return the file of the centres."""
        return self.coarse.tobytes() + self.fine.tobytes()


def _nearest(rows: NDArray[np.float32], centres: NDArray[np.uint8] | NDArray[np.int8]) -> NDArray[np.intp]:
    """Return the nearest centre of each row, the first of equal ones. rows: (P, K, d); centres: (P, C, d); (P, K)."""
    near = centres.astype(np.float32)
    squares = np.einsum("pcd,pcd->pc", near, near)
    return np.stack(
        [(square - 2 * (row @ one.T)).argmin(axis=1) for row, one, square in zip(rows, near, squares, strict=True)]
    )


@cache
def quantiser() -> Quantiser:
    """Return the centres of this release.

    Raises:
        CorruptFile: their file is not the one that this release came with.
    """
    return opened(QUANTISER, QUANTISER_SHA256)


def opened(file: Path, sha256: str) -> Quantiser:
    """Return the centres in a file.

    Raises:
        CorruptFile: it is missing, or not the one of this checksum.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise CorruptFile(f"{file} is missing ({error.strerror}); install Lookalike again") from error
    if hashlib.sha256(data).hexdigest() != sha256:
        raise CorruptFile(f"{file} is not what this release came with; install Lookalike again")
    whole = np.frombuffer(data, np.uint8)
    coarse, fine = whole[: CENTRES * DIMS], whole[CENTRES * DIMS :]
    return Quantiser(
        coarse.reshape(HALVES, CENTRES, DIMS // HALVES),
        fine.view(np.int8).reshape(PARTS, CENTRES, DIMS // PARTS),
    )


def record_of(keypoints: "Keypoints") -> Record:
    """Return the record of a picture, (RECORD_BYTES,) uint8: of its FEATURES strongest keypoints."""
    record = np.zeros((FEATURES, FEATURE_BYTES), np.uint8)
    count = min(FEATURES, len(keypoints))
    if count:
        record[:count, :18] = quantiser().encode(keypoints.descriptors[:count])
        record[:count, 18] = directions_of(keypoints)[:count]
        record[:count, 19] = sizes_of(keypoints)[:count]
    return record.reshape(-1)


def directions_of(keypoints: "Keypoints") -> NDArray[np.uint8]:
    """Return the directions of keypoints in 256ths of a turn, (K,)."""
    return (keypoints.turns >> 8).astype(np.uint8)


def sizes_of(keypoints: "Keypoints") -> NDArray[np.uint8]:
    """Return the logarithms of their diameters, SIZES_AN_OCTAVE steps to an octave, at least 1: (K,)."""
    octaves = np.log2(np.maximum(keypoints.diameters.astype(np.float64), _SMALLEST) / _SMALLEST)
    return np.asarray(np.clip(np.round(SIZES_AN_OCTAVE * octaves) + 1, 1, _MOST_SIZE), np.uint8)


def features_in(records: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return all features of (N, RECORD_BYTES) records, (M, 20), and the record that each is of, (M,)."""
    table: NDArray[np.uint8] = records.reshape(-1, FEATURES, FEATURE_BYTES)
    owners, places = np.nonzero(table[:, :, FEATURE_BYTES - 1])
    return table[owners, places], owners.astype(np.int64)
