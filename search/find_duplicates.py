"""Job: find exact and near copies in a snapshot, as star groups. Reads only.

Tiers: equal bytes (sha256), equal decoded pixels, and embeddings that score at least a threshold. Blank pictures and
others without texture are never near copies: their embeddings say nothing.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.catalogue import Catalogue
from search.grouping import star_groups
from search.index.exact import ExactIndex
from search.records import DuplicateGroup, Embeddings, ImageRecord
from search.snapshot import Snapshot

# Standard deviation of the luma (0 to 127.5) below which a picture counts as blank.
MIN_CONTRAST = 3.0
QUERY_ROWS = 1024

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What a dedup job found. images: how many were compared; bytes_reclaimable: size of all members together."""

    images: int
    threshold: float
    groups: tuple[DuplicateGroup, ...]

    @property
    def bytes_reclaimable(self) -> int:
        """Return how many bytes removing every member would free."""
        return sum(member.image.size_bytes for group in self.groups for member in group.members)


def find_duplicates(
    snapshot: Snapshot, catalogue: Catalogue, threshold: float, progress: Progress = lambda done, total: None
) -> DuplicateReport:
    """Return all duplicate groups of a snapshot.

    threshold: least cosine of a near copy. progress: called with (rows compared, rows in all). Costs O(N^2 * D) for N
    different contents; identical contents are compared once.
    """
    ids, embeddings = snapshot.rows()
    records = catalogue.images_by_id(snapshot.collection.id, ids.tolist())
    row_of = {image_id: row for row, image_id in enumerate(ids.tolist())}
    nodes = _by_pixels(records.values())
    textured = [number for number, node in enumerate(nodes) if node[0].contrast >= MIN_CONTRAST]
    rows = [row_of[nodes[number][0].id] for number in textured]
    edges: defaultdict[int, dict[int, float]] = defaultdict(dict)
    for left, right, score in _near_pairs(embeddings[rows], threshold, progress):
        one, other = textured[left], textured[right]
        edges[one][other] = edges[other][one] = min(score, 1.0)
    return DuplicateReport(len(records), threshold, tuple(star_groups(nodes, edges)))


def _by_pixels(images: Iterable[ImageRecord]) -> list[list[ImageRecord]]:
    """Return the images of each distinct picture; equal bytes always decode to equal pixels."""
    nodes: defaultdict[bytes, list[ImageRecord]] = defaultdict(list)
    for image in images:
        nodes[image.pixel_hash].append(image)
    return list(nodes.values())


def _near_pairs(embeddings: Embeddings, threshold: float, progress: Progress) -> list[tuple[int, int, float]]:
    """Return (row, later row, score) of all pairs at or above the threshold, by exact range search in blocks."""
    index = ExactIndex.build(embeddings)
    found: list[tuple[int, int, float]] = []
    for start in range(0, len(embeddings), QUERY_ROWS):
        block = index.range_search(embeddings[start : start + QUERY_ROWS], threshold)
        queries: NDArray[np.int64] = block.queries + start
        later = block.rows > queries
        found += zip(queries[later].tolist(), block.rows[later].tolist(), block.scores[later].tolist(), strict=True)
        progress(min(start + QUERY_ROWS, len(embeddings)), len(embeddings))
    return found
