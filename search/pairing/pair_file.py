"""What is known of pairs, kept for the next run: a file for each collection, and one for each two that were compared.

A file of other embeddings or of a higher threshold is as good as none (search/pairing/kept_arrays.py).
"""

import contextlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from search.index.sketch_lists import SketchLists
from search.index.sketches import Sketch
from search.pairing.kept_arrays import Arrays, Numbers, keep_arrays, kept_arrays
from search.pairing.known_between import KnownBetween, KnownRows
from search.pairing.known_pairs import KnownPairs, PairRecall

FOLDER: Final = "pairs"
SUFFIX: Final = ".pairs"
ROW_ARRAYS: Final = ("ids", "digests", "places", "sketches", "crowded")
PAIR_ARRAYS: Final = ("one", "other", "scores")


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
        kept = kept_arrays(self.path, self.about)
        if kept is None or kept[0]["threshold"] > threshold:
            return None
        numbers, arrays = kept
        lists = None
        if "centroids" in arrays:
            lists = SketchLists(arrays["centroids"], numbers["slack"], numbers["alone"])
        return KnownPairs(
            threshold=numbers["threshold"],
            sketch=_sketch(numbers, arrays),
            fitted=numbers["fitted"],
            lists=lists,
            lists_done=numbers.get("lists_done", 0),
            recall=_recall(numbers),
            **{name: arrays[name] for name in (*ROW_ARRAYS, "homes", *PAIR_ARRAYS)},
        )

    def save(self, known: KnownPairs) -> None:
        """Keep what is known; a disk that is full or read-only costs the next run time, nothing else."""
        arrays = {name: getattr(known, name) for name in (*ROW_ARRAYS, "homes", *PAIR_ARRAYS)}
        numbers: dict[str, Any] = {"threshold": known.threshold, "fitted": known.fitted}
        if known.lists is not None:
            arrays["centroids"] = known.lists.centroids
            numbers |= {"slack": known.lists.slack, "alone": known.lists.alone, "lists_done": known.lists_done}
        _keep(self.path, self.about, known, numbers, arrays)


@dataclass(frozen=True, slots=True)
class BetweenFile:
    """Where the pairs of an image of one collection and one of another are kept. about: as of PairFile, of the left."""

    folder: Path
    left_id: int
    right_id: int
    about: str

    @property
    def path(self) -> Path:
        """There is one file for each two collections and for whose transform counts, which is that of the left."""
        return self.folder / f"{self.left_id}-{self.right_id}{SUFFIX}"

    def load(self, threshold: float) -> KnownBetween | None:
        """Return what is known of pairs from a threshold on, None where nothing is that can be used."""
        kept = kept_arrays(self.path, self.about)
        if kept is None or kept[0]["threshold"] > threshold:
            return None
        numbers, arrays = kept
        left, right = (KnownRows(**{name: arrays[f"{side} {name}"] for name in ROW_ARRAYS}) for side in _SIDES)
        pairs = {name: arrays[name] for name in PAIR_ARRAYS}
        sketch = _sketch(numbers, arrays)
        return KnownBetween(numbers["threshold"], sketch, left, right, recall=_recall(numbers), **pairs)

    def save(self, known: KnownBetween) -> None:
        """As PairFile.save."""
        arrays = {
            f"{side} {name}": getattr(rows, name)
            for side, rows in zip(_SIDES, (known.left, known.right), strict=True)
            for name in ROW_ARRAYS
        }
        arrays |= {name: getattr(known, name) for name in PAIR_ARRAYS}
        _keep(self.path, self.about, known, {"threshold": known.threshold}, arrays)


_SIDES: Final = ("left", "right")


def sweep(folder: Path, living: Iterable[int], older_than_s: float) -> list[str]:
    """Remove the files of collections that are gone, and what was left half written; return their names.

    older_than_s: age guard, so that a file that is being written is left alone.
    """
    there = {str(number) for number in living}
    swept = []
    for path in folder.glob("*"):
        named = path.suffix == SUFFIX and set(path.stem.split("-")) <= there
        with contextlib.suppress(FileNotFoundError):  # renamed meanwhile
            if not named and path.stat().st_mtime < time.time() - older_than_s:
                path.unlink()
                swept.append(path.name)
    return sorted(swept)


def _keep(
    path: Path, about: str, known: KnownPairs | KnownBetween, numbers: Numbers, arrays: Mapping[str, NDArray[Any]]
) -> None:
    """Write what both kinds have, beside what each has of its own."""
    numbers = {**numbers, "dims": known.sketch.dims}
    if known.recall is not None:
        numbers["recall"] = [known.recall.found, known.recall.pairs, known.recall.rows]
    axes = {} if known.sketch.axes is None else {"axes": known.sketch.axes}
    keep_arrays(path, about, numbers, {**arrays, **axes})


def _sketch(numbers: Numbers, arrays: Arrays) -> Sketch:
    return Sketch(numbers["dims"], arrays.get("axes"))


def _recall(numbers: Numbers) -> PairRecall | None:
    return PairRecall(*numbers["recall"]) if "recall" in numbers else None
