"""What is wanted of a dedup job, and what it found. Knows no pixels, so that it is imported in no time."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from search.calibration.calibration import Calibration
from search.duplicates.groups import DuplicateGroup, SimilarShots, bytes_freed
from search.duplicates.keeper_rules import KeeperRules
from search.index.pair_finder import Progress


@dataclass(frozen=True, slots=True)
class DuplicateRequest:
    """What is wanted. threshold: from which score on a pair counts where its pixels cannot tell, None for never. floor:
    pairs from this score on are looked at, or from a higher one, up to the ceiling, where there would be too many.
    within: only images below this folder. known: what scores mean.
    """

    threshold: float | None
    floor: float
    rules: KeeperRules = field(default_factory=KeeperRules)
    within: Path | None = None
    known: Calibration | None = None
    ceiling: float = -1.0


@dataclass(frozen=True, slots=True)
class Told:
    """Who is told how far it is: comparing: (rows, all of them); looking: (pictures with neighbours, all of them)."""

    comparing: Progress = lambda done, total: None
    looking: Progress = lambda done, total: None


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What a dedup job found. images: how many were compared; threshold: from which score on pairs counted, or were
    looked at where scores alone do not count; pair_recall: share of the near pairs that was found, as a sample tells,
    None where nothing can be missed; similar: what looks like copies and is none; looked_at: pairs whose pixels were
    compared; known: pairs of which an earlier run had compared them.
    """

    images: int
    threshold: float
    groups: tuple[DuplicateGroup, ...]
    pair_recall: float | None = None
    similar: tuple[SimilarShots, ...] = ()
    floor: float | None = None
    looked_at: int = 0
    known: int = 0

    @property
    def bytes_reclaimable(self) -> int:
        """Return how many bytes removing every member would free."""
        return reclaimable(self.groups)


def reclaimable(groups: Iterable[DuplicateGroup]) -> int:
    """Return how many bytes removing every member of some groups would free."""
    several = tuple(groups)
    files = {member.image.uri: member.image.size_bytes for group in several for member in group.members}
    return bytes_freed(files, (group.keeper.uri for group in several))
