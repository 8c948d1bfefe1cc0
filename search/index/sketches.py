"""Short rows whose products are never below the cosine they stand for: what all pairs are compared by first.

A row a of D numbers becomes a sketch of h + 1: its head, the product with h axes H, and the length of what the axes do
not hold, t(a) = sqrt(|a|^2 - |a H|^2). For any axes whose largest singular value is at most 1, M = I - H H' has no
negative eigenvalue, so by the inequality of Cauchy and Schwarz

    a.b = (a H).(b H) + a M b'  <=  (a H).(b H) + sqrt(a M a') sqrt(b M b')  =  sketch(a) . sketch(b).

Whatever scores at least a threshold therefore has a product of sketches of at least the threshold: all that has less
is left out without a look at the rows. Nothing is assumed of the axes; good ones, the principal axes of a sample, only
leave out more. Three roundings are accounted for:

- the head is computed in float32: by at most e = sqrt(h) D 2^-24 from what it should be, so t is made of
  |a|^2 - |head|^2 + 2 e + D 2^-23, which is never too small, and the product of two heads errs by at most 2 e + e^2;
- sketches are rounded to float16, by at most r = 2^-11 of their length and 2^-25 for each number below the least
  normal one: 2 r + r^2;
- the product itself is added in float32.

`Sketch.margin` is their sum: a pair counts as near when the product of its sketches is at least threshold - margin.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from search.records import Embeddings

Sketches = NDArray[np.float32]

SAMPLE_ROWS: Final = 1_024  # axes are fitted to, and chosen by
HEADS: Final = (63, 127, 255)
PASSES: Final = 3  # of the power iteration: axes need be good, not perfect
SPARE_AXES: Final = 16
NEGLIGIBLE: Final = 1e-11  # of the largest product of columns: less is rounding
PART_ROWS: Final = 4_096
# Costs of a pair against one multiplication of a product of matrices: to look at its bound, and to score it for each
# of its dims (rows are fetched from memory). Measured on two cores with AVX-512, 2026-11-23.
LOOK: Final = 20.0
SCORE: Final = 16.0


@dataclass(frozen=True, eq=False)
class Sketch:
    """From rows to sketches. axes: (D, h) float32 with no singular value above 1; None: a sketch is the row itself."""

    dims: int
    axes: NDArray[np.float32] | None

    @property
    def width(self) -> int:
        """Numbers of a sketch."""
        return self.dims if self.axes is None else self.axes.shape[1] + 1

    @cached_property
    def margin(self) -> float:
        """Return how far the product of two sketches can be below the cosine of their rows, at most."""
        head = self._head_error
        # Lengths are 1 and a little more: the tail is rounded upwards.
        length = 1 + 2 * head + self.dims * 2.0**-22
        rounding = length * 2.0**-11 + math.sqrt(self.width) * 2.0**-25
        products = (self.width + 8) * 2.0**-24 * length**2
        return 2 * head + head**2 + 2 * rounding * length + rounding**2 + products + self.dims * 2.0**-24

    @property
    def _head_error(self) -> float:
        return 0.0 if self.axes is None else math.sqrt(self.axes.shape[1]) * self.dims * 2.0**-24

    def of(self, rows: Embeddings) -> NDArray[np.float16]:
        """Return the sketches of (N, D) float32 rows, of unit length or all zeros: (N, width) float16."""
        out = np.empty((len(rows), self.width), np.float16)
        if self.axes is None:
            out[:] = rows
            return out
        # What the head may have too much, and what the sums of squares may have too little.
        allowance = np.float32(2 * self._head_error + self.dims * 2.0**-23)
        for start in range(0, len(rows), PART_ROWS):
            part = rows[start : start + PART_ROWS]
            heads = part @ self.axes
            tails = np.einsum("nd,nd->n", part, part) - np.einsum("nh,nh->n", heads, heads) + allowance
            out[start : start + PART_ROWS, :-1] = heads
            out[start : start + PART_ROWS, -1] = np.sqrt(np.maximum(tails, 0))
        return out


def fit(sample: Embeddings, threshold: float) -> Sketch:
    """Return the sketch that makes comparing cheapest, judging by a sample.

    sample: (n, D) float32 rows of unit length, drawn at random; a few hundred are enough.
    """
    dims = sample.shape[1]
    best, least = Sketch(dims, None), float(dims) + LOOK
    for head in HEADS:
        if 2 * head >= dims or head + SPARE_AXES >= len(sample):
            break
        sketch = Sketch(dims, _shrunk(_principal_axes(sample, head)))
        scoring = SCORE * dims * _share_let_through(sketch, sample, threshold)
        if head + LOOK + scoring < least:
            best, least = sketch, head + LOOK + scoring
        if scoring < head:
            break  # what more axes cost is more than what they could save
    return best


def drawn(rows: int, count: int = SAMPLE_ROWS) -> NDArray[np.int64]:
    """Return the numbers of a sample of so many rows, ascending: always the same."""
    random = np.random.default_rng(0)
    return np.sort(random.choice(rows, min(rows, count), replace=False)).astype(np.int64)


def _share_let_through(sketch: Sketch, sample: Embeddings, threshold: float) -> float:
    sketches = sketch.of(sample).astype(np.float32)
    near = int(np.count_nonzero(sketches @ sketches.T >= threshold - sketch.margin)) - len(sample)
    return max(0.0, near / max(1, len(sample) * (len(sample) - 1)))


def _principal_axes(sample: Embeddings, count: int) -> NDArray[np.float32]:
    """Return about the first principal axes of rows that are not centred, by subspace iteration: (D, count)."""
    random = np.random.default_rng(0)
    turned = random.standard_normal((sample.shape[1], count + SPARE_AXES)).astype(np.float32)
    for _ in range(PASSES):
        turned = _orthonormal(sample.T @ (sample @ turned))
    inside = sample @ turned
    axes: NDArray[np.float32] = turned @ np.linalg.eigh(inside.T @ inside)[1][:, ::-1][:, :count]
    return axes


def _orthonormal(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return columns that span the same, orthonormal but for those that hold next to nothing, which are zeros.

    By the eigenvectors of their products, which takes a hundredth of the time of a QR on two busy cores.
    """
    wide = columns.astype(np.float64)
    values, turn = np.linalg.eigh(wide.T @ wide)
    scales = np.where(values > NEGLIGIBLE * values[-1], 1 / np.sqrt(np.maximum(values, 1e-300)), 0.0)
    return np.asarray((wide @ turn) * scales, np.float32)


def _shrunk(axes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return axes without a singular value above 1, whatever rounding left of their being orthogonal."""
    wide = np.ascontiguousarray(axes, np.float64)
    largest = float(np.linalg.eigvalsh(wide.T @ wide)[-1])
    # Rounding to float32 moves each number by 2^-24 of itself: no singular value by more than sqrt(h) 2^-24.
    shrink = 1 / (math.sqrt(max(largest, 1.0)) * (1 + math.sqrt(wide.shape[1]) * 2.0**-23))
    return np.ascontiguousarray(wide * shrink, np.float32)


def in_parts(rows: int, part: int = PART_ROWS) -> Iterator[slice]:
    """Yield slices that cover so many rows."""
    for start in range(0, rows, part):
        yield slice(start, min(start + part, rows))
