"""The transformation that most matches agree on, found without chance.

Every match says by itself how the one picture was shifted, scaled and turned (its two keypoints have places, sizes and
directions), so each is tried as a hypothesis, and the matches that agree with it are counted: what RANSAC samples is
here enumerated. The best are refined by least squares over all who agree, as a similarity, then as an affine map and as
a homography where those explain clearly more (Philbin et al., "Object retrieval with large vocabularies and fast
spatial matching", 2007).
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (M, 2)
Model = NDArray[np.float64]  # (3, 3)

COARSE = 0.06  # disagreement allowed to a hypothesis of one match, in longer sides
FINE = 0.012  # and to a refined model
HYPOTHESES = 5  # refined, of those that most agree with
_TURN_SLACK = np.radians(35)
_SIZE_SLACK = np.log(2.2)
_MOST_SCALE = 10.0
_MOST_STRETCH = 3.0
# A freer model: the matches it needs, and how many times as high it must score as the one before.
_FREER = (("affine", 6, 1.03), ("homography", 12, 1.06))


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """M matched keypoints, in longer sides of their pictures.

    source, target: (M, 2) places. scales: (M,) natural logarithms of target size by source size. turns: (M,) radians.
    """

    source: Points
    target: Points
    scales: NDArray[np.float64]
    turns: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True, eq=False)
class Fit:
    """A model (3, 3) from source to target places, and which matches agree with it (M,)."""

    model: Model
    agree: NDArray[np.bool_]
    kind: str  # similarity, affine, homography
    score: float  # of those that agree, each counts the more, the nearer it lies

    @property
    def inliers(self) -> int:
        """How many matches agree."""
        return int(self.agree.sum())


def fit(pairs: Pairs) -> Fit | None:
    """Return the transformation that most matches agree on, None where no three do."""
    if len(pairs) < 3:  # noqa: PLR2004
        return None
    best: Fit | None = None
    for agree in _hypotheses(pairs):
        found = _refined(pairs, agree)
        if found is not None and (best is None or found.score > best.score):
            best = found
    return _freer(pairs, best) if best is not None else None


def _hypotheses(pairs: Pairs) -> list[NDArray[np.bool_]]:
    """Return the matches (M,) that agree with each of the best hypotheses."""
    factors = np.exp(pairs.scales + 1j * pairs.turns)
    source, target = pairs.source @ (1, 1j), pairs.target @ (1, 1j)
    predicted = factors[:, None] * (source[None, :] - source[:, None]) + target[:, None]
    slack = COARSE * np.maximum(1, np.exp(pairs.scales))
    near = np.abs(predicted - target[None, :]) < slack[:, None]
    turned = np.abs((pairs.turns[None, :] - pairs.turns[:, None] + np.pi) % (2 * np.pi) - np.pi) < _TURN_SLACK
    sized = np.abs(pairs.scales[None, :] - pairs.scales[:, None]) < _SIZE_SLACK
    votes = near & turned & sized
    counts = votes.sum(axis=1)
    alike = np.zeros(len(counts), bool)  # too much like one that was chosen
    chosen: list[NDArray[np.bool_]] = []
    for row in np.argsort(-counts, kind="stable"):
        if len(chosen) == HYPOTHESES or counts[row] < 3:  # noqa: PLR2004
            break
        if not alike[row]:
            chosen.append(votes[row])
            alike |= (votes & votes[row]).sum(axis=1) > 0.7 * counts  # noqa: PLR2004
    return chosen


def _refined(pairs: Pairs, agree: NDArray[np.bool_]) -> Fit | None:
    """Return a similarity fitted again and again to those that agree with it, ever more strictly."""
    model = None
    for tolerance in (COARSE / 2, FINE * 2, FINE, FINE):
        if agree.sum() < 3:  # noqa: PLR2004
            return None
        model = similarity(pairs.source[agree], pairs.target[agree])
        agree = _within(pairs, model, tolerance)
    return _judged(pairs, model, "similarity") if model is not None else None


def _judged(pairs: Pairs, model: Model, kind: str) -> Fit:
    distance = residuals(pairs, model)
    agree = distance < FINE
    return Fit(model, agree, kind, float((1 - (distance[agree] / FINE) ** 2).sum()))


def _freer(pairs: Pairs, best: Fit) -> Fit:
    """Return the affine map or homography instead where it explains clearly more."""
    for kind, least, gain in _FREER:
        if best.inliers < least:
            continue
        found = best
        for tolerance in (FINE * 3, FINE * 2, FINE):
            model = _least_squares(kind, pairs, _within(pairs, found.model, tolerance))
            if model is None:
                break
            found = _judged(pairs, model, kind)
        if found.score > best.score * gain + 1 and is_sane(found, pairs):
            best = found
    return best


def is_sane(found: Fit, pairs: Pairs) -> bool:
    """Return whether a model is one of an edit: neither folded nor mirrored, bounded in scale and stretch."""
    inside = pairs.source[found.agree]
    if len(inside) < 3:  # noqa: PLR2004
        return False
    (left, top), (right, bottom) = inside.min(axis=0), inside.max(axis=0)
    quad = moved(found.model, np.array(((left, top), (right, top), (right, bottom), (left, bottom))))
    before, after = np.roll(quad, 1, axis=0) - quad, np.roll(quad, -1, axis=0) - quad
    crosses = after[:, 0] * before[:, 1] - after[:, 1] * before[:, 0]
    if not np.isfinite(quad).all() or (crosses <= 0).any():
        return False
    wide, high = np.linalg.svd(local_linear(found.model, inside.mean(axis=0)))[1]
    return bool(wide <= _MOST_SCALE and high >= 1 / _MOST_SCALE and wide / high <= _MOST_STRETCH)


def local_linear(model: Model, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (2, 2) how a model moves small steps at a place: its derivative there."""
    top = model @ (place[0], place[1], 1.0)
    return np.asarray((model[:2, :2] - np.outer(top[:2] / top[2], model[2, :2])) / top[2], np.float64)


