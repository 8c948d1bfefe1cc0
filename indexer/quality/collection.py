"""One bench: references to search among, and queries of which the right answer is known.

    photographs -> two halves by source -> tuning   their tiles are distractors; those of some are hard negatives
                                        -> testing  four fifths are references and are searched for in every edit;
                                                    one fifth is asked for in every edit, too, and is not there

The same photographs, options and seed give the same bench, and a file that is there is not made again.
"""

import io
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial

import numpy as np
from PIL import Image

from indexer.quality.distractors import drawn, hard_negatives, tiles
from indexer.quality.edits import EDITS, STRATA, EditKind, as_png
from indexer.quality.imagededup_protocol import protocol_files
from indexer.quality.originals import Original, Progress, halves, picture_of
from indexer.quality.painting import Picture
from indexer.quality.shelf import Shelf
from search.errors import UsageError

NO_MATCH = -1
IDENTICAL, HARD = "identical", "hard negative"  # strata beside those of the edits
ABSENT_SHARE = 0.2
FEWEST_ABSENT = 2  # each is a partner of the other's edits
MOST_PARTNERS = 12
HARD_SHARE = 0.3  # of the tuning half
TILE_SHARE = 0.5  # of the distractors, at most
DEFAULT_DISTRACTORS = 5000


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """What is asked for. queries: about how many edited ones, None for all. kinds: of edits, None for all."""

    seed: int = 0
    distractors: int = DEFAULT_DISTRACTORS
    queries: int | None = None
    kinds: tuple[EditKind, ...] = EDITS


@dataclass(frozen=True, slots=True)
class BenchQuery:
    """One question. stratum: of STRATA, IDENTICAL or HARD. truth: the row of the right reference, or NO_MATCH."""

    file: str
    kind: str
    stratum: str
    source: int
    truth: int
    unseen: bool = False


@dataclass(frozen=True, slots=True)
class Bench:
    """references and queries are files on the shelf; protocol: those of imagededup's groups, six after one another.

    names: what the photographs that are searched for are called where they come from, by their file on the shelf.
    """

    shelf: Shelf
    references: tuple[str, ...]
    queries: tuple[BenchQuery, ...]
    protocol: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)


def kinds_named(strata: Sequence[str], names: Sequence[str]) -> tuple[EditKind, ...]:
    """Return the kinds of these strata that have these names; nothing given means all.

    Raises:
        UsageError: there is no such stratum or kind, or none of the strata has the kinds.
    """
    known = {edit.name for edit in EDITS}
    for what, given, possible in (("stratum", strata, set(STRATA)), ("edit", names, known)):
        for name in sorted(set(given) - possible):
            raise UsageError(f"there is no {what} {name!r}; there are: {', '.join(sorted(possible))}")
    chosen = tuple(
        edit for edit in EDITS if (not strata or edit.stratum in strata) and (not names or edit.name in names)
    )
    if not chosen:
        raise UsageError(f"none of the edits {', '.join(names)} is {' or '.join(strata)}")
    return chosen


