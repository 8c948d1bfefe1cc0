"""The map of a collection: a bounded sample of its images, each with its place in the plane.

It takes seconds to make, so it is kept in a file of the store, and can be made again at any time.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.finding.snapshot import Snapshot
from search.mapping.layout import Points, layout
from search.pairing.kept_arrays import keep_arrays, kept_arrays

SAMPLE: Final = 20_000
FOLDER: Final = "maps"
_PARTS: Final = 8  # of a generation; so much of what is newer, and the map is made anew
RECIPE: Final = 1  # raised when the same embeddings are laid out otherwise


@dataclass(frozen=True, slots=True)
class CollectionMap:
    """ids: (N,) int64 ascending. points: (N, 2) float32, from 0 to 1. name: of what it was made of.

    images: how many the collection had, of which these are all or a sample.
    """

    name: str
    ids: NDArray[np.int64]
    points: Points
    images: int


def map_name(snapshot: Snapshot) -> str:
    """Return a name that differs when a map of the collection should be made anew: with its generation.

    What is newer than the generation is on the map once there is more of it by an eighth of the generation; without a
    generation every commit counts.
    """
    target, made = snapshot.collection, snapshot.generation
    if made is None:
        state = f"sequence {target.sequence}"
    else:
        newer = _PARTS * len(snapshot.delta.ids) // max(1, len(made.ids))
        state = f"generation {made.record.id} and {newer} parts of newer ones"
    return f"map {RECIPE} of space {target.space_id}, transform {snapshot.transform.fingerprint}, {state}"


def make_map(snapshot: Snapshot, tell: Callable[[float], None] = lambda share: None) -> CollectionMap:
    """Lay out a sample of a snapshot. tell: called now and then with the share that is done.

    Raises:
        CorruptFile: a segment is damaged.
    """
    ids = snapshot.living(snapshot.sample(min(SAMPLE, len(snapshot))))
    return CollectionMap(map_name(snapshot), ids, layout(snapshot.embeddings_of(ids), tell), len(snapshot))


def kept_map(folder: Path, snapshot: Snapshot) -> CollectionMap | None:
    """Return the map that was kept of a snapshot, None where there is none, or a damaged one."""
    name = map_name(snapshot)
    kept = kept_arrays(_file(folder, snapshot), name)
    if kept is None:
        return None
    numbers, arrays = kept
    return CollectionMap(name, arrays["ids"], arrays["points"], numbers["images"])


def keep_map(folder: Path, snapshot: Snapshot, made: CollectionMap) -> None:
    """Keep a map for the next process, instead of the one before it; a full disk costs that one time, nothing else."""
    keep_arrays(_file(folder, snapshot), made.name, {"images": made.images}, {"ids": made.ids, "points": made.points})


def _file(folder: Path, snapshot: Snapshot) -> Path:
    return folder / f"{snapshot.collection.id}.map"