def similarity(source: Points, target: Points) -> Model:
    """Return the similarity (3, 3) that least squares prefer for matched places."""
    one, other = source @ (1, 1j), target @ (1, 1j)
    centre, aim = one.mean(), other.mean()
    factor = np.vdot(one - centre, other - aim) / max(float((np.abs(one - centre) ** 2).sum()), 1e-12)
    shift = aim - factor * centre
    return np.array(((factor.real, -factor.imag, shift.real), (factor.imag, factor.real, shift.imag), (0.0, 0.0, 1.0)))


def _least_squares(kind: str, pairs: Pairs, agree: NDArray[np.bool_]) -> Model | None:
    source, target = pairs.source[agree], pairs.target[agree]
    if len(source) < 6:  # noqa: PLR2004
        return None
    if kind == "homography":
        model, _ = cv2.findHomography(source, target, 0)
        return None if model is None else np.asarray(model, np.float64)
    flat = np.column_stack((source, np.ones(len(source))))
    solved = np.linalg.lstsq(flat, target, rcond=None)[0]
    return np.vstack((solved.T, (0.0, 0.0, 1.0)))


def _within(pairs: Pairs, model: Model, tolerance: float) -> NDArray[np.bool_]:
    return np.asarray(residuals(pairs, model) < tolerance)


def residuals(pairs: Pairs, model: Model) -> NDArray[np.float64]:
    """Return (M,) how far each target lies from where the model says, in longer sides of the coarser picture."""
    scale = np.sqrt(abs(np.linalg.det(local_linear(model, pairs.source.mean(axis=0)))))
    distance = np.linalg.norm(moved(model, pairs.source) - pairs.target, axis=1) / max(1.0, float(scale))
    return np.asarray(np.nan_to_num(distance, nan=np.inf), np.float64)


def moved(model: Model, points: Points) -> Points:
    """Return (M, 2) where a model takes places; not finite where it takes them beyond the horizon."""
    flat = np.column_stack((points, np.ones(len(points)))) @ model.T
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(flat[:, :2] / np.where(flat[:, 2:] > 0, flat[:, 2:], np.nan), np.float64)
