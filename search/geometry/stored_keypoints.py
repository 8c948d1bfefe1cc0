"""Keypoints as bytes: a header with a checksum, then the arrays as they are in memory, little-endian.

4s  mark            H  recipe of the keypoints     H  keypoints     I I  width and height of the picture
H H height and width of the thumbnail              Q  xxh3 of everything else
"""

import struct

import numpy as np
import xxhash
from numpy.typing import NDArray

from search.errors import CorruptFile
from search.geometry.keypoints import RECIPE, Keypoints

_MARK = b"LKKP"
_FACTS = struct.Struct("<4sHHIIHH")
_CHECKSUM = struct.Struct("<Q")
_DESCRIPTOR = 128


def to_bytes(keypoints: Keypoints) -> bytes:
    """Return keypoints as bytes: 136 for each, the thumbnail, and a header of 28."""
    height, width = keypoints.thumbnail.shape
    facts = _FACTS.pack(_MARK, RECIPE, len(keypoints), keypoints.width, keypoints.height, height, width)
    arrays = (keypoints.shares, keypoints.diameters, keypoints.turns, keypoints.descriptors, keypoints.thumbnail)
    body = b"".join(np.ascontiguousarray(one, one.dtype.newbyteorder("<")).tobytes() for one in arrays)
    return facts + _CHECKSUM.pack(_digest(facts, body)) + body


def from_bytes(data: bytes) -> Keypoints:
    """Return the keypoints in these bytes, equal to those that were stored.

    Raises:
        CorruptFile: these are not the bytes that were written, or another recipe made them.
    """
    start = _FACTS.size + _CHECKSUM.size
    if len(data) < start:
        raise CorruptFile(f"{len(data)} bytes are no stored keypoints; they are made anew from the picture")
    mark, recipe, count, width, height, rows, columns = _FACTS.unpack_from(data)
    (digest,) = _CHECKSUM.unpack_from(data, _FACTS.size)
    body = data[start:]
    if (mark, recipe) != (_MARK, RECIPE) or _digest(data[: _FACTS.size], body) != digest:
        raise CorruptFile("stored keypoints are damaged or of another release; they are made anew from the picture")
    lengths = (4 * count, 2 * count, 2 * count, _DESCRIPTOR * count, rows * columns)
    shares, diameters, turns, descriptors, thumbnail = np.split(
        np.frombuffer(body, np.uint8), np.cumsum(lengths)[:-1].tolist()
    )
    return Keypoints(
        width,
        height,
        _as(shares, "<u2").astype(np.uint16).reshape(count, 2),
        _as(diameters, "<f2").astype(np.float16),
        _as(turns, "<u2").astype(np.uint16),
        descriptors.reshape(count, _DESCRIPTOR),
        thumbnail.reshape(rows, columns),
    )


def _as(raw: NDArray[np.uint8], dtype: str) -> NDArray[np.generic]:
    return np.frombuffer(raw.tobytes(), dtype)


def _digest(facts: bytes, body: bytes) -> int:
    return xxhash.xxh3_64_intdigest(facts + body)
