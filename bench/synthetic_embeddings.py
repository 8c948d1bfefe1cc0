"""Embeddings as a backbone makes them, without a backbone: clustered, non-negative before scaling, with near copies.

A mixture of clusters in 48 latent dims (power-law sizes, Student-t tails) goes through a fixed random two-layer ReLU
network to the dims of the backbone, gets noise and unit length. A tenth of the rows are near copies (cosine .9 to .99)
of earlier ones. The same seed gives the same rows. Cosines of two rows at random: median .49, 99th percentile .63; 256
principal axes hold 83 % of the variance. What it gives is no substitute for real embeddings: ratios carry
over, absolute recall need not.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from search.records import ContentFacts, Embeddings, Label
from search.storing.image_rows import NewImage

LATENT_DIMS = 64
HIDDEN_DIMS = 512
CLUSTERS = 3_000
CLUSTER_SPREAD = 0.45
NOISE = 0.1
COPIES = 0.1
BLOCK_ROWS = 20_000


@dataclass(frozen=True)
class Synthetic:
    """A source of rows of `dims` numbers. Everything follows from the seed."""

    dims: int = 2048
    seed: int = 0
    clusters: int = CLUSTERS
    _parts: dict[str, NDArray[np.float32]] = field(default_factory=dict, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        random = np.random.default_rng(self.seed)
        normal = random.standard_normal
        self._parts["centres"] = normal((self.clusters, LATENT_DIMS), np.float32)
        self._parts["first"] = normal((LATENT_DIMS, HIDDEN_DIMS), np.float32) / np.float32(LATENT_DIMS**0.5)
        self._parts["second"] = normal((HIDDEN_DIMS, self.dims), np.float32) / np.float32(HIDDEN_DIMS**0.5)
        sizes = np.arange(1, self.clusters + 1, dtype=np.float64) ** -0.7
        self._parts["shares"] = (sizes / sizes.sum()).astype(np.float32)

    def blocks(self, rows: int) -> Iterator[tuple[Embeddings, NDArray[np.int32]]]:
        """Yield (embeddings, cluster of each row) in blocks, `rows` in all: (n, dims) float32 of unit length, (n,)."""
        for number, start in enumerate(range(0, rows, BLOCK_ROWS)):
            yield self._block(number, min(BLOCK_ROWS, rows - start))

    def queries(self, count: int, rows: Embeddings) -> Embeddings:
        """Return (count, dims) queries that are no rows: half new pictures, half edits (cosine .85 to .99) of rows."""
        random = np.random.default_rng([self.seed, 1])
        new, _ = self._block(1_000_003, count - count // 2)
        edited = rows[random.choice(len(rows), count // 2, replace=False)]
        return np.concatenate([new, self._near(random, edited, 0.85, 0.99)])

    def _block(self, number: int, count: int) -> tuple[Embeddings, NDArray[np.int32]]:
        random = np.random.default_rng([self.seed, 0, number])
        shares = self._parts["shares"].astype(np.float64)
        cluster = random.choice(self.clusters, count, p=shares / shares.sum()).astype(np.int32)
        tails = random.standard_t(4, (count, LATENT_DIMS)).astype(np.float32)
        latent = self._parts["centres"][cluster] + np.float32(CLUSTER_SPREAD) * tails
        hidden = np.maximum(latent @ self._parts["first"], 0)
        rows = np.maximum(hidden @ self._parts["second"], 0)
        noise = random.standard_normal(rows.shape, np.float32)
        rows += np.float32(NOISE) * np.linalg.norm(rows, axis=1, keepdims=True) / np.float32(self.dims**0.5) * noise
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        copies = max(0, int(count * COPIES))
        if copies and count > 2 * copies:
            rows[-copies:] = self._near(random, rows[:copies], 0.9, 0.99)
            cluster[-copies:] = cluster[:copies]
        return rows, cluster

    def _near(self, random: np.random.Generator, rows: Embeddings, low: float, high: float) -> Embeddings:
        """Return rows at cosines between low and high of the given ones."""
        cosines = random.uniform(low, high, (len(rows), 1)).astype(np.float32)
        away = random.standard_normal(rows.shape, np.float32)
        away -= (away * rows).sum(axis=1, keepdims=True) * rows
        away /= np.linalg.norm(away, axis=1, keepdims=True)
        near = cosines * rows + np.sqrt(1 - cosines**2) * away
        return near.astype(np.float32, copy=False)


class Pictures:
    """The images the rows belong to, with something to filter by, each share of them by each kind of condition.

    Folders and labels go by cluster, so that they run with a query or against it: folder 000 to 999 by the share of all
    rows before a cluster, and of the labels `half`, `tenth`, `hundredth`, `thousandth` those that a cluster's draw is
    below. Dates and widths are drawn for each picture: 1,000 days from 2020 on, 1 to 1,000 pixels.
    """

    SHARES = (("half", 0.5), ("tenth", 0.1), ("hundredth", 0.01), ("thousandth", 0.001))
    START = datetime(2020, 1, 1)  # noqa: DTZ001 -- cameras know no zone

    def __init__(self, clusters: NDArray[np.int32]) -> None:
        """clusters: of each row, (N,)."""
        random = np.random.default_rng(7)
        counts = np.bincount(clusters)
        before = np.cumsum(counts) - counts
        self.folders = (1000 * before[clusters] // len(clusters)).astype(np.int64)
        self.draws = _draws(random, counts)[clusters]
        self.days = random.uniform(0, 1000, len(clusters))
        self.widths = random.integers(1, 1001, len(clusters))

    def image(self, number: int) -> NewImage:
        """Return the image of a row."""
        sha256 = hashlib.sha256(str(number).encode()).digest()
        taken_at = (self.START + timedelta(days=float(self.days[number]))).isoformat(timespec="seconds")
        facts = ContentFacts(sha256, 1000, "jpeg", int(self.widths[number]), 480, sha256[:16], sha256, 50.0, taken_at)
        uri = f"file:///photos/{self.folders[number]:03}/{number:08}.jpg"
        labels = tuple(Label(name, 0.5) for name, share in self.SHARES if self.draws[number] < share)
        return NewImage(uri, uri, 1000, 1, facts, labels=labels or None)


def _draws(random: np.random.Generator, counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return for each cluster the share of all rows in the clusters drawn before it."""
    order = random.permutation(len(counts))
    before = np.cumsum(counts[order]) - counts[order]
    draws = np.empty(len(counts))
    draws[order] = before / counts.sum()
    return draws
