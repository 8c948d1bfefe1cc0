"""Comparing rows on the CPU, from where an earlier run came to: all with all, or by lists."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from search.index.cpu_pairs import compare_both, compare_later
from search.index.crowd import Crowd
from search.index.pair_finder import NearPairs, Progress, Tile
from search.index.pair_scoring import HeldRows, PairScoring, RowSource
from search.index.sketch_lists import Members, SketchLists, grouped, reach_of
from search.index.sketches import Sketches, drawn
from search.pairing.known_pairs import KnownPairs, PairRecall

CHECKPOINT_S = 30.0  # what a power cut costs
SAMPLE_ROWS: Final = 1_000  # by which lists are tuned, and as many by which their recall is measured
NEW_SAMPLE_ROWS: Final = 100  # of rows that were added to lists
LISTS_AT_ONCE: Final = 256
VISITORS_AT_ONCE: Final = 8_192
SQUARE: Final = 4_096


Known = TypeVar("Known")


class Keeper(Generic[Known]):
    """Keeps what is known now and then, and when somebody interrupts."""

    def __init__(self, save: Callable[[Known], None]) -> None:
        self._save = save
        self._last = time.monotonic()

    def due(self) -> bool:
        """Return whether it is time."""
        return time.monotonic() - self._last >= CHECKPOINT_S

    def keep(self, known: Known) -> None:
        """Keep what is known."""
        self._save(known)
        self._last = time.monotonic()


def compare_all(
    known: KnownPairs, begin: int, rows: RowSource, keeper: Keeper[KnownPairs], progress: Progress
) -> KnownPairs:
    """Return the same with all pairs of rows from `begin` on with each other and with the earlier ones.

    rows: of which `known` has the sketches. Nothing is missed.
    """
    scoring = PairScoring(rows, rows, known.threshold, Crowd.of(known.crowded))
    sketches = known.sketches.astype(np.float32)
    complete = begin
    try:
        for tile in compare_later(scoring, sketches, _bound(known), begin):
            complete = _complete(tile)
            progress(tile.done, len(known))
            if keeper.due():
                known = known.with_pairs(scoring.found(), scoring.crowd)
                keeper.keep(known.first(complete))
    except (KeyboardInterrupt, SystemExit):
        keeper.keep(known.with_pairs(scoring.found(), scoring.crowd).first(complete))
        raise
    return known.with_pairs(scoring.found(), scoring.crowd)


def in_lists(known: KnownPairs, rows: RowSource, progress: Progress) -> tuple[KnownPairs, NDArray[np.int64]]:
    """Return the same rows, in lists, ordered by them, and the places they had: (N,).

    How far rows go is told by the pairs of a sample, which is compared with all.
    """
    sketches = known.sketches.astype(np.float32)
    lists = SketchLists.fit(sketches)
    homes = lists.homes(sketches)
    sample = drawn(len(known), 2 * SAMPLE_ROWS)[::2]
    progress(1, 3)
    near = _near_of(known, sample, rows, sketches, lambda done, total: progress(total + 2 * done, 3 * total))
    ones, others = sample[near.rows], near.later
    there = lists.needed(sketches[ones], homes[ones], homes[others])
    back = lists.needed(sketches[others], homes[others], homes[ones])
    longest = float(np.sqrt(np.einsum("nw,nw->n", sketches, sketches).max(initial=1.0)))
    reach = reach_of(known.sketch, known.threshold, longest)
    tuned = lists.tuned(reach, np.minimum(there, back), np.concatenate([there, back]))
    order = np.argsort(homes, kind="stable")
    moved = replace(known, lists=tuned, homes=homes, fitted=len(known), lists_done=len(tuned))
    return reordered(moved, order), order


def compare_lists(known: KnownPairs, rows: RowSource, keeper: Keeper[KnownPairs], progress: Progress) -> KnownPairs:
    """Return the same with the pairs of the lists that are not done yet; their recall is measured.

    rows: of which `known` has the sketches.
    """
    lists = _lists_of(known)
    scoring = PairScoring(rows, rows, known.threshold, Crowd.of(known.crowded))
    sketches = known.sketches.astype(np.float32)
    members = Members(known.homes, len(lists))
    try:
        for first in range(known.lists_done, len(lists), LISTS_AT_ONCE):
            part = slice(first, min(first + LISTS_AT_ONCE, len(lists)))
            guests = dict(grouped(*lists.visits(sketches, known.homes, lists.slack, part)))
            for number in range(part.start, part.stop):
                mine = members.of(number)
                visitors = np.concatenate([mine, guests.get(number, mine[:0])])
                _compare_list(scoring, sketches, mine, visitors, _bound(known))
                progress(number, len(lists))
            known = replace(known.with_pairs(scoring.found(), scoring.crowd), lists_done=part.stop)
            if keeper.due():
                keeper.keep(known)
    except (KeyboardInterrupt, SystemExit):
        keeper.keep(known)
        raise
    sample = drawn(len(known), 2 * SAMPLE_ROWS)[1::2]
    return replace(known, recall=_measured(known, sample, rows, sketches))


def compare_visitors(
    known: KnownPairs, begin: int, rows: RowSource, keeper: Keeper[KnownPairs], progress: Progress
) -> KnownPairs:
    """Return the same with the pairs of rows from `begin` on, which visit the lists of all, each other's included."""
    lists = _lists_of(known)
    scoring = PairScoring(rows, rows, known.threshold, Crowd.of(known.crowded))
    sketches = known.sketches.astype(np.float32)
    complete = begin
    try:
        for start in range(begin, len(known), VISITORS_AT_ONCE):
            end = min(start + VISITORS_AT_ONCE, len(known))
            members = Members(known.homes[:end], len(lists))
            new = np.argsort(known.homes[start:end], kind="stable") + start
            who, where = lists.visits(sketches[new], known.homes[new], lists.alone)
            visits = (np.concatenate([new[who], new]), np.concatenate([where, known.homes[new].astype(np.int64)]))
            for number, visitors in grouped(*visits):
                _compare_visitors(scoring, sketches, members.of(number), visitors, _bound(known))
            complete = end
            progress(complete - begin, len(known) - begin)
            if keeper.due():
                known = known.with_pairs(scoring.found(), scoring.crowd)
                keeper.keep(known.first(complete))
    except (KeyboardInterrupt, SystemExit):
        keeper.keep(known.with_pairs(scoring.found(), scoring.crowd).first(complete))
        raise
    known = known.with_pairs(scoring.found(), scoring.crowd)
    sample = begin + drawn(len(known) - begin, NEW_SAMPLE_ROWS)
    measured = _measured(known, sample, rows, sketches)
    return replace(known, recall=measured.with_more(known.recall or PairRecall()))


