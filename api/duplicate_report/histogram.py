"""The scores of near copies as a small drawing: how many lie where, and from where on they count.

The page of a server draws the same (api/page/score_histogram.js).
"""

from collections.abc import Iterator, Sequence
from html import escape
from typing import Final

from search.duplicates.groups import DuplicateGroup
from search.duplicates.report_counts import scores_of

WIDTH: Final = 440
HEIGHT: Final = 96
_FOOT: Final = 20  # for the numbers below
_HEAD: Final = 14  # for the name of the threshold


def histogram(groups: Sequence[DuplicateGroup], threshold: float | None) -> str:
    """Return the drawing with its caption as HTML, "" where there are no near copies."""
    scores = scores_of(groups, threshold)
    if scores is None:
        return ""
    counts, start, step = scores["counts"], scores["start"], scores["step"]
    span = f"from {scores['lowest']:.3f} to {scores['highest']:.3f}; median {scores['median']:.3f}"
    told = f"Scores of {sum(counts):,} near copies, {span}"
    return (
        f'<figure class="histogram"><figcaption class="quiet">{told}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT + _FOOT + _HEAD}" role="img" aria-label="{escape(told)}">'
        f"{''.join(_bars(counts, start, step))}{''.join(_axis(start, len(counts) * step, threshold))}</svg></figure>"
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
