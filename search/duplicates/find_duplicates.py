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
from search.index.pair_finder import Progress
from search.pairing.collection_pairs import CollectionPairs
from search.records import ImageRecord
from search.storing.catalogue import Catalogue


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What a dedup job found. images: how many were compared; bytes_reclaimable: size of all members together.

    pair_recall: share of the near pairs that was found, measured on a sample; None where nothing can be missed.
    """

    images: int
    threshold: float
    groups: tuple[DuplicateGroup, ...]
    pair_recall: float | None = None

    @property
    def bytes_reclaimable(self) -> int:
        """Return how many bytes removing every member would free."""
        return sum(member.image.size_bytes for group in self.groups for member in group.members)


def find_duplicates(
    snapshot: Snapshot,
    catalogue: Catalogue,
    threshold: float,
    progress: Progress = lambda done, total: None,
    pairs: CollectionPairs | None = None,
) -> DuplicateReport:
    """Return all duplicate groups of a snapshot.

    threshold: least cosine of a near copy. progress: called with (work done, all work), both in images. pairs: what
    finds near pairs, by default the CPU, which keeps nothing for the next run. Identical contents are compared once.
    """
    records = catalogue.images_by_id(snapshot.collection.id, snapshot.all_ids().tolist())
    nodes = _by_pixels(records.values())
    textured = [number for number, node in enumerate(nodes) if node[0].contrast >= MIN_CONTRAST]
    compared = [nodes[number][0].id for number in textured]
    edges: defaultdict[int, dict[int, float]] = defaultdict(dict)
    found = (pairs or CollectionPairs(catalogue.database)).within(snapshot, compared, threshold, progress)
    near = found.near
    for left, right, score in zip(near.rows.tolist(), near.later.tolist(), near.scores.tolist(), strict=True):
        one, other = textured[left], textured[right]
        edges[one][other] = edges[other][one] = min(score, 1.0)
    return DuplicateReport(len(records), threshold, tuple(star_groups(nodes, edges)), found.pair_recall)


def _by_pixels(images: Iterable[ImageRecord]) -> list[list[ImageRecord]]:
    """Return the images of each distinct picture; equal bytes always decode to equal pixels."""
    nodes: defaultdict[bytes, list[ImageRecord]] = defaultdict(list)
    for image in images:
        nodes[image.pixel_hash].append(image)
    return list(nodes.values())
