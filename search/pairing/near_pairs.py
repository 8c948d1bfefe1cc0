"""All pairs of images that score at least a threshold: complete, kept for the next run, which compares what is new.

Up to EXACT_ROWS images everything is compared with everything and nothing is missed (search/index/sketches.py). Above,
images are compared by lists (search/index/sketch_lists.py), and the recall is measured on rows that are compared with
all. A GPU compares everything with everything, however many there are.
"""

import logging
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.index.cpu_pairs import CpuPairs
from search.index.crowd import TooManyPairs
from search.index.pair_finder import NearPairs, PairFinder, Progress
from search.index.pair_scoring import HeldRows, RowSource
from search.index.sketches import Sketch, drawn, fit
from search.pairing.comparing import Keeper, compare_all, compare_lists, compare_visitors, in_lists, reordered
from search.pairing.crowded_pairs import CrowdedPairs, CrowdRows
from search.pairing.identified_rows import IdentifiedRows, digests
from search.pairing.known_pairs import FoundPairs, KnownPairs, still_true
from search.pairing.pair_file import PairFile

EXACT_ROWS: Final = 100_000
HELD_BYTES: Final = 2 * 2**30  # of embeddings in memory; more are read as they are needed
READ_ROWS: Final = 8_192
GPU_ROWS: Final = 65_536  # of new rows that a GPU compares before they are kept
REFITTED: Final = 2  # times the rows that lists were made for: then they are made anew
# Shares of a run by lists, by which its progress is told.
SKETCHED, LISTED = 0.15, 0.3

log = logging.getLogger(__name__)


def near_pairs(
    rows: IdentifiedRows,
    threshold: float,
    *,
    file: PairFile | None = None,
    finder: PairFinder | None = None,
    progress: Progress = lambda done, total: None,
    exact_rows: int = EXACT_ROWS,
) -> FoundPairs:
    """Return all pairs of rows that score at least a threshold.

    file: what earlier runs found, and what this one finds; a run that is interrupted goes on from there. finder: what
    compares on a GPU; by default the CPU. progress: called with (work done, all work), both in rows. exact_rows: up to
    as many are compared with all others.

    Raises:
        CorruptFile: a segment is damaged.
    """
    loaded = None if file is None else file.load(threshold)
    earlier = None if loaded is None else still_true(loaded, rows)
    keeper = Keeper[KnownPairs](lambda known: None if file is None else file.save(known))
    run = _Run(rows, threshold, keeper, progress, exact_rows)
    known = run.on_gpu(earlier, finder) if finder and not isinstance(finder, CpuPairs) else run.on_cpu(earlier)
    if loaded is None or run.compared or not loaded.is_whole or not np.array_equal(known.places, loaded.places):
        keeper.keep(known)
    progress(len(rows), len(rows))
    near = known.scores >= np.float32(threshold)
    ones, others = known.ids[known.one[near]], known.ids[known.other[near]]
    one, other = np.minimum(ones, others), np.maximum(ones, others)
    order = np.lexsort((one, other))
    crowd = None
    if known.crowded.any():
        each = CrowdRows.among(known.crowded, known.ids, run.ordered(known), known.sketches)
        crowd = CrowdedPairs(each, each, known.sketch, threshold)
    return FoundPairs(one[order], other[order], known.scores[near][order], known.recall, run.compared, crowd)


