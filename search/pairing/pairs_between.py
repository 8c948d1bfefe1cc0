"""All pairs of a row of one collection and a row of another. Nothing is kept: the next run compares all again."""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.index.cpu_pairs import CpuPairs, compare_both
from search.index.pair_finder import NearPairs, PairFinder, Progress
from search.index.pair_scoring import HeldRows, PairScoring, RowSource
from search.index.sketch_lists import Members, SketchLists, grouped, reach_of
from search.index.sketches import Sketch, Sketches, drawn, fit, in_parts
from search.pairing.comparing import SAMPLE_ROWS, SQUARE, VISITORS_AT_ONCE
from search.pairing.known_pairs import PairRecall

EXACT_PAIRS: Final = 5_000_000_000  # compared one by one up to here: as many as 100,000 images have
HELD_BYTES: Final = 2**30  # of one side in memory
READ_ROWS: Final = 8_192


def pairs_between(
    left: RowSource,
    right: RowSource,
    threshold: float,
    *,
    finder: PairFinder | None = None,
    progress: Progress = lambda done, total: None,
    exact_pairs: int = EXACT_PAIRS,
) -> tuple[NearPairs, PairRecall | None]:
    """Return all pairs of a left and a right row that score at least a threshold, and the recall where it was measured.

    finder: what compares on a GPU; by default the CPU. progress: called with (work done, all work).

    Raises:
        CorruptFile: a segment is damaged.
        UsageError: more pairs are near than a report could hold.
    """
    if finder is not None and not isinstance(finder, CpuPairs):
        return finder.between(HeldRows.of(left).rows, HeldRows.of(right).rows, threshold, progress), None
    sample = [side.read(drawn(len(side), READ_ROWS // 16)) for side in (left, right)]
    sketch = fit(np.concatenate(sample), threshold)
    left, right = _held(left), _held(right)
    sketches = (_sketched(sketch, left), _sketched(sketch, right))
    if len(left) * len(right) > exact_pairs:
        return _by_lists((left, right), sketches, sketch, threshold, progress)
    scoring = PairScoring(left, right, threshold)
    for done in compare_both(scoring, sketches, np.float32(threshold - sketch.margin)):
        progress(done, len(right))
    return scoring.found(), None


def _by_lists(
    sides: tuple[RowSource, RowSource],
    sketches: tuple[Sketches, Sketches],
    sketch: Sketch,
    threshold: float,
    progress: Progress,
) -> tuple[NearPairs, PairRecall]:
    """Put the right rows in lists, which the left ones visit; a sample of these is compared with all."""
    (left, right), (ours, theirs) = sides, sketches
    bound = np.float32(threshold - sketch.margin)
    lists = SketchLists.fit(theirs)
    here, there = lists.homes(ours), lists.homes(theirs)
    sample = drawn(len(left), 2 * SAMPLE_ROWS)
    tuning = _near_of(left, sample[::2], right, sketches, threshold, bound)
    needed = lists.needed(ours[tuning.rows], here[tuning.rows], there[tuning.later])
    longest = float(np.sqrt(max(np.einsum("nw,nw->n", each, each).max(initial=1.0) for each in sketches)))
    slack = lists.tuned(reach_of(sketch, threshold, longest), needed, needed).alone
    scoring = PairScoring(left, right, threshold)
    members = Members(there, len(lists))
    order = np.argsort(here, kind="stable")
    for part in in_parts(len(order), VISITORS_AT_ONCE):
        rows = order[part]
        who, where = lists.visits(ours[rows], here[rows], slack)
        visits = np.concatenate([rows[who], rows]), np.concatenate([where, here[rows].astype(np.int64)])
        for number, visitors in grouped(*visits):
            for one, other in _squares(visitors, members.of(number)):
                places, others = scoring.near_places(one, other, (ours[one], theirs[other]), bound)
                scoring.add(one[places], other[others])
        progress(part.stop, len(order))
    found = scoring.found()
    wanted = _near_of(left, sample[1::2], right, sketches, threshold, bound)
    have = np.isin(wanted.rows * len(right) + wanted.later, found.rows * len(right) + found.later)
    return found, PairRecall(int(have.sum()), len(have), len(sample[1::2]))


def _near_of(
    left: RowSource,
    sample: NDArray[np.int64],
    right: RowSource,
    sketches: tuple[Sketches, Sketches],
    threshold: float,
    bound: np.float32,
) -> NearPairs:
    """Return all pairs of some left rows with any right one, in the numbers of both sides."""
    scoring = PairScoring(HeldRows(left.read(sample)), right, threshold)
    for _ in compare_both(scoring, (sketches[0][sample], sketches[1]), bound):
        pass
    near = scoring.found()
    return NearPairs(sample[near.rows], near.later, near.scores)


def _squares(
    rows: NDArray[np.int64], others: NDArray[np.int64]
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    for part in in_parts(len(rows), SQUARE):
        for there in in_parts(len(others), SQUARE):
            yield rows[part], others[there]


def _sketched(sketch: Sketch, rows: RowSource) -> Sketches:
    out = np.empty((len(rows), sketch.width), np.float32)
    for part in in_parts(len(rows), READ_ROWS):
        out[part] = sketch.of(rows.read(np.arange(part.start, part.stop)))
    return out


def _held(rows: RowSource) -> RowSource:
    return HeldRows.of(rows) if 4 * len(rows) * rows.dims <= HELD_BYTES else rows