def build_bench(originals: Sequence[Original], shelf: Shelf, options: BenchOptions, progress: Progress) -> Bench:
    """Return the bench, with every file in its place. progress: told after each file (done, total)."""
    parts = halves(originals, options.seed)
    matched, absent = _searched(parts.testing, options.seed)
    # A short run asks everything less often.
    few = len(originals) if options.queries is None else max(2, options.queries // 10)
    hard_photos = parts.tuning[: min(few, max(1, int(len(parts.tuning) * HARD_SHARE)))]
    planted, hard = hard_negatives(shelf, hard_photos, options.seed, once=options.queries is not None)
    among = tiles(shelf, parts.tuning[len(hard_photos) :], int(options.distractors * TILE_SHARE))
    painted = drawn(shelf, options.distractors - len(among), options.seed, progress)
    edited = _chosen(matched, absent, options)
    studio, queries = _Studio(shelf, [original.file for original in absent], options.seed), list[BenchQuery]()
    for original, edit, row in edited:
        queries.append(studio.edited(original, edit, row))
        progress(len(queries), len(edited))
    copies = [query for row, original in enumerate(matched[:few]) for query in _copies(shelf, original, row)]
    questions = [BenchQuery(one.file, one.kind, HARD, one.source, NO_MATCH) for one in hard]
    groups = parts.testing[:few]
    return Bench(
        shelf,
        (*(original.file for original in matched), *planted, *among, *painted),
        (*queries, *copies, *questions),
        tuple(protocol_files(shelf, groups, options.seed, progress)),
        {"searched_for": len(matched), "absent": len(absent), "planted": len(planted), "tiles": len(among)}
        | {"drawn": len(painted), "groups": len(groups)},
        {original.file: original.name for original in matched},
    )


def build_tuning(originals: Sequence[Original], shelf: Shelf, options: BenchOptions, progress: Progress) -> Bench:
    """Return a bench of the tuning half alone, for whoever chooses something: no kind of edit of it is an unseen one.

    Hidden among drawn pictures only: a tile would be a part of what is searched for. progress: told (done, total).

    Raises:
        UsageError: all kinds that were asked for are unseen ones.
    """
    kinds = tuple(edit for edit in options.kinds if not edit.unseen)
    if not kinds:
        raise UsageError(f"--tune needs an edit that tuning may use; {named(options.kinds)} may only be tested on")
    matched, absent = _searched(halves(originals, options.seed).tuning, options.seed)
    painted = drawn(shelf, options.distractors, options.seed, progress)
    edited = _chosen(matched, absent, replace(options, kinds=kinds))
    studio, queries = _Studio(shelf, [original.file for original in absent], options.seed), list[BenchQuery]()
    for original, edit, row in edited:
        queries.append(studio.edited(original, edit, row))
        progress(len(queries), len(edited))
    references = (*(original.file for original in matched), *painted)
    counts = {"searched_for": len(matched), "absent": len(absent), "drawn": len(painted), "kinds": len(kinds)}
    return Bench(shelf, references, tuple(queries), (), counts)


def named(kinds: Sequence[EditKind]) -> str:
    """Return the names of kinds of edits, for a message."""
    return ", ".join(edit.name for edit in kinds)


def _searched(testing: Sequence[Original], seed: int) -> tuple[list[Original], list[Original]]:
    """Return what is among the references, and what is asked for without being there."""
    sources = sorted({original.source for original in testing})
    away = max(FEWEST_ABSENT, round(ABSENT_SHARE * len(sources)))
    absent = set(np.random.default_rng([seed, 3]).permutation(sources)[:away].tolist())
    return (
        [original for original in testing if original.source not in absent],
        [original for original in testing if original.source in absent],
    )


_Wanted = tuple[Original, EditKind, int]


def _chosen(matched: Sequence[Original], absent: Sequence[Original], options: BenchOptions) -> list[_Wanted]:
    """Return the edited queries: all of them, or a sample with as large a share that has no match."""
    there = [(original, edit, row) for row, original in enumerate(matched) for edit in options.kinds]
    away = [(original, edit, NO_MATCH) for original in absent for edit in options.kinds]
    if options.queries is None or options.queries >= len(there) + len(away):
        return there + away
    share = len(away) / (len(there) + len(away))
    counts = options.queries - round(share * options.queries), round(share * options.queries)
    rng = np.random.default_rng([options.seed, 4])
    return [one for wanted, count in zip((there, away), counts, strict=True) for one in _sample(wanted, count, rng)]


def _sample(wanted: list[_Wanted], count: int, rng: np.random.Generator) -> list[_Wanted]:
    """Return as many of each stratum, and of each kind in it, as possible; those of one photograph together."""
    by_kind: dict[tuple[str, str], list[_Wanted]] = {}
    for place in rng.permutation(len(wanted)).tolist():
        edit = wanted[place][1]
        by_kind.setdefault((edit.stratum, edit.name), []).append(wanted[place])
    strata = [[kind for kind in by_kind if kind[0] == stratum] for stratum in STRATA]
    turns = [kinds[number % len(kinds)] for number in range(len(wanted)) for kinds in strata if kinds]
    chosen: list[_Wanted] = []
    for kind in turns:
        if len(chosen) < count and by_kind[kind]:
            chosen.append(by_kind[kind].pop())
    return sorted(chosen, key=lambda one: one[0].file)


class _Studio:
    """Makes the edited queries, with a few pictures at hand."""

    def __init__(self, shelf: Shelf, partners: Sequence[str], seed: int) -> None:
        """partners: files of pictures that are no references, to be put beside or behind others."""
        self._shelf = shelf
        self._partners = partners
        self._seed = seed
        self._picture = lru_cache(2 * MOST_PARTNERS)(lambda file: picture_of(shelf.read(file)))

    def edited(self, original: Original, edit: EditKind, row: int) -> BenchQuery:
        name = f"queries/{edit.name}/{original.file.rsplit('/', 1)[-1].split('.')[0]}"
        file = self._shelf.put_picture(name, partial(self._edit, original, edit))
        return BenchQuery(file, edit.name, edit.stratum, original.source, row, edit.unseen)

    def _edit(self, original: Original, edit: EditKind) -> bytes:
        # A generator of this picture's and this kind's own, so that another kind changes no other query.
        rng = np.random.default_rng([self._seed, zlib.crc32(f"{original.file} {edit.name}".encode())])
        partners = [self._picture(file) for file in self._partners if file != original.file][:MOST_PARTNERS]
        return edit.apply(self._picture(original.file), rng, partners)


def _copies(shelf: Shelf, original: Original, row: int) -> Iterator[BenchQuery]:
    """Yield the queries that hold the same picture bit by bit: as a file, and as other files of the same pixels."""
    data = shelf.read(original.file)
    name = original.file.rsplit("/", 1)[-1].split(".")[0]
    ways: dict[str, Callable[[], bytes]] = {"same file": lambda: data}
    if _holds_what_it_shows(data):
        ways["same pixels, PNG"] = lambda: as_png(picture_of(data))
        ways["same pixels, WebP"] = lambda: _lossless(picture_of(data))
    for kind, make in ways.items():
        file = shelf.put_picture(f"queries/{kind}/{name}", make)
        yield BenchQuery(file, kind, IDENTICAL, original.source, row)


def _holds_what_it_shows(data: bytes) -> bool:
    """Return whether a copy of the pixels shown loses nothing: no further frames, no transparency, eight bits."""
    with Image.open(io.BytesIO(data)) as opened:
        plain = opened.format == "JPEG" or (opened.format == "PNG" and data[24] == 8)
        return plain and opened.mode in ("RGB", "L")


def _lossless(picture: Picture) -> bytes:
    file = io.BytesIO()
    picture.save(file, "WEBP", lossless=True, method=0)
    return file.getvalue()
