"""Which of several copies to keep: rules in the user's order, each of which leaves those that are best by it.

Deterministic: the same images with the same files give the same keeper, whatever the order they come in. A rule that
needs pixels is asked only about those that the rules before it left.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from search.duplicates.comparing import Comparison, Copy
from search.duplicates.keeper_rules import KeeperRules, Rule
from search.records import ImageRecord

Step = Rule | Literal["own"]
CONSIDERED: Final = 64  # copies of one picture, the best at first sight

_OF_PIXELS: Final[tuple[Rule, ...]] = ("view", "lossless", "resolution", "untouched", "quality")
# What tells nothing of the picture. Before these, files of one's own come before uploads: they go
# with their image, so that nothing else may go for the sake of one that is no better.
_BESIDE: Final[tuple[Rule, ...]] = ("metadata", "date", "path")
_PROTECTED, _FIRST = "in a protected folder", "indexed first"
_REASONS: Final[dict[Step, str]] = {
    "own": "not only an upload",
    "view": "shows more of the scene",
    "lossless": "RAW or lossless",
    "resolution": "most pixels",
    "untouched": "least altered",
    "quality": "least compressed",
    "prefer": "in a preferred folder",
    "metadata": "most metadata",
    "date": "oldest date",
    "path": "shortest path",
}


@dataclass(frozen=True, slots=True)
class Choice:
    """The image to keep, and why: the rules that left others behind, in their order."""

    image: ImageRecord
    reason: str


def choose(rules: KeeperRules, comparison: Comparison) -> Choice:
    """Return which of several copies to keep."""
    left = sorted(comparison.copies, key=lambda copy: rules.at_first_sight(copy.image))[:CONSIDERED]
    reasons: list[str] = []
    kept = [copy for copy in left if rules.is_protected(copy.image)]
    if kept and len(kept) < len(left):
        left, reasons = kept, [_PROTECTED]
    for rule in _steps(rules.rules):
        if len(left) == 1:
            break
        best = _best(rule, rules, comparison)(left)
        if rule in _OF_PIXELS:
            best = _with_the_same_pixels(best, left)
        if len(best) < len(left):
            left = best
            reasons.append(_REASONS[rule])
    if len(left) > 1:
        left = [min(left, key=lambda copy: copy.image.id)]
        reasons.append(_FIRST)
    return Choice(left[0].image, ", then ".join(reasons) or _FIRST)


def _steps(rules: Sequence[Rule]) -> tuple[Step, ...]:
    first = next((place for place, rule in enumerate(rules) if rule in _BESIDE), len(rules))
    return *rules[:first], "own", *rules[first:]


def _no_uploads(rules: KeeperRules, copies: Sequence[Copy]) -> list[Copy]:
    """Return those that are no uploads; all where all are."""
    return [copy for copy in copies if not rules.is_upload(copy.image)] or [*copies]


def _with_the_same_pixels(best: Sequence[Copy], left: Sequence[Copy]) -> list[Copy]:
    """Return the best, and what shows the very same: a PNG of what a JPEG shows is no better than this JPEG."""
    same = {copy.image.pixel_hash for copy in best}
    return [copy for copy in left if copy.image.pixel_hash in same]


def _best(rule: Step, rules: KeeperRules, comparison: Comparison) -> Callable[[Sequence[Copy]], list[Copy]]:
    """Return what leaves those that are best by one rule; never none."""
    ways: dict[Step, Callable[[Sequence[Copy]], list[Copy]]] = {
        "own": lambda copies: _no_uploads(rules, copies),
        "view": comparison.widest,
        "lossless": comparison.lossless,
        "resolution": comparison.finest,
        "untouched": comparison.untouched,
        "quality": comparison.least_compressed,
        "prefer": lambda copies: _first(copies, rules.preference),
        "metadata": comparison.best_described,
        "date": lambda copies: _first(copies, rules.date),
        "path": lambda copies: _first(copies, rules.place),
    }
    return ways[rule]


def _first(copies: Sequence[Copy], order: Callable[[ImageRecord], tuple[int, ...]]) -> list[Copy]:
    least = min(order(copy.image) for copy in copies)
    return [copy for copy in copies if order(copy.image) == least]
