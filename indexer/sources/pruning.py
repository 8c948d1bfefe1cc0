"""What vanished, and the guards before anything of it is removed: offline sources, and too much at once."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from indexer.sources.found import Source

MOST_VANISHED: Final = 1_000
MOST_FRACTION: Final = 0.05


@dataclass(frozen=True, slots=True)
class Vanished:
    """Images whose file is gone. ids: theirs; known: all images of the same sources, the vanished among them."""

    ids: Sequence[int]
    known: int

    def __add__(self, other: "Vanished") -> "Vanished":
        """Return those of other sources with these."""
        return Vanished(sorted({*self.ids, *other.ids}), self.known + other.known)


@dataclass(frozen=True, slots=True)
class Part:
    """What changed below roots since they were indexed. gone: uris of files and folders that are there no more."""

    roots: Sequence[Source]
    gone: Sequence[str]


def refusal(vanished: Vanished, sources: Sequence[Source], max_fraction: float | None) -> str | None:
    """Return why nothing may be removed, None when it may.

    max_fraction: the share of the known images that may vanish at once, 0 to 1; None for at most 5 % and 1,000 images.
    """
    for source in sources:
        if source.kind == "offline":
            return f"nothing was removed: {source.path} is offline ({source.detail}); its images are kept. {_REACH}"
        if source.detail:
            return f"nothing was removed: {source.path}: {source.detail}. {_REACH}"
    missing = len(vanished.ids)
    fraction = missing / max(vanished.known, 1)
    too_many = fraction > MOST_FRACTION or missing > MOST_VANISHED
    if max_fraction is not None:
        too_many = fraction > max_fraction
    if not too_many:
        return None
    limit = "5 % or 1,000 images" if max_fraction is None else f"--max-fraction {max_fraction:g}"
    enough = math.ceil(fraction * 100) / 100
    return (
        f"nothing was removed: {missing} of {vanished.known} images have vanished, more than {limit}; "
        f"if that is right, run again with --max-fraction {enough:g}"
    )


_REACH: Final = "Make it reachable, or leave it out of the command"
