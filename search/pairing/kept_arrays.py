"""Arrays in a file of the store, such as pairs or a map: a cache that can always be made again.

Format, little-endian: 8 bytes magic `LKPAIR02`, 16 bytes xxh3-128 of all that follows, uint32 length of a JSON header,
the header (what they are of, numbers, and name, type and shape of each array), the arrays. A file that is damaged,
of another release or of other embeddings is as good as none. It appears whole, by rename; where the folder cannot be
written, the log says so and all is computed anew next time.
"""

import contextlib
import json
import logging
import math
import os
import struct
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from search.blobs.blobs import PARTIAL_SUFFIX
from search.errors import CorruptFile

MAGIC: Final = b"LKPAIR02"
HEAD: Final = struct.Struct("<8s16sI")

Numbers = Mapping[str, Any]
Arrays = Mapping[str, NDArray[Any]]

log = logging.getLogger(__name__)


def kept_arrays(path: Path, about: str) -> tuple[Numbers, Arrays] | None:
    """Return the numbers and the arrays that a file holds, None where nothing is that can be used.

    about: what they are to be of; of anything else they are no use.
    """
    try:
        return _unpacked(path.read_bytes(), about)
    except FileNotFoundError:
        return None
    except (CorruptFile, OSError) as error:
        log.warning("what was found earlier cannot be used (%s: %s); it is computed again", path, error)
        return None


def keep_arrays(path: Path, about: str, numbers: Numbers, arrays: Arrays) -> None:
    """Write them, whole or not at all; a disk that is full or read-only costs the next run time, nothing else."""
    partial = path.with_name(f"{path.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("xb") as file:
            for part in _packed(about, numbers, arrays):
                file.write(part)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        log.warning("cannot keep what was found in %s (%s); the next run computes it again", path, error)


def _packed(about: str, numbers: Numbers, arrays: Arrays) -> list[bytes | memoryview]:
    shapes = [[name, array.dtype.newbyteorder("<").str, list(array.shape)] for name, array in arrays.items()]
    header = json.dumps({"about": about, "numbers": numbers, "arrays": shapes}).encode()
    parts: list[bytes | memoryview] = [struct.pack("<I", len(header)), header]
    for array in arrays.values():
        whole = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
        parts.append(memoryview(whole.reshape(-1).view(np.uint8)))  # type: ignore[arg-type]
    told = xxhash.xxh3_128()
    for part in parts:
        told.update(part)
    return [MAGIC, told.digest(), *parts]


def _unpacked(data: bytes, about: str) -> tuple[Numbers, Arrays] | None:
    """Return what a file holds, None where it is sound and of something else.

    Raises:
        CorruptFile: it is not what was written.
    """
    if len(data) < HEAD.size or data[: len(MAGIC)] != MAGIC:
        raise CorruptFile("it is not of this release")
    _, told, length = HEAD.unpack_from(data)
    if xxhash.xxh3_128_digest(memoryview(data)[HEAD.size - 4 :]) != told:
        raise CorruptFile("it is damaged")
    header = json.loads(data[HEAD.size : HEAD.size + length])
    if header["about"] != about:
        return None
    arrays, at = {}, HEAD.size + length
    for name, kind, shape in header["arrays"]:
        count = math.prod(shape)
        arrays[name] = np.frombuffer(data, np.dtype(kind), count, at).reshape(shape).copy()
        at += arrays[name].nbytes
    return header["numbers"], arrays
