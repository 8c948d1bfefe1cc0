"""Known pairs in a file of the store: a cache that can always be made again.

Format, little-endian: 8 bytes magic `LKPAIR01`, 16 bytes xxh3-128 of all that follows, uint32 length of a JSON header,
the header (what the pairs are of, numbers, and name, type and shape of each array), the arrays. A file that is damaged,
of another release, of other embeddings or of a higher threshold is as good as none. It appears whole, by rename; where
the folder cannot be written, the log says so and all is compared anew next time.
"""

import contextlib
import json
import logging
import math
import os
import struct
import time
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import xxhash
from numpy.typing import NDArray

from search.blobs.blobs import PARTIAL_SUFFIX
from search.errors import CorruptFile
from search.index.sketch_lists import SketchLists
from search.index.sketches import Sketch
from search.pairing.known_pairs import KnownPairs, PairRecall

MAGIC: Final = b"LKPAIR01"
FOLDER: Final = "pairs"
SUFFIX: Final = ".pairs"
HEAD: Final = struct.Struct("<8s16sI")
ROW_ARRAYS: Final = ("ids", "digests", "places", "sketches", "one", "other", "scores", "homes")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PairFile:
    """Where the pairs of one collection are kept. about: what they are of: its space, its transform."""

    folder: Path
    collection_id: int
    about: str

    @property
    def path(self) -> Path:
        """There is one file for each collection: of another space or transform, it is written over."""
        return self.folder / f"{self.collection_id}{SUFFIX}"

    def load(self, threshold: float) -> KnownPairs | None:
        """Return what is known of pairs from a threshold on, None where nothing is that can be used."""
        try:
            data = self.path.read_bytes()
            known = _unpacked(data, self.about)
        except FileNotFoundError:
            return None
        except (CorruptFile, OSError) as error:
            log.warning("pairs found earlier cannot be used (%s: %s); all images are compared again", self.path, error)
            return None
        return known if known is not None and known.threshold <= threshold else None

    def save(self, known: KnownPairs) -> None:
        """Keep what is known; a disk that is full or read-only costs the next run time, nothing else."""
        partial = self.path.with_name(f"{self.path.name}.{uuid.uuid4().hex}{PARTIAL_SUFFIX}")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with partial.open("xb") as file:
                for part in _packed(known, self.about):
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                partial.unlink(missing_ok=True)
            log.warning("cannot keep the pairs found in %s (%s); the next run compares all again", self.path, error)


def sweep(folder: Path, living: Iterable[int], older_than_s: float) -> list[str]:
    """Remove the files of collections that are gone, and what was left half written; return their names.

    older_than_s: age guard, so that a file that is being written is left alone.
    """
    named = {f"{number}{SUFFIX}" for number in living}
    swept = []
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            if path.name not in named and path.stat().st_mtime < time.time() - older_than_s:
                path.unlink()
                swept.append(path.name)
    return sorted(swept)


def _packed(known: KnownPairs, about: str) -> list[bytes | memoryview]:
    arrays: dict[str, NDArray[Any]] = {name: getattr(known, name) for name in ROW_ARRAYS}
    if known.sketch.axes is not None:
        arrays["axes"] = known.sketch.axes
    numbers: dict[str, Any] = {"threshold": known.threshold, "dims": known.sketch.dims, "fitted": known.fitted}
    if known.lists is not None:
        arrays["centroids"] = known.lists.centroids
        numbers |= {"slack": known.lists.slack, "alone": known.lists.alone, "lists_done": known.lists_done}
    if known.recall is not None:
        numbers["recall"] = [known.recall.found, known.recall.pairs, known.recall.rows]
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


def _unpacked(data: bytes, about: str) -> KnownPairs | None:
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
    return _restored(header["numbers"], arrays)


def _restored(numbers: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> KnownPairs:
    lists = None
    if "centroids" in arrays:
        lists = SketchLists(arrays["centroids"], numbers["slack"], numbers["alone"])
    return KnownPairs(
        threshold=numbers["threshold"],
        sketch=Sketch(numbers["dims"], arrays.get("axes")),
        fitted=numbers["fitted"],
        lists=lists,
        lists_done=numbers.get("lists_done", 0),
        recall=PairRecall(*numbers["recall"]) if "recall" in numbers else None,
        **{name: arrays[name] for name in ROW_ARRAYS},
    )
