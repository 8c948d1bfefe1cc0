"""What a bench found, as values: one row for each method and mode, everything that the printed forms show."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

from indexer.quality.edits import EDITS, EditKind
from indexer.quality.imagededup_protocol import PUBLISHED
from search.calibration.answers import Estimate, Figures
from search.calibration.metrics import PrecisionRecall
from search.calibration.transform_tuning import TransformTable

WeightsLabel = Literal["built-in", "pretrained", "random", "hash"]
ALL, SEEN, UNSEEN = "all", "seen kinds", "unseen kinds"
EDIT_GROUP = "edit: "  # before the name of a kind, as a group of figures
ACCURATE = "accurate"  # the mode of searches that look at the pixels
STRICT = 0.99  # the precision of the gates, and of automatic decisions


@dataclass(frozen=True, slots=True)
class IdenticalFigures:
    """The relation `identical`.

    copies: queries that are copies bit by bit, of which `found` were found. called: pairs, of which `truly` are.
    """

    copies: int
    called: int
    truly: int
    found: int

    @property
    def precision(self) -> float:
        """The share of the pairs called identical that are; 1 where none was."""
        return self.truly / self.called if self.called else 1.0

    @property
    def recall(self) -> float:
        """The share of the copies that were called identical; 1 where there are none."""
        return self.found / self.copies if self.copies else 1.0

    def as_json(self) -> dict[str, object]:
        """Return the figures as they are printed with --json."""
        return {
            "copies": self.copies,
            "called": self.called,
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
        }


@dataclass(frozen=True, slots=True)
class Mistake:
    """An answer worth looking at. Files are the bench's. true: None where no reference is right.

    true_score: None where the right reference was not found. photograph: what the right one is called where it comes
    from, empty where none is right.
    """

    kind: str
    query: str
    found: str
    found_score: float
    true: str | None = None
    true_score: float | None = None
    photograph: str = ""

    def as_json(self) -> dict[str, object]:
        """Return the mistake as it is printed with --json."""
        return {
            "kind": self.kind,
            "query": self.query,
            "found": self.found,
            "score": round(self.found_score, 4),
            "true": self.true,
            "photograph": self.photograph,
            "true_score": None if self.true_score is None else round(self.true_score, 4),
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One method in one mode. hard_called: share of the hard negatives that reach the strict threshold.

    curves: of all edits and of each stratum. identical: None of a method that does not tell. ms: median of a query.
    """

    method: str
    weights: WeightsLabel
    mode: str
    figures: Figures
    curves: Mapping[str, PrecisionRecall]
    hard_called: Estimate | None
    identical: IdenticalFigures | None
    protocol: Estimate | None
    misses: Sequence[Mistake]
    false_alarms: Sequence[Mistake]
    ms: float

    @property
    def title(self) -> str:
        """The method with its mode, where it has one."""
        return f"{self.method} {self.mode}".strip()

    @property
    def is_accurate(self) -> bool:
        """Whether what was verified counts more than any score, as `VERIFIED` of store_modes.py says."""
        return self.mode == ACCURATE

    def as_json(self) -> dict[str, object]:
        """Return the row as it is printed with --json."""
        groups = {name: group.as_json() for name, group in self.figures.groups.items()}
        return {
            "method": self.method,
            "weights": self.weights,
            "mode": self.mode,
            "thresholds": {f"p{precision:.2f}": limit for precision, limit in self.figures.thresholds.items()},
            "groups": {name: shape for name, shape in groups.items() if not name.startswith(EDIT_GROUP)},
            "edits": {
                name.removeprefix(EDIT_GROUP): shape for name, shape in groups.items() if name.startswith(EDIT_GROUP)
            },
            "hard_negatives_called_same": None if self.hard_called is None else self.hard_called.as_json(),
            "identical": None if self.identical is None else self.identical.as_json(),
            "imagededup_protocol": None if self.protocol is None else {"recall@p0.99": self.protocol.as_json()},
            "misses": [miss.as_json() for miss in self.misses],
            "false_alarms": [alarm.as_json() for alarm in self.false_alarms],
            "milliseconds": round(self.ms, 2),
        }


@dataclass(frozen=True, slots=True)
class TunedBackbone:
    """What each transform finds with the embeddings of one backbone. dims: of those."""

    method: str
    weights: WeightsLabel
    dims: int
    table: TransformTable

    @property
    def command(self) -> str | None:
        """What gives a collection the winner, None where no transform could be tried."""
        return None if self.table.winner is None else f"lookalike rebuild --transform {self.table.winner}"

    def as_json(self) -> dict[str, object]:
        """Return the entry of a backbone as it is printed with --json."""
        about: dict[str, object] = {"method": self.method, "weights": self.weights, "dims": self.dims}
        return about | self.table.as_json() | {"command": self.command}


@dataclass(frozen=True, slots=True)
class Tuning:
    """One run of `quality --tune`.

    photographs: searched for; queries: their edits and those of photographs that are not there; references: in all.
    kinds: of edits, none of them an unseen one.
    """

    photographs: int
    queries: int
    references: int
    kinds: int
    backbones: Sequence[TunedBackbone]

    def as_json(self) -> dict[str, object]:
        """Return `tuning` of a --json call."""
        return {
            "photographs": self.photographs,
            "queries": self.queries,
            "references": self.references,
            "kinds": self.kinds,
            "backbones": [backbone.as_json() for backbone in self.backbones],
        }


@dataclass(frozen=True, slots=True)
class QualityReport:
    """Everything about one run. left_out: files that could not serve, by reason. remarks: what was not measured.

    tuning: None where nobody asked for it.
    """

    photographs: str
    seed: int
    counts: Mapping[str, int]
    left_out: Mapping[str, int]
    kinds: Sequence[EditKind]
    rows: Sequence[Row]
    remarks: Sequence[str]
    tuning: Tuning | None = None

    def as_json(self) -> dict[str, object]:
        """Return the one object of a --json call."""
        return {
            "photographs": self.photographs,
            "seed": self.seed,
            "counts": dict(self.counts),
            "left_out": dict(self.left_out),
            "unseen_edits": [edit.name for edit in EDITS if edit.unseen],
            "rows": [row.as_json() for row in self.rows],
            "published": {"imagededup_protocol": asdict(PUBLISHED)},
            "tuning": None if self.tuning is None else self.tuning.as_json(),
            "remarks": list(self.remarks),
        }
