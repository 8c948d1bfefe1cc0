"""What a query asks for, and the answer."""

from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Integral, Real
from typing import TYPE_CHECKING, Final, Literal, NamedTuple

from search.errors import UsageError
from search.records import MAX_K, Match

if TYPE_CHECKING:
    from indexer.query_box import Box
    from search.conditions.where import Condition

# Of a query made of several things (api/query_examples.py).
MAX_EXAMPLES: Final = 100  # liked ones, and disliked ones
MAX_PICTURES: Final = 16
MAX_DIMS: Final = 16_384  # of an embedding that somebody sends


@dataclass(frozen=True, slots=True)
class Found:
    """The answer to a query. Times in milliseconds, None where a step did not happen.

    note: why only identical images were compared, None where all were.
    """

    matches: list[Match]
    decode_ms: float
    embed_ms: float
    search_ms: float
    verify_ms: float | None = None
    note: str | None = None

    def took_ms(self) -> dict[str, float | None]:
        """Return the times as the command line and HTTP print them."""
        total = self.decode_ms + self.embed_ms + self.search_ms + (self.verify_ms or 0.0)
        return {
            "decode": round(self.decode_ms, 3),
            "embed": round(self.embed_ms, 3),
            "search": round(self.search_ms, 3),
            "verify": None if self.verify_ms is None else round(self.verify_ms, 3),
            "total": round(total, 3),
        }

    def as_json(self, query: Mapping[str, object]) -> dict[str, object]:
        """Return the answer as the command line and HTTP print it. query: what was searched by."""
        matches = [match.as_json() for match in self.matches]
        shape: dict[str, object] = {"query": dict(query), "matches": matches, "took_ms": self.took_ms()}
        return shape if self.note is None else shape | {"note": self.note}


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """How many matches, and how good. min_score: least cosine. where: what they must fulfil.

    accurate: also turned, mirrored and in parts, and with the pixels of the likeliest images looked at. box: the part
    of the picture to search by (indexer/query_box.py). unique: name each stored duplicate group once.

    Raises:
        UsageError: k is not 1 to MAX_K, min_score no cosine, where no condition, or box no box.
    """

    k: int = 10
    min_score: float | None = None
    where: str | None = None
    accurate: bool = False
    box: str | None = None
    unique: bool = False

    def __post_init__(self) -> None:
        # Python hands over whatever a caller writes.
        if isinstance(self.k, bool) or not isinstance(self.k, Integral) or not 1 <= self.k <= MAX_K:
            raise UsageError(f"k is {self.k!r}, choose a whole number, 1 to {MAX_K}")
        require_cosine("min_score", self.min_score)
        # Before a backbone is loaded for a question that cannot be asked.
        self.condition()
        self.part()

    @property
    def is_plain(self) -> bool:
        """Whether an embedding is all that it takes, and the best images by it are the answer."""
        return self.where is None and self.box is None and not self.accurate and not self.unique

    def part(self) -> "Box | None":
        """Return the part of the picture to search by, None for all of it.

        Raises:
            UsageError: box is no box.
        """
        if self.box is None:
            return None
        from indexer.query_box import Box

        if not isinstance(self.box, str):
            raise UsageError(f'box is {self.box!r}; give a text, "x,y,width,height" in pixels')
        return Box.parse(self.box)

    def condition(self) -> "Condition | None":
        """Return what the matches must fulfil, None for everything.

        Raises:
            UsageError: where is no condition.
        """
        if self.where is None:
            return None
        from search.conditions.where import parse

        if not isinstance(self.where, str):
            raise UsageError(f"where is {self.where!r}; give a text, such as 'width >= 1000'")
        return parse(self.where)


@dataclass(frozen=True, slots=True)
class CheckRequest:
    """threshold: least cosine of a near copy, None for the calibrated or usual one. accurate: also turned, mirrored and
    in parts, and with many images looked at.

    Raises:
        UsageError: the threshold is no cosine.
    """

    threshold: float | None = None
    accurate: bool = False

    def __post_init__(self) -> None:
        require_cosine("threshold", self.threshold)


def require_cosine(name: str, given: object) -> None:
    """Raises:
    UsageError: it is neither None nor a cosine.
    """
    if given is not None and not (isinstance(given, Real) and -1 <= float(given) <= 1):
        raise UsageError(f"{name} is {given!r}, choose -1 to 1")


ThresholdSource = Literal["calibrated", "user", "none"]


class DedupThreshold(NamedTuple):
    """From which score on two images are near copies, and who says so."""

    score: float
    source: ThresholdSource
