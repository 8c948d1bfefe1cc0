"""The scores of near copies as a small drawing: how many lie where, and from where on they count."""

import math
from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

import numpy as np

from search.duplicates.groups import EXACT, DuplicateGroup

WIDTH: Final = 440
HEIGHT: Final = 96
_FOOT: Final = 20  # for the numbers below
_HEAD: Final = 14  # for the name of the threshold
_BINS: Final = 40
_STEP: Final = 0.01


def near_scores(groups: Sequence[DuplicateGroup]) -> list[float]:
    """Return the scores of all members that are no exact copies."""
    return [member.score for group in groups for member in group.members if member.kind not in EXACT]


def histogram(groups: Sequence[DuplicateGroup], threshold: float | None) -> str:
    """Return the drawing with its caption as HTML, "" where there are no near copies."""
    scores = near_scores(groups)
    if not scores:
        return ""
    low = min(*scores, 1.0 if threshold is None else threshold)
    step = _STEP * max(1, math.ceil((1 - low) / _STEP / _BINS))
    start = math.floor(low / step + 1e-9) * step
    bins = max(1, math.ceil((1 - start) / step - 1e-9))
    counts, _ = np.histogram(np.minimum(scores, 1.0), bins=bins, range=(start, start + bins * step))
    span = f"from {min(scores):.3f} to {max(scores):.3f}; median {np.median(scores):.3f}"
    told = f"Scores of {len(scores):,} near copies, {span}"
    return (
        f'<figure class="histogram"><figcaption class="quiet">{told}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + _FOOT + _HEAD}" role="img" aria-label="{escape(told)}">'
        f"{''.join(_bars(counts.tolist(), start, step))}{''.join(_axis(start, bins * step, threshold))}</svg></figure>"
    )


def _bars(counts: Sequence[int], start: float, step: float) -> Iterator[str]:
    width, most = WIDTH / len(counts), max(counts)
    for place, count in enumerate(counts):
        if count:
            # Few are seen beside many.
            height = max(2.0, HEIGHT * count / most)
            low = start + place * step
            yield (
                f'<rect x="{place * width + 0.5:.1f}" y="{_HEAD + HEIGHT - height:.1f}" width="{width - 1:.1f}" '
                f'height="{height:.1f}" rx="1.5"><title>{low:.2f} to {low + step:.2f}: {count:,}</title></rect>'
            )


def _axis(start: float, length: float, threshold: float | None) -> Iterator[str]:
    base = _HEAD + HEIGHT
    yield f'<line x1="0" x2="{WIDTH}" y1="{base + 0.5}" y2="{base + 0.5}"/>'
    for share, anchor in ((0.0, "start"), (0.5, "middle"), (1.0, "end")):
        score = f"{start + share * length:.2f}"
        yield f'<text x="{share * WIDTH:.0f}" y="{base + 15}" text-anchor="{anchor}">{score}</text>'
    if threshold is not None and start <= threshold <= start + length:
        x = WIDTH * (threshold - start) / length
        anchor = "start" if x < WIDTH / 2 else "end"
        yield f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{base}"/>'
        beside = f'x="{x + (4 if anchor == "start" else -4):.1f}" y="9" text-anchor="{anchor}"'
        yield f'<text class="threshold-name" {beside}>threshold {threshold:.2f}</text>'
