"""Job: find exact and near copies in a snapshot, as star groups. Reads only.

Tiers: equal bytes (sha256), equal decoded pixels, and embeddings that score at least a threshold. Blank pictures and
others without texture are never near copies: their embeddings say nothing.
"""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from search.duplicates.grouping import star_groups
from search.duplicates.groups import DuplicateGroup
from search.finding.plain_pictures import MIN_CONTRAST
from search.finding.snapshot import Snapshot
from search.index.cpu_pairs import CpuPairs
from search.index.pair_finder import PairFinder, Progress
from search.records import ImageRecord
from search.storing.catalogue import Catalogue


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
    snapshot: Snapshot,
    catalogue: Catalogue,
    threshold: float,
    progress: Progress = lambda done, total: None,
    finder: PairFinder | None = None,
) -> DuplicateReport:
    """Return all duplicate groups of a snapshot.

    threshold: least cosine of a near copy. progress: called with (rows compared, rows in all). finder: what
    compares them, by default the CPU; all find the same. Costs O(N^2 * D) for N different contents; identical contents
    are compared once.
    """
    ids, embeddings = snapshot.rows()
    records = catalogue.images_by_id(snapshot.collection.id, ids.tolist())
    row_of = {image_id: row for row, image_id in enumerate(ids.tolist())}
    nodes = _by_pixels(records.values())
    textured = [number for number, node in enumerate(nodes) if node[0].contrast >= MIN_CONTRAST]
    rows = [row_of[nodes[number][0].id] for number in textured]
    edges: defaultdict[int, dict[int, float]] = defaultdict(dict)
    near = (finder or CpuPairs()).pairs(embeddings[rows], threshold, progress)
    for left, right, score in zip(near.rows.tolist(), near.later.tolist(), near.scores.tolist(), strict=True):
        one, other = textured[left], textured[right]
        edges[one][other] = edges[other][one] = min(score, 1.0)
    return DuplicateReport(len(records), threshold, tuple(star_groups(nodes, edges)))


def _by_pixels(images: Iterable[ImageRecord]) -> list[list[ImageRecord]]:
    """Return the images of each distinct picture; equal bytes always decode to equal pixels."""
    nodes: defaultdict[bytes, list[ImageRecord]] = defaultdict(list)
    for image in images:
        nodes[image.pixel_hash].append(image)
    return list(nodes.values())