def _compare_list(
    scoring: PairScoring, sketches: Sketches, mine: NDArray[np.int64], visitors: NDArray[np.int64], bound: np.float32
) -> None:
    """Add the pairs of a list: of its members, which come first among the visitors, and of members and guests."""
    for first in range(0, len(mine), SQUARE):
        members = mine[first : first + SQUARE]
        for start in range(0, len(visitors), SQUARE):
            there = visitors[start : start + SQUARE]
            places, others = scoring.near_places(there, members, (sketches[there], sketches[members]), bound)
            one, other = there[places], members[others]
            once = (places + start >= len(mine)) | (one < other)
            scoring.add(np.minimum(one, other)[once], np.maximum(one, other)[once])


def _compare_visitors(
    scoring: PairScoring, sketches: Sketches, mine: NDArray[np.int64], visitors: NDArray[np.int64], bound: np.float32
) -> None:
    for first in range(0, len(mine), SQUARE):
        members = mine[first : first + SQUARE]
        for start in range(0, len(visitors), SQUARE):
            there = visitors[start : start + SQUARE]
            places, others = scoring.near_places(there, members, (sketches[there], sketches[members]), bound)
            one, other = there[places], members[others]
            apart = one != other
            scoring.add(np.minimum(one, other)[apart], np.maximum(one, other)[apart])


def _near_of(
    known: KnownPairs,
    sample: NDArray[np.int64],
    rows: RowSource,
    sketches: Sketches,
    progress: Progress = lambda done, total: None,
) -> NearPairs:
    """Return all pairs of some rows with any other: `rows` are places in the sample. Nothing is missed, but for pairs
    of a crowd, which no list has to find.
    """
    nobody = Crowd(np.zeros(len(sample), np.bool_), np.zeros(len(known), np.bool_))
    scoring = PairScoring(HeldRows(rows.read(sample)), rows, known.threshold, nobody)
    for done in compare_both(scoring, (sketches[sample], sketches), _bound(known)):
        progress(done, len(known))
    near = scoring.found()
    apart = sample[near.rows] != near.later
    return NearPairs(near.rows[apart], near.later[apart], near.scores[apart])


def _measured(known: KnownPairs, sample: NDArray[np.int64], rows: RowSource, sketches: Sketches) -> PairRecall:
    near = _near_of(known, sample, rows, sketches)
    ones, others = sample[near.rows], near.later
    wanted = np.maximum(ones, others) * len(known) + np.minimum(ones, others)
    have = np.isin(wanted, known.other.astype(np.int64) * len(known) + known.one)
    have |= known.crowded[ones] & known.crowded[others]  # found when they are asked for
    return PairRecall(int(have.sum()), len(wanted), len(sample))


def reordered(known: KnownPairs, order: NDArray[np.int64]) -> KnownPairs:
    """Return the same with its rows in another order."""
    there = np.empty(len(order), np.int32)
    there[order] = np.arange(len(order), dtype=np.int32)
    one, other = there[known.one], there[known.other]
    return replace(
        known,
        ids=known.ids[order],
        digests=known.digests[order],
        places=known.places[order],
        sketches=known.sketches[order],
        crowded=known.crowded[order],
        homes=known.homes[order],
        one=np.minimum(one, other),
        other=np.maximum(one, other),
    )


def _bound(known: KnownPairs) -> np.float32:
    return np.float32(known.threshold - known.sketch.margin)


def _complete(tile: Tile) -> int:
    """Return how many rows were compared with all earlier ones."""
    return tile.last if tile.stop == tile.last else tile.first


def _lists_of(known: KnownPairs) -> SketchLists:
    assert known.lists is not None  # noqa: S101 -- its callers put it in lists
    return known.lists
