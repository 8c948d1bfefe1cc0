"""What looks like copies and is none: shots of one scene, the RAW and the JPEG of one exposure, what a person stacked.

They are listed for whoever wants to choose among them, and no plan ever touches them.
"""

from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Final

from search.duplicates.groups import SimilarKind, SimilarShots
from search.duplicates.sidecars import are_raw_and_developed
from search.records import ImageRecord

BURST_S: Final = 10.0  # between two shots of one scene, as burst modes and people who press twice leave


def as_shots(one: ImageRecord, other: ImageRecord) -> SimilarKind | None:
    """Return why two images that look alike are no copies by their dates and places, None where nothing says so.

    A copy keeps the moment in its EXIF data; what was taken seconds later is another exposure, however alike.
    """
    if are_raw_and_developed(one, other):
        return "raw_and_jpeg"
    if one.taken_at is None or other.taken_at is None or one.taken_at == other.taken_at:
        return None
    apart = datetime.fromisoformat(one.taken_at) - datetime.fromisoformat(other.taken_at)
    return "burst" if abs(apart.total_seconds()) <= BURST_S else None


class SimilarPairs:
    """Collects pairs of images, and tells them as few sets: those that hang together, of one kind each."""

    def __init__(self) -> None:
        self._pairs: defaultdict[SimilarKind, dict[tuple[int, int], float]] = defaultdict(dict)
        self._images: dict[int, ImageRecord] = {}

    def add(self, kind: SimilarKind, one: ImageRecord, other: ImageRecord, score: float) -> None:
        """Remember a pair."""
        self._images[one.id], self._images[other.id] = one, other
        self._pairs[kind][min(one.id, other.id), max(one.id, other.id)] = score

    def shots(self) -> tuple[SimilarShots, ...]:
        """Return all sets: largest first, their images by date and id."""
        found = [self._set(kind, ids, pairs) for kind, pairs in self._pairs.items() for ids in _connected(pairs)]
        return tuple(sorted(found, key=lambda one: (-len(one.images), one.kind, one.images[0].id)))

    def _set(self, kind: SimilarKind, ids: set[int], pairs: Mapping[tuple[int, int], float]) -> SimilarShots:
        images = sorted((self._images[one] for one in ids), key=lambda image: (image.taken_at or "", image.id))
        return SimilarShots(kind, tuple(images), min(score for pair, score in pairs.items() if pair[0] in ids))


def _connected(pairs: Mapping[tuple[int, int], float]) -> list[set[int]]:
    """Return the sets of images that pairs join: here a chain is what is wanted, a burst is one."""
    parents: dict[int, int] = {}

    def root(one: int) -> int:
        parents.setdefault(one, one)
        while parents[one] != one:
            parents[one] = one = parents[parents[one]]
        return one

    for first, second in pairs:
        parents[root(first)] = root(second)
    sets: defaultdict[int, set[int]] = defaultdict(set)
    for one in list(parents):
        sets[root(one)].add(one)
    return list(sets.values())
