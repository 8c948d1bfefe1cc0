"""Fewer numbers, one byte each: what the approximate index compares.

Rows of unit length are centred, turned onto their principal axes, of which the first 256 are kept, and rounded to whole
numbers 0 to 255 with one step for all axes, so that distances of codes are distances of rows times a constant.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import faiss
import numpy as np
from numpy.typing import NDArray

from search.records import Embeddings

Codes = NDArray[np.float32]  # whole numbers 0 to 255; FAISS takes float32 and stores bytes

AXES: Final = 256
MULTIPLE: Final = 16  # of dims that FAISS compares as bytes
# The share of numbers beyond the range of a byte at each end: clipped, for a finer step for all others.
CLIPPED: Final = 1e-5


@dataclass(frozen=True)
class Projection:
    """From rows to codes. mean: (D,); axes: (D, A); a code is round((row - mean) @ axes - low) * scale)."""

    mean: NDArray[np.float32]
    axes: NDArray[np.float32]
    low: float
    scale: float

    @classmethod
    def fit(cls, parts: Iterable[Embeddings], most_axes: int = AXES) -> "Projection":
        """Return the projection that keeps most of the variance of a sample, on at most so many axes.

        parts: (n, D) float32 each, together at least one row; only one of them is in memory at a time, besides D * D
        numbers. They are gone through once.
        """
        mean, covariance, last = _moments(parts)
        dims = len(mean)
        kept = min(most_axes, dims)
        axes = np.zeros((dims, -(-kept // MULTIPLE) * MULTIPLE), np.float32)
        # Ascending eigenvalues: the last vectors are the axes of most variance.
        axes[:, :kept] = np.linalg.eigh(covariance)[1][:, ::-1][:, :kept]
        mean32 = mean.astype(np.float32)
        low, high = np.quantile((last - mean32) @ axes[:, :kept], (CLIPPED, 1 - CLIPPED))
        return cls(mean32, axes, float(low), 255.0 / max(float(high - low), 1e-6))

    @property
    def dims(self) -> int:
        """Numbers per code."""
        return int(self.axes.shape[1])

    def codes(self, rows: Embeddings) -> Codes:
        """Return the codes of (N, D) float32 rows of unit length: (N, A) float32 of whole numbers 0 to 255."""
        moved = rows - self.mean
        projected: Codes = self._turned(moved) if len(rows) == 1 else np.matmul(moved, self.axes, dtype=np.float32)
        projected -= np.float32(self.low)
        projected *= np.float32(self.scale)
        np.rint(projected, out=projected)
        return projected.clip(0, 255, out=projected)

    def _turned(self, moved: Embeddings) -> Codes:
        """Return the product of one row with the axes, on this thread.

        NumPy's would wait for other threads to help, which costs a query more than the product where they are busy.
        """
        product = np.empty((1, self.dims), np.float32)
        dims, axes = self.axes.shape
        moved = np.ascontiguousarray(moved, np.float32)
        pointers = (faiss.swig_ptr(product), faiss.swig_ptr(moved), faiss.swig_ptr(self._across))
        faiss.fvec_inner_products_ny(*pointers, dims, axes)  # type: ignore[attr-defined]
        return product

    @cached_property
    def _across(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(self.axes.T)


def _moments(parts: Iterable[Embeddings]) -> tuple[NDArray[np.float64], NDArray[np.float64], Embeddings]:
    """Return mean (D,) and covariance (D, D) of all parts, and the last part."""
    count, total, products = 0, None, None
    part = None
    for part in parts:
        # Shifted by the first part's mean, so that float32 products lose nothing to a common offset.
        if total is None or products is None:
            shift = part.mean(axis=0)
            total = np.zeros(part.shape[1])
            products = np.zeros((part.shape[1], part.shape[1]))
        moved = part - shift
        total += moved.sum(axis=0, dtype=np.float64)
        products += moved.T @ moved
        count += len(part)
    if total is None or products is None or part is None:
        raise ValueError("no rows to fit a projection to")
    mean = total / count
    return shift + mean, products / count - np.outer(mean, mean), part
