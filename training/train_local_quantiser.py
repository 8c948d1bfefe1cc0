"""Trains the centres of the local features (search/geometry/local_features.py) on pictures that are drawn here.

python -m training.train_local_quantiser [--pictures 1200] [--seed 4242] [-o FILE]

The same seed gives the same file: pictures, keypoints and k-means draw from it alone, on one thread. Three minutes.
"""

import argparse
import hashlib
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from indexer.procedural.pictures import procedural_images
from search.geometry.keypoints import Detail, extract
from search.geometry.local_features import CENTRES, DIMS, HALVES, PARTS, QUANTISER, Quantiser

KEYPOINTS = 400  # of a picture
ROWS = 120_000  # descriptors that the centres are fitted to
ROUNDS = 25


def main() -> None:
    """Parse the command line, train, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pictures", type=int, default=1200)
    parser.add_argument("--seed", type=int, default=4242)
    parser.add_argument("-o", "--output", type=Path, default=QUANTISER)
    options = parser.parse_args()
    faiss.omp_set_num_threads(1)
    data = trained(_descriptors(options.pictures, options.seed), options.seed).to_bytes()
    options.output.write_bytes(data)
    print(f"{options.output}: {len(data):,} bytes, sha256 {hashlib.sha256(data).hexdigest()}")


def trained(descriptors: NDArray[np.uint8], seed: int) -> Quantiser:
    """Return centres fitted to (N, 128) descriptors, rounded to the integers that are stored."""
    chosen = np.random.default_rng(seed).permutation(len(descriptors))[:ROWS]
    rows = descriptors[chosen].astype(np.float32)
    halves = np.split(rows, HALVES, axis=1)
    coarse = np.stack([np.clip(np.round(_centres(half, seed)), 0, 255) for half in halves]).astype(np.uint8)
    plain = Quantiser(coarse, np.zeros((PARTS, CENTRES, DIMS // PARTS), np.int8))
    cells = plain.encode(descriptors[chosen])[:, :HALVES]
    left = rows - np.concatenate([coarse[half][cells[:, half]] for half in range(HALVES)], axis=1)
    parts = [np.clip(np.round(_centres(part, seed)), -128, 127) for part in np.split(left, PARTS, axis=1)]
    return Quantiser(coarse, np.stack(parts).astype(np.int8))


def _centres(rows: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    rows = np.ascontiguousarray(rows)
    means = faiss.Kmeans(rows.shape[1], CENTRES, niter=ROUNDS, seed=seed, max_points_per_centroid=10**6)
    means.train(rows)
    return np.asarray(means.centroids, np.float32)


def _descriptors(pictures: int, seed: int) -> NDArray[np.uint8]:
    drawn = procedural_images(pictures, seed)
    return np.concatenate([extract(pixels, Detail(KEYPOINTS, 1)).descriptors for pixels in drawn])


if __name__ == "__main__":
    main()
