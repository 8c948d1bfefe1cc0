"""From the ranked answers of one mode to its row of the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from api.quality.report import (
    ALL,
    EDIT_GROUP,
    SEEN,
    STRICT,
    UNSEEN,
    IdenticalFigures,
    Mistake,
    Row,
    WeightsLabel,
)
from indexer.quality.collection import HARD, IDENTICAL, NO_MATCH, Bench, BenchQuery
from indexer.quality.edits import STRATA
from indexer.quality.imagededup_protocol import GROUP
from indexer.quality.modes import Ranked, answers_in_groups, answers_to
from search.calibration.answers import Answers, Estimate, curve_of, figures_of, share_by_source, share_reaching
from search.calibration.metrics import PrecisionRecall

SHOWN_MISSES = 12
SHOWN_ALARMS = 6
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Named:
    """What a row is called.

    same_from: the score from which on the mode says "the same picture"; None where it has no such word, so that the
    threshold of precision .99 takes its place.
    """

    method: str
    weights: WeightsLabel
    mode: str = ""
    tells_identical: bool = False
    same_from: float | None = None


def row_of(named: Named, bench: Bench, ranked: Ranked, in_groups: Ranked, ms: float) -> Row:
    """Return the row of a mode.

    ranked: what it answered to the queries of the bench. in_groups: to the pictures of imagededup's protocol. ms:
    median of one query.
    """
    queries = bench.queries
    answers = answers_to(ranked, queries)
    edited = _of_strata(queries, STRATA)
    asked = [query for query in queries if query.stratum in STRATA]
    figures = figures_of(answers.chosen(edited), _groups(asked), with_average_precision=(ALL, *STRATA))
    hard = _of_strata(queries, (HARD,))
    same_from = figures.thresholds[STRICT] if named.same_from is None else named.same_from
    called = share_reaching(answers, same_from)
    return Row(
        named.method,
        named.weights,
        named.mode,
        figures,
        _curves(answers, queries),
        share_by_source(called[hard], answers.sources[hard]) if hard.any() else None,
        _identical(ranked, queries) if named.tells_identical else None,
        protocol_recall(in_groups),
        misses(bench, ranked, answers, edited),
        false_alarms(bench, ranked, answers),
        ms,
    )


def protocol_recall(in_groups: Ranked) -> Estimate | None:
    """Return the recall over the pairs of imagededup's protocol at a precision of .99."""
    if not len(in_groups.rows):
        return None
    answers = answers_in_groups(in_groups.without_itself(), GROUP)
    everything = np.ones(len(answers), bool)
    return figures_of(answers, {ALL: everything}).groups[ALL].recall_at_precision[STRICT]


def misses(bench: Bench, ranked: Ranked, answers: Answers, edited: Mask) -> list[Mistake]:
    """Return the queries that something wrong beat by most, one of each kind of edit at most."""
    wrong = np.where(answers.right, -np.inf, answers.scores)
    true = np.where(answers.right, answers.scores, -np.inf).max(axis=1, initial=-np.inf)
    lead = wrong.max(axis=1, initial=-np.inf) - np.maximum(true, answers.scores.min(axis=1, initial=np.inf))
    beaten = edited & (answers.positives > 0) & (answers.ranks() > 1) & np.isfinite(lead)
    worst, kinds = list[Mistake](), set[str]()
    for row in np.argsort(-np.where(beaten, lead, -np.inf), kind="stable")[: int(beaten.sum())].tolist():
        query, place = bench.queries[row], int(wrong[row].argmax())
        if query.kind in kinds or len(worst) == SHOWN_MISSES:
            continue
        kinds.add(query.kind)
        score = float(true[row]) if np.isfinite(true[row]) else None
        found = bench.references[int(ranked.rows[row, place])]
        truly = bench.references[query.truth]
        name = bench.names.get(truly, truly)
        worst.append(Mistake(query.kind, query.file, found, float(wrong[row, place]), truly, score, name))
    return worst


def false_alarms(bench: Bench, ranked: Ranked, answers: Answers) -> list[Mistake]:
    """Return the highest scores of pictures that are not there, one of each photograph at most."""
    top = np.where(answers.positives > 0, -np.inf, answers.scores.max(axis=1, initial=-np.inf))
    worst, sources = list[Mistake](), set[int]()
    for row in np.argsort(-top, kind="stable").tolist():
        query = bench.queries[row]
        if not np.isfinite(top[row]) or len(worst) == SHOWN_ALARMS:
            break
        if query.source not in sources:
            sources.add(query.source)
            found = bench.references[int(ranked.rows[row, 0])]
            worst.append(Mistake(query.kind, query.file, found, float(top[row])))
    return worst


def _identical(ranked: Ranked, queries: Sequence[BenchQuery]) -> IdenticalFigures:
    truth = np.array([query.truth for query in queries], np.int64)
    truly = ranked.identical & (ranked.rows == truth[:, None]) & (truth != NO_MATCH)[:, None]
    copies = _of_strata(queries, (IDENTICAL,))
    return IdenticalFigures(
        copies=int(copies.sum()),
        called=int(ranked.identical.sum()),
        truly=int(truly.sum()),
        found=int(truly[copies].any(axis=1).sum()),
    )


def _groups(asked: Sequence[BenchQuery]) -> dict[str, Mask]:
    groups = {ALL: np.ones(len(asked), bool)}
    groups |= {stratum: _of_strata(asked, (stratum,)) for stratum in STRATA}
    unseen = _mask(asked, lambda query: query.unseen)
    groups |= {SEEN: ~unseen, UNSEEN: unseen}
    for stratum in STRATA:
        inside = groups[stratum]
        groups |= {f"{stratum}, {SEEN}": inside & ~unseen, f"{stratum}, {UNSEEN}": inside & unseen}
    kinds = np.array([query.kind for query in asked])
    return groups | {EDIT_GROUP + str(kind): kinds == kind for kind in dict.fromkeys(kinds.tolist())}


def _curves(answers: Answers, queries: Sequence[BenchQuery]) -> dict[str, PrecisionRecall]:
    chosen = {ALL: _of_strata(queries, STRATA)}
    chosen |= {stratum: _of_strata(queries, (stratum,)) for stratum in STRATA}
    parts = {name: answers.chosen(mask) for name, mask in chosen.items()}
    return {name: curve_of(part) for name, part in parts.items() if part.positives.any()}


def _of_strata(queries: Sequence[BenchQuery], strata: Sequence[str]) -> Mask:
    return _mask(queries, lambda query: query.stratum in strata)


def _mask(queries: Sequence[BenchQuery], fulfils: Callable[[BenchQuery], bool]) -> Mask:
    return np.array([fulfils(query) for query in queries], bool)
