"""What a classifier takes for what: the confusion matrix, and what follows from it class by class. Knows no torch."""

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class ClassReport:
    """How well one class is recognised. pictures: of this class. Shares are 0 where there is nothing to divide."""

    name: str
    pictures: int
    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Mistake:
    """Pictures of one class that were taken for another."""

    actual: str
    predicted: str
    pictures: int


@dataclass(frozen=True, slots=True)
class Confusion:
    """counts[a, p]: pictures of class a that were taken for class p. classes: names in this order."""

    classes: tuple[str, ...]
    counts: NDArray[np.int64]

    @classmethod
    def of(cls, classes: Sequence[str], actual: NDArray[np.int64], predicted: NDArray[np.int64]) -> "Confusion":
        """Return the matrix of (N,) true and (N,) predicted labels."""
        counts = np.zeros((len(classes), len(classes)), np.int64)
        np.add.at(counts, (actual, predicted), 1)
        return cls(tuple(classes), counts)

    @property
    def accuracy(self) -> float:
        """The share of pictures whose class was recognised."""
        return _share(int(np.trace(self.counts)), int(self.counts.sum()))

    def by_class(self) -> list[ClassReport]:
        """Return precision, recall and F1 of every class, in the order of classes."""
        reports = []
        for label, name in enumerate(self.classes):
            right = int(self.counts[label, label])
            actual, predicted = int(self.counts[label].sum()), int(self.counts[:, label].sum())
            f1 = _share(2 * right, actual + predicted)
            reports.append(ClassReport(name, actual, _share(right, predicted), _share(right, actual), f1))
        return reports

    def mistakes(self, limit: int) -> list[Mistake]:
        """Return the most frequent mistakes, worst first, ties by class order."""
        wrong = self.counts * ~np.eye(len(self.classes), dtype=bool)
        order = np.argsort(-wrong, axis=None, kind="stable")[:limit]
        pairs = (divmod(int(place), len(self.classes)) for place in order)
        return [
            Mistake(self.classes[actual], self.classes[predicted], int(wrong[actual, predicted]))
            for actual, predicted in pairs
            if wrong[actual, predicted]
        ]

    def as_json(self) -> dict[str, Any]:
        """Return all of it as JSON holds it."""
        return {
            "accuracy": self.accuracy,
            "classes": [asdict(report) for report in self.by_class()],
            "matrix": self.counts.tolist(),
        }

    def as_csv(self) -> str:
        """Return the matrix as CSV: a row per true class, a column per predicted one."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["actual \\ predicted", *self.classes])
        for name, row in zip(self.classes, self.counts.tolist(), strict=True):
            writer.writerow([name, *row])
        return text.getvalue()


def _share(part: int, whole: int) -> float:
    return part / whole if whole else 0.0
