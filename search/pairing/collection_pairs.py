"""Near pairs of the images of collections: what dedup asks for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.database.database import Database
from search.errors import SpaceMismatch
from search.finding.snapshot import Snapshot
from search.index.pair_finder import NearPairs, PairFinder, Progress, ordered
from search.pairing.crowded_pairs import CrowdedPairs
from search.pairing.identified_rows import SnapshotRows
from search.pairing.known_pairs import PairRecall
from search.pairing.near_pairs import near_pairs
from search.pairing.pair_file import BetweenFile, PairFile
from search.pairing.pairs_between import pairs_between


@dataclass(frozen=True, eq=False)
class Paired:
    """Near pairs, by places in the lists of ids that were asked for. recall: None where nothing can be missed.

    compared: how many images were new since the last run, of both collections where two are compared. crowd: answers
    for the pairs that are too many to be listed, by places; between two collections, for places in the right ids.
    """

    near: NearPairs
    recall: PairRecall | None
    compared: int
    crowd: CrowdedPairs | None = None

    @property
    def pair_recall(self) -> float | None:
        """Return the share of near pairs that was found, as measured on a sample, None where nothing can be missed."""
        return None if self.recall is None else self.recall.share


class CollectionPairs:
    """Finds pairs in the collections of one store."""

    def __init__(self, database: Database, folder: Path | None = None, finder: PairFinder | None = None) -> None:
        """folder: where pairs are kept for the next run, None for nowhere. finder: what compares on a GPU."""
        self._database = database
        self._folder = folder
        self._finder = finder

    def within(
        self,
        snapshot: Snapshot,
        ids: Sequence[int] | NDArray[np.int64],
        threshold: float,
        progress: Progress = lambda done, total: None,
    ) -> Paired:
        """Return the pairs of some images of a collection that score at least a threshold; each once, rows < later.

        ids: each once. progress: called with (work done, all work), both in images.

        Raises:
            ImageNotFound: an id is not in the snapshot.
            CorruptFile: a segment is damaged.
        """
        order = np.argsort(np.asarray(ids, np.int64), kind="stable")
        rows = SnapshotRows(snapshot, self._database, np.asarray(ids, np.int64)[order])
        file = None if self._folder is None else _file_of(self._folder, snapshot)
        found = near_pairs(rows, threshold, file=file, finder=self._finder, progress=progress)
        one, other = (order[np.searchsorted(rows.ids, each)] for each in (found.one, found.other))
        near = ordered(NearPairs(np.minimum(one, other), np.maximum(one, other), found.scores))
        crowd = found.crowd and _by_places(found.crowd, (rows.ids, order), (rows.ids, order))
        return Paired(near, found.recall, found.compared, crowd)

    def between(
        self,
        left: tuple[Snapshot, Sequence[int] | NDArray[np.int64]],
        right: tuple[Snapshot, Sequence[int] | NDArray[np.int64]],
        threshold: float,
        progress: Progress = lambda done, total: None,
    ) -> Paired:
        """Return the pairs of an image of one collection and an image of another that score at least a threshold.

        left, right: a snapshot and the ids of its images. Scores are those of the left collection: its transform is
        applied to both. `near.rows` are places in the ids of the left, `near.later` in those of the right.

        Raises:
            SpaceMismatch: the collections have embeddings that cannot be compared.
            ImageNotFound: an id is not in its snapshot.
            CorruptFile: a segment is damaged.
        """
        ours, theirs = left[0].collection, right[0].collection
        if ours.space_id != theirs.space_id:
            raise SpaceMismatch(
                f"collections {ours.name!r} ({ours.space.name}) and {theirs.name!r} ({theirs.space.name}) cannot be "
                "compared: `lookalike reembed` one of them with the backbone of the other"
            )
        sides, orders = [], []
        for snapshot, ids in (left, right):
            orders.append(np.argsort(np.asarray(ids, np.int64), kind="stable"))
            ascending = np.asarray(ids, np.int64)[orders[-1]]
            sides.append(SnapshotRows(snapshot, self._database, ascending, left[0].transform))
        mine, other = sides
        file = None if self._folder is None else BetweenFile(self._folder, ours.id, theirs.id, _about(left[0]))
        found = pairs_between((mine, other), threshold, file=file, finder=self._finder, progress=progress)
        rows = orders[0][np.searchsorted(mine.ids, found.one)]
        later = orders[1][np.searchsorted(other.ids, found.other)]
        crowd = found.crowd and _by_places(found.crowd, (other.ids, orders[1]), (mine.ids, orders[0]))
        return Paired(ordered(NearPairs(rows, later, found.scores)), found.recall, found.compared, crowd)


Order = tuple[NDArray[np.int64], NDArray[np.int64]]


def _by_places(crowd: CrowdedPairs, asked: Order, answering: Order) -> CrowdedPairs:
    """Return a crowd by places in lists of ids instead of by ids. asked, answering: ids ascending, and their places."""
    names = zip((asked, answering), crowd.names, strict=True)
    mine, theirs = (places[np.searchsorted(ids, each)] for (ids, places), each in names)
    return crowd.called(mine, theirs)


def _file_of(folder: Path, snapshot: Snapshot) -> PairFile:
    return PairFile(folder, snapshot.collection.id, _about(snapshot))


def _about(snapshot: Snapshot) -> str:
    """Return what pairs are kept under; those of another space or transform are as good as none."""
    return f"{snapshot.collection.space.fingerprint} {snapshot.transform.fingerprint}"
