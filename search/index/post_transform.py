"""What an index does to embeddings before it compares them: centring, and whitening of their principal axes.

It belongs to a generation, not to a space: segments keep the raw embeddings, and scores are cosines of transformed
ones, so scores of two transforms cannot be compared. Whitening multiplies each principal axis by its variance to the
power of -.25 or -.5 (Gordo et al., "End-to-end learning of deep visual representations": `whitenp`), so that the few
axes on which all pictures vary do not drown the others. The variances are shrunk towards their mean first, by as much
as a sample of this size leaves them uncertain (Ledoit and Wolf, 2004).
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.errors import UsageError
from search.records import NO_TRANSFORM, TRANSFORMS, Embeddings, TransformKind

POWERS: Final[dict[str, float]] = {"whiten-0.25": 0.25, "whiten-0.5": 0.5}
# Principal axes kept by whitening: the product with every candidate's row is what a search pays for it.
MOST_AXES: Final = 512
# Of the mean variance of an axis: less is the rounding of stored numbers, which whitening would blow up.
NEGLIGIBLE: Final = 1e-4
# Of all axes together; rows of unit length have at most 1. Less, and they differ by rounding only.
LEAST_VARIANCE: Final = 1e-6
SAMPLE_ROWS: Final = 20_000  # that a transform is fitted to; fewer than twice the dims are never drawn
BLOCK_ROWS: Final = 1_024  # turned at once


@dataclass(frozen=True, eq=False)
class PostTransform:
    """From embeddings of a space to what an index compares. mean: (D,); matrix: (D, d), None where nothing is turned.

    rows: how many it was fitted to.
    """

    kind: TransformKind = NO_TRANSFORM
    mean: NDArray[np.float32] = field(default_factory=lambda: np.empty(0, np.float32))
    matrix: NDArray[np.float32] | None = None
    rows: int = 0

    @cached_property
    def fingerprint(self) -> str:
        """Return 64 hexadecimal digits that are equal exactly when scores are comparable (within one space)."""
        said = hashlib.sha256(f"{self.kind} {len(self.mean)}".encode())
        for part in (self.mean, self.matrix):
            if part is not None:
                said.update(np.ascontiguousarray(part, "<f4").tobytes())
        return said.hexdigest()

    @property
    def is_none(self) -> bool:
        """Whether embeddings are compared as they are stored."""
        return self.kind == NO_TRANSFORM

    def dims_of(self, dims: int) -> int:
        """Return how many dims embeddings of D dims have afterwards."""
        return dims if self.matrix is None else int(self.matrix.shape[1])

    def apply(self, embeddings: Embeddings) -> Embeddings:
        """Return (N, d) rows of unit length of (N, D) stored ones; equal rows give equal rows, however they come.

        A row of zeros, and one that lies at the mean, come back as zeros: they match nothing. Without a transform the
        very rows that were given.
        """
        return self.with_lengths(embeddings)[0]

    def with_lengths(self, embeddings: Embeddings) -> tuple[Embeddings, NDArray[np.float32]]:
        """Return what `apply` does, and the lengths that those rows had before they were given length 1: (N,)."""
        if self.is_none:
            return embeddings, np.ones(len(embeddings), np.float32)
        moved = embeddings - self.mean
        turned: Embeddings = moved if self.matrix is None else self._turned(moved)
        lengths = np.sqrt(np.einsum("nd,nd->n", turned, turned))
        empty = (lengths == 0) | ~embeddings.any(axis=1)
        turned[empty], lengths[empty] = 0.0, 0.0
        turned /= np.where(empty, np.float32(1), lengths)[:, np.newaxis]
        return turned, lengths

    def scores(self, query: Embeddings, stored: Embeddings, lengths: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the scores of stored rows with one query, (N,), without transforming the rows.

        The product of two transformed rows is that of one stored row with the other one turned back, so it costs what a
        plain cosine does. query: (1, d), transformed. stored: (N, D); lengths: theirs, by `with_lengths`.
        """
        back = query[0] if self.matrix is None else self._wide @ query[0].astype(np.float64)
        at_mean = float(self.mean.astype(np.float64) @ back)
        scores = np.zeros(len(stored), np.float32)
        for start in range(0, len(stored), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            products = np.einsum("nd,d->n", stored[part].astype(np.float64), back) - at_mean
            np.divide(products, lengths[part], out=scores[part], where=lengths[part] > 0, casting="same_kind")
        return scores

    def _turned(self, moved: Embeddings) -> Embeddings:
        """Return the product with the matrix, the same for equal rows.

        The last bits of a product depend on where a row lies in it. In float64 they are bits that float32 drops.
        """
        turned = np.empty((len(moved), self._wide.shape[1]), np.float32)
        for start in range(0, len(moved), BLOCK_ROWS):
            part = slice(start, start + BLOCK_ROWS)
            turned[part] = moved[part].astype(np.float64) @ self._wide
        return turned

    @cached_property
    def _wide(self) -> NDArray[np.float64]:
        return np.empty((0, 0)) if self.matrix is None else self.matrix.astype(np.float64)


NONE: Final = PostTransform()


def fit(kind: str, rows: Embeddings) -> PostTransform:
    """Return a transform of this kind for a collection, of a sample of its embeddings.

    rows: (N, D) float32 of unit length.

    Raises:
        UsageError: there is no such kind, whitening has fewer rows than dims, or the rows are all alike.
    """
    wanted = known_kind(kind)
    if wanted == NO_TRANSFORM:
        return NONE
    require_enough(kind, *rows.shape)
    mean = rows.mean(axis=0, dtype=np.float64).astype(np.float32)
    variance = sum(float(np.einsum("nd,nd->", part, part, dtype=np.float64)) for part in _moved(rows, mean)) / len(rows)
    if variance < LEAST_VARIANCE:
        raise UsageError(
            f"the {len(rows)} embeddings are all alike, so {kind} has nothing to go by; use `--transform none`"
        )
    matrix = _whitening(rows, mean, POWERS[kind]) if kind in POWERS else None
    return PostTransform(wanted, mean, matrix, len(rows))


def known_kind(kind: str) -> TransformKind:
    """Return the transform of this name.

    Raises:
        UsageError: there is none.
    """
    for known in TRANSFORMS:
        if known == kind:
            return known
    raise UsageError(f"there is no transform {kind!r}; choose {', '.join(TRANSFORMS)}")


def require_enough(kind: str, rows: int, dims: int) -> None:
    """Raises:
    UsageError: so many rows of so many dims say too little for this transform.
    """
    if kind in POWERS and rows < dims:
        raise UsageError(
            f"{kind} needs at least as many images as dims, {dims:,}, and there are {rows:,}: index more images, or "
            "use `--transform centre`"
        )
    if kind != NO_TRANSFORM and rows <= 1:
        raise UsageError(f"{kind} needs at least 2 images, and there are {rows}: index more, or use `--transform none`")


def sample_rows(dims: int) -> int:
    """Return how many rows a transform of so many dims is fitted to, at most."""
    return max(SAMPLE_ROWS, 2 * dims)


def shrinkage(covariance: NDArray[np.float64], fourth_moment: float, rows: int) -> float:
    """Return how far the covariance of a sample belongs towards a multiple of the identity, 0 to 1.

    covariance: (D, D) of the sample, divided by its rows. fourth_moment: the mean of |row - mean| ** 4.
    """
    squared = float((covariance**2).sum())
    spread = squared - float(np.trace(covariance)) ** 2 / len(covariance)
    uncertainty = (fourth_moment - squared) / rows
    return float(np.clip(uncertainty / spread, 0.0, 1.0)) if spread > 0 else 1.0


def _whitening(rows: Embeddings, mean: NDArray[np.float32], power: float) -> NDArray[np.float32]:
    """Return the principal axes of most variance, (D, d), each times its shrunk variance to the power of -`power`."""
    covariance = np.zeros((len(mean), len(mean)))
    fourth_moment = 0.0
    for part in _moved(rows, mean):
        covariance += part.T @ part
        fourth_moment += float((np.einsum("nd,nd->n", part, part, dtype=np.float64) ** 2).sum())
    covariance /= len(rows)
    weight = shrinkage(covariance, fourth_moment / len(rows), len(rows))
    ascending, axes = np.linalg.eigh(covariance)
    kept = np.flatnonzero(ascending >= NEGLIGIBLE * ascending.mean())[::-1][:MOST_AXES]
    variances = (1 - weight) * ascending[kept] + weight * ascending.mean()
    return np.ascontiguousarray(axes[:, kept] * variances**-power, np.float32)


def _moved(rows: Embeddings, mean: NDArray[np.float32]) -> Iterator[Embeddings]:
    """Yield all rows minus the mean, a few thousand at a time."""
    for start in range(0, len(rows), 4_096):
        yield rows[start : start + 4_096] - mean
