"""Which of several copies to keep: rules in the user's order, each of which leaves those that are best by it.

Deterministic: the same images with the same files give the same keeper, whatever the order they come in. A rule that
needs pixels is asked only about those that the rules before it left.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, get_args

from search.duplicates.comparing import LOSSLESS_FORMATS, Comparison, Copy
from search.duplicates.sidecars import is_raw
from search.errors import UsageError
from search.records import ImageRecord, path_of_uri

Rule = Literal["view", "lossless", "resolution", "untouched", "quality", "metadata", "date", "path"]
RULES: Final[tuple[Rule, ...]] = get_args(Rule)
CONSIDERED: Final = 64  # copies of one picture, the best at first sight

_PROTECTED, _FIRST = "in a protected folder", "indexed first"
_REASONS: Final[dict[Rule, str]] = {
    "view": "shows more of the scene",
    "lossless": "RAW or lossless",
    "resolution": "most pixels",
    "untouched": "least altered",
    "quality": "least compressed",
    "metadata": "most metadata",
    "date": "oldest date",
    "path": "shortest path",
}


@dataclass(frozen=True, slots=True)
class KeeperRules:
    """rules: in order; those left out do not count. protected: folders whose files are always kept. preferred: folders
    whose files come before others, by the rule `path`, the first folder first.
    """

    rules: tuple[Rule, ...] = RULES
    protected: tuple[Path, ...] = ()
    preferred: tuple[Path, ...] = ()

    def is_protected(self, image: ImageRecord) -> bool:
        """Tell whether an image lies in a protected folder."""
        return any(_is_below(image, folder) for folder in self.protected)

    def at_first_sight(self, image: ImageRecord) -> tuple[bool | int | str, ...]:
        """Return a sort key from what the catalogue knows: likely keepers come first. No two images have the same."""
        path = path_of_uri(image.uri)
        raw = path is not None and is_raw(path)
        size = (-image.width * image.height, image.format not in LOSSLESS_FORMATS, -image.size_bytes)
        return not self.is_protected(image), not raw, *size, *self.date(image), *self.place(image), image.id

    def date(self, image: ImageRecord) -> tuple[int, ...]:
        """Return what orders images by date, the oldest first."""
        return (image.mtime_ns,)

    def place(self, image: ImageRecord) -> tuple[int, int, int]:
        """Return what orders images by their place: preferred folders, then few folders deep, then short."""
        places = [number for number, folder in enumerate(self.preferred) if _is_below(image, folder)]
        return min(places, default=len(self.preferred)), image.uri.count("/"), len(image.uri)


def rules_named(names: Iterable[str]) -> tuple[Rule, ...]:
    """Return rules by their names.

    Raises:
        UsageError: there is no such rule, or one is named twice.
    """
    known: dict[str, Rule] = {rule: rule for rule in RULES}
    found = []
    for name in names:
        rule = known.get(name.strip().lower())
        if rule is None:
            raise UsageError(f"there is no keeper rule {name!r}; there are: {', '.join(RULES)}")
        if rule in found:
            raise UsageError(f"the keeper rule {name!r} is named twice")
        found.append(rule)
    return tuple(found)


@dataclass(frozen=True, slots=True)
class Choice:
    """The image to keep, and why."""

    image: ImageRecord
    reason: str


def choose(rules: KeeperRules, comparison: Comparison) -> Choice:
    """Return which of several copies to keep."""
    left = sorted(comparison.copies, key=lambda copy: rules.at_first_sight(copy.image))[:CONSIDERED]
    reason = _FIRST
    kept = [copy for copy in left if rules.is_protected(copy.image)]
    if kept and len(kept) < len(left):
        left, reason = kept, _PROTECTED
    for rule in rules.rules:
        if len(left) == 1:
            break
        best = _best(rule, rules, comparison)(left)
        if len(best) < len(left):
            left, reason = best, _REASONS[rule]
    if len(left) > 1:
        left, reason = [min(left, key=lambda copy: copy.image.id)], _FIRST
    return Choice(left[0].image, reason)


def _best(rule: Rule, rules: KeeperRules, comparison: Comparison) -> Callable[[Sequence[Copy]], list[Copy]]:
    """Return what leaves those that are best by one rule; never none."""
    ways: dict[Rule, Callable[[Sequence[Copy]], list[Copy]]] = {
        "view": comparison.widest,
        "lossless": comparison.lossless,
        "resolution": comparison.finest,
        "untouched": comparison.untouched,
        "quality": comparison.least_compressed,
        "metadata": comparison.best_described,
        "date": lambda copies: _first(copies, rules.date),
        "path": lambda copies: _first(copies, rules.place),
    }
    return ways[rule]


def _first(copies: Sequence[Copy], order: Callable[[ImageRecord], tuple[int, ...]]) -> list[Copy]:
    least = min(order(copy.image) for copy in copies)
    return [copy for copy in copies if order(copy.image) == least]


def _is_below(image: ImageRecord, folder: Path) -> bool:
    path = path_of_uri(image.uri)
    return path is not None and path.is_relative_to(folder)