class _Run:
    """What the ways to compare share. compared: how many rows were new."""

    def __init__(
        self, rows: IdentifiedRows, threshold: float, keeper: Keeper[KnownPairs], progress: Progress, exact_rows: int
    ) -> None:
        self._rows = rows
        self._threshold = threshold
        self._keeper = keeper
        self._progress = progress
        self._exact_rows = exact_rows
        self._whole: HeldRows | None = None
        self.compared = 0

    def on_cpu(self, earlier: KnownPairs | None) -> KnownPairs:
        """Return what is known when all rows were compared."""
        known, exact = earlier, len(self._rows) <= self._exact_rows
        if known is not None and known.lists is None and not exact and 2 * len(known) < len(self._rows):
            known = None  # most of the work is still to be done, and lists do it sooner
        if known is not None and not known.is_whole:
            self._hold(len(known))
            known = compare_lists(known, self.ordered(known), self._keeper, self._share(LISTED, 1.0))
        begin = 0 if known is None else len(known)
        self.compared = len(self._rows) - begin
        by_lists = not exact or (known is not None and known.lists is not None)
        known = self._extended(known, self._share(0.0, SKETCHED) if by_lists else None)
        if not by_lists:
            return compare_all(known, begin, self.ordered(known), self._keeper, self._progress)
        if known.lists is None or len(known) > REFITTED * known.fitted:
            known, begin = self._listed(known, begin)
        if begin == 0:
            return compare_lists(known, self.ordered(known), self._keeper, self._share(LISTED, 1.0))
        if begin == len(known):
            return known
        return compare_visitors(known, begin, self.ordered(known), self._keeper, self._share(LISTED, 1.0))

    def on_gpu(self, earlier: KnownPairs | None, finder: PairFinder) -> KnownPairs:
        """Return the same, found by a finder that has all embeddings in memory."""
        begin = 0 if earlier is None or not earlier.is_whole else len(earlier)
        known = self._extended(earlier if begin else None)
        self.compared = len(known) - begin
        if not self.compared:
            return known
        whole = HeldRows.of(self.ordered(known)).rows
        for start in range(begin, len(known), GPU_ROWS):
            end = min(start + GPU_ROWS, len(known))
            try:
                near = finder.pairs(whole[start:end], known.threshold)
                known = known.with_pairs(NearPairs(near.rows + start, near.later + start, near.scores))
                if start:
                    near = finder.between(whole[:start], whole[start:end], known.threshold)
                    known = known.with_pairs(NearPairs(near.rows, near.later + start, near.scores))
            except TooManyPairs:
                log.info("too many pairs for the memory of a device at once: the CPU does the rest")
                return self.on_cpu(known.first(start))
            self._progress(int(len(known) * (end**2 - begin**2) / (len(known) ** 2 - begin**2)), len(known))
            if self._keeper.due():
                self._keeper.keep(known.first(end))
        return known

    def _listed(self, known: KnownPairs, begin: int) -> tuple[KnownPairs, int]:
        """Return the same in lists, those rows first that are compared already, and how many these are."""
        new = np.arange(len(known)) >= begin
        known, order = in_lists(known, self.ordered(known), self._share(SKETCHED, LISTED))
        if begin == 0:
            return replace(known, lists_done=0), 0
        return reordered(known, np.argsort(new[order], kind="stable")), begin

    def _extended(self, known: KnownPairs | None, progress: Progress | None = None) -> KnownPairs:
        """Return what is known with the rows that are new at its end."""
        known = known or self._nothing()
        new = np.flatnonzero(~np.isin(self._rows.ids, known.ids))
        if not len(new):
            return known
        self._hold(len(new))
        source = self._whole or self._rows
        told, sketches = [known.digests], [known.sketches]
        for start in range(0, len(new), READ_ROWS):
            part = source.read(new[start : start + READ_ROWS])
            told.append(digests(part))
            sketches.append(known.sketch.of(part))
            if progress is not None:
                progress(start, len(new))
        all_sketches = np.concatenate(sketches)
        homes = known.homes
        if known.lists is not None:
            homes = np.concatenate([homes, known.lists.homes(all_sketches[len(known) :].astype(np.float32))])
        return replace(
            known,
            ids=np.concatenate([known.ids, self._rows.ids[new]]),
            digests=np.concatenate(told),
            places=np.concatenate([known.places, self._rows.places[new]]),
            sketches=all_sketches,
            crowded=np.append(known.crowded, np.zeros(len(new), np.bool_)),
            homes=homes,
        )

    def _nothing(self) -> KnownPairs:
        rows = self._rows
        sketch: Sketch = fit(rows.read(drawn(len(rows))), self._threshold)
        none = np.empty(0, np.uint64)
        sketches = np.empty((0, sketch.width), np.float16)
        ids, crowded = np.empty(0, np.int64), np.empty(0, np.bool_)
        return KnownPairs(self._threshold, sketch, len(rows), ids, none, none, sketches, crowded)

    def _hold(self, needed: int) -> None:
        """Read all rows, once, where most are needed and memory has room for them."""
        rows = len(self._rows)
        if self._whole is None and 4 * rows * self._rows.dims <= HELD_BYTES and 4 * needed > rows:
            self._whole = HeldRows.of(self._rows)

    def ordered(self, known: KnownPairs) -> RowSource:
        """Return the rows in the order that `known` has them."""
        order = np.searchsorted(self._rows.ids, known.ids)
        return InOrder(self._rows, order) if self._whole is None else HeldRows(self._whole.rows, order)

    def _share(self, start: float, stop: float) -> Progress:
        """Return a progress of a part of the work."""
        rows = len(self._rows)
        return lambda done, total: self._progress(int(rows * (start + (stop - start) * done / total)), rows)


class InOrder:
    """Rows under other numbers."""

    def __init__(self, rows: RowSource, numbers: NDArray[np.int64]) -> None:
        self._rows, self._numbers = rows, numbers
        self.dims = rows.dims

    def __len__(self) -> int:
        return len(self._numbers)

    def read(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        """As RowSource.read."""
        return self._rows.read(self._numbers[numbers])
