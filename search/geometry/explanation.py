"""An answer shown: a picture of both pictures side by side with what fits, and the same facts for JSON."""

from typing import TypedDict

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.agreement import align, correlation_map
from search.geometry.edits import sentence
from search.geometry.keypoints import Pixels, as_grey, resized
from search.geometry.overlap import corners
from search.geometry.transformation import Model, Points, moved
from search.geometry.verification import TOO_LITTLE, Verification
from search.records import Edit

PANEL = 420  # pixels of the longer side of each of the three panels
LINES = 36  # at most so many inliers are drawn, from all over the shared part
_GAP = 18
_CAPTION = 30
_PAPER = (250, 250, 250)
_INK = (60, 60, 60)
_QUAD = (255, 140, 0)
_DIMMED = 0.35  # light left to what the two pictures do not share
_HEAT_FROM, _HEAT_TO = 0.85, 0.2  # local correlation at which the difference map begins to glow, and glows fully
_CELLS = 6


class Explanation(TypedDict):
    """The facts of a picture. Places are [x, y] in pixels, of the indexed picture unless said otherwise.

    quad: where the query's four corners lie, clockwise from its upper left. shared: the polygon that both show.
    points: [x, y in the query, x, y in the indexed picture] of inliers. visible, filled: share of the indexed picture
    that the query shows, and of the query that it fills. model: 3 rows of 3, from query to indexed picture. edits: as
    those of a match. sentences: the same in words, which may change.
    """

    answer: str
    reason: str
    mirrored: bool
    inliers: int
    matches: int
    agreement: float | None
    model: list[list[float]] | None
    quad: list[list[float]]
    shared: list[list[float]]
    points: list[list[float]]
    visible: float | None
    filled: float | None
    edits: list[dict[str, object]]
    sentences: list[str]


def explain(found: Verification, edits: list[Edit]) -> Explanation:
    """Return the facts behind an answer, as numbers and words that JSON can hold."""
    quad = [] if found.model is None else _rounded(moved(found.model, corners(found.query_size)))
    return {
        "answer": found.answer,
        "reason": found.reason,
        "mirrored": found.mirrored,
        "inliers": found.inliers,
        "matches": found.matches,
        "agreement": None if found.agreement is None else round(found.agreement, 3),
        "model": None if found.model is None else [[float(one) for one in row] for row in found.model],
        "quad": quad,
        "shared": [] if found.shared is None else _rounded(found.shared.in_candidate),
        "points": [] if found.places is None else _rounded(chosen_lines(found)),
        "visible": None if found.shared is None else round(found.shared.of_candidate, 4),
        "filled": None if found.shared is None else round(found.shared.of_query, 4),
        "edits": [edit.as_json() for edit in edits],
        "sentences": [sentence(edit) for edit in edits],
    }


def draw(found: Verification, query: Pixels, candidate: Pixels) -> Pixels:
    """Return (H, W, 3) RGB: the query, the indexed picture with the shared part and inlier lines, and the differences.

    query, candidate: (H, W, 3) RGB or (H, W) grey, of their full sizes or reduced. At most three panels of 420 pixels
    wide and high; without a model the pictures alone.
    """
    left, right = _panel(query), _panel(candidate)
    panels = [_lit(left, found, of_query=True), _lit(right, found, of_query=False)]
    captions = ["query", "indexed picture"]
    if found.model is not None:
        panels.append(_differences(found, query, right))
        captions.append("differences, laid over each other")
    canvas, places = _laid_out(panels, captions)
    _draw_lines(canvas, found, places, (left, right))
    return canvas


def as_png(picture: Pixels) -> bytes:
    """Return an (H, W, 3) RGB picture as the bytes of a PNG file."""
    _, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    return bytes(data)


