"""What was done to the indexed picture to get the query: a list of edits, each a kind and an amount.

Directions are those of the edit: the indexed picture (the candidate) came first, the query was made of it. Which of the
two was really first nobody can see; a query that shows more than the indexed picture is "framed", not "cropped".
"""

import numpy as np

from search.geometry.overlap import Overlap
from search.geometry.transformation import Model, local_linear
from search.geometry.verification import Verification
from search.records import Edit, EditKind

# Below these a change is what rounding and noise leave, measured on copies without it.
_LEAST_CROP = 0.02  # share of the area
_LEAST_SCALE = 0.03
_LEAST_STRETCH = 0.03
_LEAST_TURN = 1.0  # degrees; within this of a quarter turn it is one
_LEAST_TILT = 0.06  # how much larger one end of the picture is drawn than the other


_SENTENCES: dict[EditKind, str] = {
    "mirrored": "mirrored",
    "rotated": "rotated {0:g}° clockwise",
    "cropped": "cropped to {1} % of its area",
    "framed": "inside a larger picture, of which it fills {1} %",
    "scaled": "scaled to {0:.2g} of its size",
    "stretched": "stretched: {0:.2g} times as wide for its height",
    "tilted": "seen at an angle: one end {0:.2g} times as large as the other",
    "grey": "without its colours",
    "recoloured": "recoloured",
    "brightened": "brightened by {1} %",
    "darkened": "darkened by {1} %",
    "blurred": "blurred, or drawn in coarse pixels, over {0:.2g} pixels",
    "covered": "text or something else laid over {1} % of it",
    "converted": "saved in another format",
    "recompressed": "compressed again",
    "resaved": "saved again, the same pixels",
}


def sentence(edit: Edit) -> str:
    """Return an edit in words: "cropped to 62 % of its area"."""
    amount = edit.amount or 0.0
    if edit.kind == "rotated" and amount < 0:
        return f"rotated {-amount:g}° anticlockwise"
    return _SENTENCES[edit.kind].format(amount, round(amount * 100))


def model_edits(found: Verification) -> list[Edit]:
    """Return the edits that moved pixels, known from the model alone; none where there is no model."""
    if found.model is None or found.shared is None:
        return []
    onto = np.asarray(np.linalg.inv(found.model), np.float64)  # from the indexed picture to the query
    linear = _upright(onto, found.shared, mirrored=found.mirrored)
    edits = [Edit("mirrored")] if found.mirrored else []
    edits += _turns(linear) + _shares(found.shared)
    scale = float(np.sqrt(abs(np.linalg.det(linear))))
    if abs(np.log(scale)) > _LEAST_SCALE:
        edits.append(Edit("scaled", round(scale, 3)))
    edits += _stretches(linear)
    tilt = _tilt(onto, found.shared)
    if tilt > 1 + _LEAST_TILT:
        edits.append(Edit("tilted", round(tilt, 2)))
    return edits


def pose_edits(found: Verification) -> list[Edit]:
    """Return those of `model_edits` that mirrored, turned or stretched the picture; a copy has them all over."""
    if found.model is None or found.shared is None:
        return []
    onto = np.asarray(np.linalg.inv(found.model), np.float64)
    linear = _upright(onto, found.shared, mirrored=found.mirrored)
    return ([Edit("mirrored")] if found.mirrored else []) + _turns(linear) + _stretches(linear)


def _upright(onto: Model, shared: Overlap, *, mirrored: bool) -> Model:
    """Return (2, 2) what a model does around the middle of the shared part, the mirror taken off."""
    linear = local_linear(onto, shared.in_candidate.mean(axis=0))
    return np.asarray(linear @ np.diag((-1.0, 1.0)), np.float64) if mirrored else linear


def _stretches(linear: Model) -> list[Edit]:
    across, down = np.linalg.norm(linear, axis=0)
    return [Edit("stretched", round(float(across / down), 3))] if abs(np.log(across / down)) > _LEAST_STRETCH else []


def _turns(linear: Model) -> list[Edit]:
    degrees = float(np.degrees(np.arctan2(linear[1, 0] - linear[0, 1], linear[0, 0] + linear[1, 1])))
    quarter = round(degrees / 90) * 90
    if abs(degrees - quarter) < _LEAST_TURN:
        return [Edit("rotated", 180.0 if quarter == -180 else float(quarter))] if quarter else []  # noqa: PLR2004
    return [Edit("rotated", round(degrees, 1))]


def _shares(shared: Overlap) -> list[Edit]:
    edits = []
    if shared.of_candidate < 1 - _LEAST_CROP:
        edits.append(Edit("cropped", round(shared.of_candidate, 3)))
    if shared.of_query < 1 - _LEAST_CROP:
        edits.append(Edit("framed", round(shared.of_query, 3)))
    return edits


def _tilt(onto: Model, shared: Overlap) -> float:
    """Return how many times as large one corner of the shared part is drawn as another, along a side."""
    scales = [np.sqrt(abs(np.linalg.det(local_linear(onto, corner)))) for corner in shared.in_candidate]
    return float(max(scales) / max(min(scales), 1e-9))
