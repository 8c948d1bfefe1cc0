"""All pairs of an image of one collection and one of another: kept for the next run, which compares what is new.

What is known is a rectangle: the first left rows were compared with the first right ones. First new left rows are
compared with the known right ones, then new right rows with all left ones, some at a time; each part that is done makes
the rectangle larger, and an interrupted run goes on from there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from search.index.cpu_pairs import TILE_HEIGHT, TILE_WIDTH, CpuPairs
from search.index.crowd import Crowd, TooManyPairs
from search.index.pair_finder import NearPairs, PairFinder, Progress
from search.index.pair_scoring import HeldRows, PairScoring, RowSource
from search.index.sketch_lists import Members, SketchLists, grouped, reach_of
from search.index.sketches import drawn, fit, in_parts
from search.pairing.comparing import SAMPLE_ROWS, SQUARE, VISITORS_AT_ONCE, Keeper
from search.pairing.crowded_pairs import CrowdedPairs, CrowdRows
from search.pairing.identified_rows import IdentifiedRows, digests
from search.pairing.known_between import KnownBetween, KnownRows, still_true_of
from search.pairing.known_pairs import FoundPairs, PairRecall
from search.pairing.near_pairs import GPU_ROWS, InOrder
from search.pairing.pair_file import BetweenFile

EXACT_PAIRS: Final = 5_000_000_000  # compared one by one up to here: as many as 100,000 images have
HELD_BYTES: Final = 2**30  # of one side in memory
READ_ROWS: Final = 8_192
LEFT, RIGHT = 0, 1

Rows = NDArray[np.int64]
Sides = tuple[IdentifiedRows, IdentifiedRows]


def pairs_between(
    sides: Sides,
    threshold: float,
    *,
    file: BetweenFile | None = None,
    finder: PairFinder | None = None,
    progress: Progress = lambda done, total: None,
    exact_pairs: int = EXACT_PAIRS,
) -> FoundPairs:
    """Return all pairs of a left and a right row that score at least a threshold.

    sides: the left rows and the right ones. file: what earlier runs found, and what this one finds; a run that is
    interrupted goes on from there. finder: what compares on a GPU; by default the CPU. progress: called with (work
    done, all work), both in rows. exact_pairs: so many are compared one by one; more by lists.

    Raises:
        CorruptFile: a segment is damaged.
    """
    loaded = None if file is None else file.load(threshold)
    earlier = None if loaded is None else still_true_of(loaded, *sides)
    keeper = Keeper[KnownBetween](lambda known: None if file is None else file.save(known))
    run = _Run(sides, earlier or _nothing(sides, threshold), progress)
    known = run.compared_with(keeper, finder, exact_pairs)
    if loaded is None or run.compared or not _lie_there(known, loaded):
        keeper.keep(known)
    rows = len(sides[LEFT]) + len(sides[RIGHT])
    progress(rows, rows)
    near = known.scores >= np.float32(threshold)
    one, other = known.left.ids[known.one[near]], known.right.ids[known.other[near]]
    order = np.lexsort((one, other))
    crowd = run.crowded_pairs(known, threshold)
    return FoundPairs(one[order], other[order], known.scores[near][order], known.recall, run.compared, crowd)


class _Run:
    """One comparison of two sides. compared: how many rows of both were new."""

    def __init__(self, rows: Sides, known: KnownBetween, progress: Progress) -> None:
        """known: what earlier runs found of these rows."""
        self._begun = [len(side) for side in known.sides]
        self._sizes = [len(side) for side in rows]
        self._progress = progress
        self.compared = sum(self._sizes) - sum(self._begun)
        sources = [self._held(side) for side in rows]
        left, right = (_extended(known, side, rows[side], sources[side]) for side in (LEFT, RIGHT))
        self._known = replace(known, left=left, right=right)
        orders = [np.searchsorted(rows[side].ids, self._known.sides[side].ids) for side in (LEFT, RIGHT)]
        self._sources = [_ordered(source, order) for source, order in zip(sources, orders, strict=True)]

    def _held(self, rows: RowSource) -> RowSource:
        """Return rows read, once, where most are needed and memory has room for them."""
        fits = 4 * len(rows) * rows.dims <= HELD_BYTES
        return HeldRows.of(rows) if fits and 4 * self.compared > sum(self._sizes) else rows

    def compared_with(self, keeper: Keeper[KnownBetween], finder: PairFinder | None, exact_pairs: int) -> KnownBetween:
        """Return what is known when all rows were compared."""
        if not self.compared:
            return self._known
        way: _Way
        at_once = TILE_WIDTH
        if finder is not None and not isinstance(finder, CpuPairs):
            way, at_once = _OnGpu(finder, self._sources, self._known), GPU_ROWS
        elif self._left_to_compare(*self._begun) <= exact_pairs:
            way = _OneByOne(self._sources, self._known)
        else:
            self._known = replace(self._known, recall=self._known.recall or PairRecall())
            way, at_once = _ByLists.tuned(self._sources, self._known), VISITORS_AT_ONCE
        self._compare(way, at_once, keeper)
        if self._known.recall is not None:
            self._known = replace(self._known, recall=_measured(self._sources, self._known))
        return self._known

    def crowded_pairs(self, known: KnownBetween, threshold: float) -> CrowdedPairs | None:
        """Return who answers for the pairs that are too many to be listed: asked for a right row, which left ones."""
        left, right = (
            CrowdRows.among(side.crowded, side.ids, source, side.sketches)
            for side, source in zip(known.sides, self._sources, strict=True)
        )
        if not (len(left.names) and len(right.names)):
            return None
        return CrowdedPairs(right, left, known.sketch, threshold)

    def _compare(self, way: "_Way", at_once: int, keeper: Keeper[KnownBetween]) -> None:
        """Compare what is left, and keep it now and then, and when somebody interrupts."""
        done = list(self._begun)
        everything = max(1, self._left_to_compare(*done))
        try:
            for side, part, against in self._parts(at_once):
                way.compare(side, part, against)
                done[side] = part.stop
                share = 1 - self._left_to_compare(*done) / everything
                self._progress(int(share * sum(self._sizes)), sum(self._sizes))
                if keeper.due():
                    self._known = self._known.with_pairs(way.found(), way.crowd)
                    keeper.keep(self._known.first(*done))
        except (KeyboardInterrupt, SystemExit):
            keeper.keep(self._known.with_pairs(way.found(), way.crowd).first(*done))
            raise
        self._known = self._known.with_pairs(way.found(), way.crowd)

    def _parts(self, at_once: int) -> Iterator[tuple[int, slice, int]]:
        """Yield (side, its new rows, with how many rows of the other side they are compared): new left rows first."""
        for side, against in ((LEFT, self._begun[RIGHT]), (RIGHT, self._sizes[LEFT])):
            for part in in_parts(self._sizes[side] - self._begun[side], at_once):
                yield side, slice(part.start + self._begun[side], part.stop + self._begun[side]), against

    def _left_to_compare(self, left: int, right: int) -> int:
        return self._sizes[LEFT] * self._sizes[RIGHT] - left * right


class _Way(Protocol):
    """How new rows are compared with those of the other side."""

    def compare(self, side: int, part: slice, against: int) -> None:
        """Find the pairs of some rows of a side and the first `against` rows of the other one."""
        ...

    def found(self) -> NearPairs:
        """Return the pairs found since the last call, but for those of two rows of the crowd."""
        ...

    @property
    def crowd(self) -> Crowd:
        """The rows that have too many pairs."""
        ...


class _OnCpu:
    """What the ways of the CPU share."""

    def __init__(self, sources: Sequence[RowSource], known: KnownBetween, crowd: Crowd | None = None) -> None:
        self.crowd = crowd or known.crowd
        self._scoring = PairScoring(sources[LEFT], sources[RIGHT], known.threshold, self.crowd)
        self._sketches = tuple(side.sketches.astype(np.float32) for side in known.sides)
        self._bound = np.float32(known.threshold - known.sketch.margin)

    def found(self) -> NearPairs:
        """As _Way.found."""
        return self._scoring.found()

    def _compare_square(self, side: int, mine: Rows, theirs: Rows) -> None:
        """Add the near pairs of some rows of a side and some of the other."""
        left, right = (mine, theirs) if side == LEFT else (theirs, mine)
        sketches = (self._sketches[LEFT][left], self._sketches[RIGHT][right])
        places, others = self._scoring.near_places(left, right, sketches, self._bound)
        self._scoring.add(left[places], right[others])


class _OneByOne(_OnCpu):
    """Each row with each: nothing is missed."""

    def compare(self, side: int, part: slice, against: int) -> None:
        """As _Way.compare."""
        mine = np.arange(part.start, part.stop)
        for tile in in_parts(against, TILE_HEIGHT):
            self._compare_square(side, mine, np.arange(tile.start, tile.stop))


class _ByLists(_OnCpu):
    """Each row with those whose lists it visits (search/index/sketch_lists.py)."""

    def __init__(self, sources: Sequence[RowSource], known: KnownBetween, lists: SketchLists) -> None:
        super().__init__(sources, known)
        self._lists = lists
        self._homes = [lists.homes(each) for each in self._sketches]

    @classmethod
    def tuned(cls, sources: Sequence[RowSource], known: KnownBetween) -> "_ByLists":
        """Return lists that go as far as the pairs of a sample need, which is compared with all."""
        sketches = [side.sketches.astype(np.float32) for side in known.sides]
        way = cls(sources, known, SketchLists.fit(np.concatenate(sketches)))
        near = _near_of(sources, known, drawn(len(known.left), 2 * SAMPLE_ROWS)[::2])
        rows, homes = (near.rows, near.later), way._homes
        needed = np.concatenate(
            [
                way._lists.needed(sketches[side][rows[side]], homes[side][rows[side]], homes[1 - side][rows[1 - side]])
                for side in (LEFT, RIGHT)
            ]
        )
        longest = float(np.sqrt(max(np.einsum("nw,nw->n", each, each).max(initial=1.0) for each in sketches)))
        way._lists = way._lists.tuned(reach_of(known.sketch, known.threshold, longest), needed, needed)
        return way

    def compare(self, side: int, part: slice, against: int) -> None:
        """As _Way.compare."""
        members = Members(self._homes[1 - side][:against], len(self._lists))
        rows = np.argsort(self._homes[side][part], kind="stable") + part.start
        homes = self._homes[side][rows]
        who, where = self._lists.visits(self._sketches[side][rows], homes, self._lists.alone)
        visits = np.concatenate([rows[who], rows]), np.concatenate([where, homes.astype(np.int64)])
        for number, visitors in grouped(*visits):
            for mine in in_parts(len(visitors), SQUARE):
                for theirs in in_parts(len(there := members.of(number)), SQUARE):
                    self._compare_square(side, visitors[mine], there[theirs])


class _OnGpu:
    """Each row with each, on a device that has all embeddings in memory."""

    def __init__(self, finder: PairFinder, sources: Sequence[RowSource], known: KnownBetween) -> None:
        self._finder = finder
        self._cpu = _OneByOne(sources, known)
        self.crowd = self._cpu.crowd
        self._whole = [HeldRows.of(source).read(np.arange(len(source))) for source in sources]
        self._threshold = known.threshold
        self._kept: list[NearPairs] = []

    def compare(self, side: int, part: slice, against: int) -> None:
        """As _Way.compare."""
        if not against:
            return
        left, right = (part, slice(0, against)) if side == LEFT else (slice(0, against), part)
        try:
            near = self._finder.between(self._whole[LEFT][left], self._whole[RIGHT][right], self._threshold)
        except TooManyPairs:  # for the memory of a device at once
            self._cpu.compare(side, part, against)
            near = NearPairs(*self._cpu.found())
            left = right = slice(0, 0)
        self._kept.append(NearPairs(near.rows + left.start, near.later + right.start, near.scores))

    def found(self) -> NearPairs:
        """As _Way.found."""
        kept, self._kept = self._kept, []
        empty = NearPairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32))
        rows, later, scores = (np.concatenate(parts) for parts in zip(empty, *kept, strict=True))
        return NearPairs(rows, later, scores)


def _near_of(sources: Sequence[RowSource], known: KnownBetween, sample: Rows) -> NearPairs:
    """Return all pairs of some left rows with any right one, in the numbers of both sides. Nothing is missed, but for
    pairs of a crowd, which no list has to find.
    """
    some = replace(known, left=replace(known.left, sketches=known.left.sketches[sample]))
    nobody = Crowd(np.zeros(len(sample), np.bool_), np.zeros(len(known.right), np.bool_))
    way = _OneByOne([HeldRows(sources[LEFT].read(sample)), sources[RIGHT]], some, nobody)
    for part in in_parts(len(known.right), TILE_WIDTH):
        way.compare(RIGHT, part, len(sample))
    near = way.found()
    return NearPairs(sample[near.rows], near.later, near.scores)


def _measured(sources: Sequence[RowSource], known: KnownBetween) -> PairRecall:
    """Return how many of the pairs of a sample, which is compared with all, are known."""
    sample = drawn(len(known.left), 2 * SAMPLE_ROWS)[1::2]
    wanted = _near_of(sources, known, sample)
    width = len(known.right)
    have = np.isin(wanted.rows * width + wanted.later, known.one.astype(np.int64) * width + known.other)
    have |= known.crowd.holds(wanted.rows, wanted.later)  # found when they are asked for
    return PairRecall(int(have.sum()), len(have), len(sample))


def _nothing(sides: Sides, threshold: float) -> KnownBetween:
    sample = [side.read(drawn(len(side), READ_ROWS // 16)) for side in sides]
    sketch = fit(np.concatenate(sample), threshold)
    none, nobody = np.empty(0, np.uint64), np.empty(0, np.bool_)
    side = KnownRows(np.empty(0, np.int64), none, none, np.empty((0, sketch.width), np.float16), nobody)
    return KnownBetween(threshold, sketch, side, side)


def _extended(known: KnownBetween, side: int, rows: IdentifiedRows, source: RowSource) -> KnownRows:
    """Return the known rows of a side with those that are new at their end. source: of all rows."""
    new = np.flatnonzero(~np.isin(rows.ids, known.sides[side].ids))
    told, sketches = np.empty(len(new), np.uint64), np.empty((len(new), known.sketch.width), np.float16)
    nobody = np.zeros(len(new), np.bool_)
    for part in in_parts(len(new), READ_ROWS):
        read = source.read(new[part])
        told[part], sketches[part] = digests(read), known.sketch.of(read)
    return known.sides[side].with_more(KnownRows(rows.ids[new], told, rows.places[new], sketches, nobody))


def _ordered(source: RowSource, order: Rows) -> RowSource:
    return HeldRows(source.rows, order) if isinstance(source, HeldRows) else InOrder(source, order)


def _lie_there(known: KnownBetween, loaded: KnownBetween) -> bool:
    """Return whether all rows lie where they lay."""
    sides = zip(known.sides, loaded.sides, strict=True)
    return all(np.array_equal(now.places, before.places) for now, before in sides)
