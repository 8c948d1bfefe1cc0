"""Measure the built-in backbone: `python -m training.evaluate_builtin [--without NAME] [--first] [--json]`.

Prints recall@1 by family of edits, its mean, the same for light and hard edits, micro average precision, the best F1,
the thresholds that reach a precision of .90, .95 and .99, and what fixed thresholds give, over all edits and over the
light ones. On one core it takes about a minute.
"""

import argparse
import dataclasses
import json
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
import torch
from numpy.typing import NDArray

from indexer.backbones.builtin import MEAN, STD, load_builtin
from indexer.backbones.builtin_facts import FIRST_WEIGHTS_SHA256, WEIGHTS_SHA256
from search.calibration.metrics import OperatingPoint, PrecisionRecall, hits_at_1, precision_recall
from training.evaluation_set import INPUT_SIZE, NO_MATCH, EvaluationSet, build_evaluation_set

PRECISIONS = (0.90, 0.95, 0.99)
THRESHOLDS = (0.65, 0.70, 0.75, 0.80, 0.85, 0.90, 0.95)
BATCH = 32
FIRST_SIZE = 96  # pixels of the side that the weights of the first releases see


@dataclasses.dataclass(frozen=True, slots=True)
class Calibration:
    """What thresholds give over one selection of the queries; queries without a true reference always count."""

    average_precision: float
    best_f1: OperatingPoint
    at_precision: dict[float, OperatingPoint | None]
    at_threshold: tuple[OperatingPoint, ...]


@dataclasses.dataclass(frozen=True, slots=True)
class Report:
    """The figures of one evaluation. Recall@1 is a mean over the variants of a family, then over families."""

    queries: int
    references: int
    recall_by_family: dict[str, float]
    recall: float
    recall_light: float
    recall_hard: float
    all_edits: Calibration
    light_edits: Calibration


class Settings(TypedDict):
    """What the command line chose."""

    distractors: int
    without: list[str]
    first: bool
    as_json: bool


def embed(network: torch.nn.Module, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (N, 256) float32 embeddings of (N, S, S, 3) uint8 RGB pixels."""
    embeddings = []
    with torch.inference_mode():
        for start in range(0, len(pixels), BATCH):
            levels = torch.from_numpy(pixels[start : start + BATCH]).permute(0, 3, 1, 2).float()
            embeddings.append(network((levels / 255 - MEAN) / STD))
    joined: NDArray[np.float32] = torch.cat(embeddings).numpy()
    return joined


def evaluate(network: torch.nn.Module, evaluation: EvaluationSet) -> Report:
    """Return the figures of the network on this set."""
    scores = embed(network, evaluation.queries) @ embed(network, evaluation.references).T
    return report(scores, evaluation)


def report(scores: NDArray[np.float32], evaluation: EvaluationSet) -> Report:
    """Return the figures of any (Q, R) scores on this set, of another method for instance."""
    truth, light = evaluation.truth, evaluation.light
    hits, matched = hits_at_1(scores, truth), truth != NO_MATCH
    families = _recall_by_family(hits, evaluation)
    lightly = light | ~matched
    return Report(
        queries=len(truth),
        references=scores.shape[1],
        recall_by_family=families,
        recall=float(np.mean(list(families.values()))),
        recall_light=float(hits[matched & light].mean()),
        recall_hard=float(hits[matched & ~light].mean()),
        all_edits=_calibration(precision_recall(scores, truth)),
        light_edits=_calibration(precision_recall(scores[lightly], truth[lightly])),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Evaluate packaged weights and print the figures."""
    settings = _settings(arguments)
    weights, size = (FIRST_WEIGHTS_SHA256, FIRST_SIZE) if settings["first"] else (WEIGHTS_SHA256, INPUT_SIZE)
    chosen = build_evaluation_set(distractors=settings["distractors"], without=settings["without"], size=size)
    figures = evaluate(load_builtin(weights), chosen)
    print(json.dumps(dataclasses.asdict(figures)) if settings["as_json"] else _as_text(figures))


def _settings(arguments: Sequence[str] | None) -> Settings:
    parser = argparse.ArgumentParser(prog="python -m training.evaluate_builtin", description=main.__doc__)
    parser.add_argument("--distractors", type=int, default=2000, help="procedural pictures among the references")
    parser.add_argument("--without", action="append", default=[], metavar="NAME", help="a photograph to leave out")
    parser.add_argument("--first", action="store_true", help="evaluate the weights of the first releases instead")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parsed = parser.parse_args(arguments)
    return Settings(distractors=parsed.distractors, without=parsed.without, first=parsed.first, as_json=parsed.json)


def _recall_by_family(hits: NDArray[np.bool_], evaluation: EvaluationSet) -> dict[str, float]:
    by_variant: dict[tuple[str, str], list[bool]] = {}
    for edit, hit, row in zip(evaluation.edits, hits, evaluation.truth, strict=True):
        if row != NO_MATCH:
            by_variant.setdefault((edit.family, edit.variant), []).append(bool(hit))
    by_family: dict[str, list[float]] = {}
    for (family, _), found in by_variant.items():
        by_family.setdefault(family, []).append(float(np.mean(found)))
    return {family: float(np.mean(recalls)) for family, recalls in by_family.items()}


def _calibration(curve: PrecisionRecall) -> Calibration:
    return Calibration(
        average_precision=curve.average_precision(),
        best_f1=curve.best_f1(),
        at_precision={precision: curve.at_precision(precision) for precision in PRECISIONS},
        at_threshold=tuple(curve.at_threshold(threshold) for threshold in THRESHOLDS),
    )


def _as_text(figures: Report) -> str:
    lines = [f"{figures.queries} queries, {figures.references} references"]
    lines += [f"  {family:12} R@1 {recall:.3f}" for family, recall in figures.recall_by_family.items()]
    lines.append(f"R@1 {figures.recall:.3f}, light {figures.recall_light:.3f}, hard {figures.recall_hard:.3f}")
    for name, part in (("all edits", figures.all_edits), ("light edits", figures.light_edits)):
        best = part.best_f1
        lines.append(f"{name}: uAP {part.average_precision:.3f}, F1 {best.f1:.3f} at {best.threshold:.3f}")
        lines += [_point_as_text(f"precision {p:.2f}", point) for p, point in part.at_precision.items()]
        lines += [_point_as_text("fixed", point) for point in part.at_threshold]
    return "\n".join(lines)


def _point_as_text(name: str, point: OperatingPoint | None) -> str:
    if point is None:
        return f"  {name:14} no threshold"
    return f"  {name:14} threshold {point.threshold:.3f}, precision {point.precision:.4f}, recall {point.recall:.3f}"


if __name__ == "__main__":
    main()