def as_jpeg(picture: Pixels, quality: int) -> bytes:
    """Return an (H, W, 3) RGB picture as the bytes of a JPEG file. quality: 1 to 100."""
    colours = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
    _, data = cv2.imencode(".jpg", colours, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return bytes(data)


def difference(query: Pixels, candidate: Pixels, found: Verification | None = None) -> Pixels:
    """Return (h, w, 3) RGB: the candidate in pale grey, glowing where the query shows something else.

    query, candidate: (H, W, 3) RGB or (H, W) grey, of their full sizes or reduced. found: how the one lies on the
    other; without it, or where it has no model, the query is stretched over the candidate.
    """
    if found is None or found.model is None:
        sizes = [(pixels.shape[1], pixels.shape[0]) for pixels in (query, candidate)]
        stretch = np.diag((sizes[1][0] / sizes[0][0], sizes[1][1] / sizes[0][1], 1.0))
        found = Verification("cannot", TOO_LITTLE, sizes[0], sizes[1], model=stretch)
    return _differences(found, query, _panel(candidate))


def chosen_lines(found: Verification, limit: int = LINES) -> NDArray[np.float64]:
    """Return (N, 4) inliers to draw, N <= limit: in turn from each cell of the shared part, so that they spread."""
    if found.places is None or found.shared is None or not len(found.places):
        return np.empty((0, 4))
    region = found.shared.in_candidate
    low, high = region.min(axis=0), region.max(axis=0)
    cells = np.floor((found.places[:, 2:] - low) / np.maximum(high - low, 1e-9) * _CELLS).clip(0, _CELLS - 1)
    number = cells.astype(np.int64) @ (1, _CELLS)
    rank = np.array([int((number[:row] == one).sum()) for row, one in enumerate(number)])
    return found.places[np.argsort(rank, kind="stable")[:limit]]


def _panel(pixels: Pixels) -> Pixels:
    colours = cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if pixels.ndim == 2 else pixels  # noqa: PLR2004
    return resized(np.asarray(colours, np.uint8), PANEL / max(pixels.shape[:2]))


def _lit(panel: Pixels, found: Verification, *, of_query: bool) -> Pixels:
    """Return a panel with the shared part in full light, and its outline."""
    if found.shared is None:
        return panel
    size = found.query_size if of_query else found.candidate_size
    region = found.shared.in_query if of_query else found.shared.in_candidate
    outline = np.round(region * _factor(panel, size) - 0.5).astype(np.int32).reshape(-1, 1, 2)
    inside = cv2.fillPoly(np.zeros(panel.shape[:2], np.uint8), [outline], 1)[..., None]
    dimmed = panel * np.float32(_DIMMED) + np.float32(255 * (1 - _DIMMED) * 0.8)
    lit = np.where(inside > 0, panel, dimmed).astype(np.uint8)
    cv2.polylines(lit, [outline], True, (30, 30, 30), 5, cv2.LINE_AA)
    cv2.polylines(lit, [outline], True, _QUAD, 2, cv2.LINE_AA)
    return lit


def _differences(found: Verification, query: Pixels, panel: Pixels) -> Pixels:
    """Return the indexed picture in pale grey, glowing where the query shows something else."""
    pale = cv2.cvtColor((as_grey(panel) * 0.35 + 255 * 0.6).astype(np.uint8), cv2.COLOR_GRAY2RGB)
    if found.model is None:
        return np.asarray(pale, np.uint8)
    small = as_grey(_panel(query))
    between = (
        _scaled(_factor(panel, found.candidate_size)) @ found.model @ _scaled(1 / _factor(small, found.query_size))
    )
    aligned = align(small, as_grey(panel), np.asarray(between, np.float64))
    if aligned is None:
        return np.asarray(pale, np.uint8)
    unlike = np.clip((_HEAT_FROM - correlation_map(aligned)) / (_HEAT_FROM - _HEAT_TO), 0, 1) * aligned.both
    size = (panel.shape[1], panel.shape[0])
    heat = np.clip(cv2.resize(unlike.astype(np.float32), size, interpolation=cv2.INTER_CUBIC), 0, 1)
    colours = cv2.cvtColor(
        cv2.applyColorMap((80 + heat * 130).astype(np.uint8), cv2.COLORMAP_INFERNO), cv2.COLOR_BGR2RGB
    )
    shown = pale * (1 - heat[..., None] * 0.9) + colours * (heat[..., None] * 0.9)
    outside = cv2.resize(aligned.both.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST)[..., None] == 0
    return np.where(outside, 235, shown).astype(np.uint8)


def _laid_out(panels: list[Pixels], captions: list[str]) -> tuple[Pixels, list[tuple[int, int]]]:
    """Return the canvas, and where the upper left corner of each panel lies on it."""
    height = max(panel.shape[0] for panel in panels)
    width = sum(panel.shape[1] for panel in panels) + _GAP * (len(panels) + 1)
    canvas = np.full((height + _CAPTION + _GAP, width, 3), _PAPER, np.uint8)
    x, places = _GAP, []
    for panel, caption in zip(panels, captions, strict=True):
        y = _CAPTION + (height - panel.shape[0]) // 2
        canvas[y : y + panel.shape[0], x : x + panel.shape[1]] = panel
        cv2.putText(canvas, caption, (x, y - 9), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
        places.append((x, y))
        x += panel.shape[1] + _GAP
    return canvas, places


def _draw_lines(
    canvas: Pixels, found: Verification, places: list[tuple[int, int]], panels: tuple[Pixels, Pixels]
) -> None:
    """Draw the inliers from the first panel to the second, each in a colour of its own, half transparent."""
    rows = chosen_lines(found)
    ends = [
        np.round((rows[:, columns] * _factor(panel, size) + place) * 16).astype(np.int64)
        for columns, panel, size, place in zip(
            (slice(0, 2), slice(2, 4)), panels, (found.query_size, found.candidate_size), places[:2], strict=True
        )
    ]
    hues = np.linspace(0, 165, max(1, len(rows))).astype(np.uint8)
    colours = cv2.cvtColor(
        np.stack((hues, np.full_like(hues, 190), np.full_like(hues, 235)), 1)[None], cv2.COLOR_HSV2RGB
    )
    lines = canvas.copy()
    order = np.argsort(rows[:, 1], kind="stable") if len(rows) else ()
    for colour, row in zip(colours[0].tolist(), order, strict=False):
        cv2.line(lines, ends[0][row].tolist(), ends[1][row].tolist(), colour, 1, cv2.LINE_AA, 4)
    np.copyto(canvas, cv2.addWeighted(lines, 0.65, canvas, 0.35, 0))
    for colour, row in zip(colours[0].tolist(), order, strict=False):
        for end in ends:
            cv2.circle(canvas, end[row].tolist(), 4 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
            cv2.circle(canvas, end[row].tolist(), 3 * 16, colour, -1, cv2.LINE_AA, 4)


def _factor(panel: Pixels, size: tuple[int, int]) -> NDArray[np.float64]:
    return np.array((panel.shape[1] / size[0], panel.shape[0] / size[1]), np.float64)


def _scaled(factor: NDArray[np.float64]) -> Model:
    return np.diag((factor[0], factor[1], 1.0))


def _rounded(places: Points) -> list[list[float]]:
    return [[round(float(one), 1) for one in place] for place in places]
