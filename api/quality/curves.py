"""Precision-recall curves as inline SVG: no script, no font and no file but the page itself."""

from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from search.calibration.metrics import PrecisionRecall

WIDTH, HEIGHT = 340, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 50
MARKED = (0.90, 0.99)  # precisions that decisions are made at
_STEPS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def curve_panel(title: str, curves: Mapping[str, PrecisionRecall], colours: Mapping[str, int]) -> str:
    """Return a figure with one curve for each method. colours: the number of each method's colour."""
    lines = [_line(curve, f"line c{colours[name]}", name) for name, curve in reversed(list(curves.items()))]
    drawn = "".join([*_grid(), *lines])
    text = "; ".join(f"{name}: average precision {curve.average_precision():.3f}" for name, curve in curves.items())
    label = escape(f"{title}. {text}")
    drawing = f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">{drawn}</svg>'
    return f'<figure class="panel"><figcaption>{escape(title)}</figcaption>{drawing}</figure>'


def legend(names: Sequence[str], colours: Mapping[str, int]) -> str:
    """Return what each colour means."""
    items = "".join(f'<li><i class="c{colours[name]}"></i>{escape(name)}</li>' for name in names)
    return f'<ul class="legend">{items}</ul>'


def points(curve: PrecisionRecall) -> list[tuple[float, float]]:
    """Return the curve's points in the panel, where they differ by half a pixel or more; it begins at recall 0."""
    if not len(curve.recall):
        return []
    recall = np.concatenate([[0.0], curve.recall])
    precision = np.concatenate([curve.precision[:1], curve.precision])
    x = np.round(2 * (LEFT + recall * (WIDTH - LEFT - RIGHT))) / 2
    y = np.round(2 * (TOP + (1 - precision) * (HEIGHT - TOP - BOTTOM))) / 2
    moved = np.append(True, (np.diff(x) != 0) | (np.diff(y) != 0))
    # Beyond the last right answer a curve only falls, straight down: its foot is enough.
    return list(zip(x[moved].tolist(), y[moved].tolist(), strict=True))


def _line(curve: PrecisionRecall, classes: str, name: str) -> str:
    path = " ".join(f"{x:g},{y:g}" for x, y in points(curve))
    return f'<polyline class="{classes}" points="{path}"><title>{escape(name)}</title></polyline>'


def _grid() -> list[str]:
    """Return axes, their labels, and the lines of the marked precisions."""
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for step in _STEPS:
        x, y = LEFT + step * (right - LEFT), TOP + (1 - step) * (bottom - TOP)
        parts.append(f'<line class="rule" x1="{LEFT}" x2="{right}" y1="{y:g}" y2="{y:g}"/>')
        parts.append(f'<text class="tick" x="{LEFT - 7}" y="{y + 5:g}" text-anchor="end">{step:g}</text>')
        parts.append(f'<text class="tick" x="{x:g}" y="{bottom + 20}" text-anchor="middle">{step:g}</text>')
    for precision in MARKED:
        y = TOP + (1 - precision) * (bottom - TOP)
        parts.append(f'<line class="mark" x1="{LEFT}" x2="{right}" y1="{y:g}" y2="{y:g}"/>')
    middle = (LEFT + right) / 2
    parts.append(f'<text class="axis" x="{middle:g}" y="{HEIGHT - 4}" text-anchor="middle">recall</text>')
    parts.append(
        f'<text class="axis" transform="translate(14 {(TOP + bottom) / 2:g}) rotate(-90)" text-anchor="middle">'
        "precision</text>"
    )
    return parts
