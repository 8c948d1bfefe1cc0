"""Real embeddings in any number: pieces of photographs, each edited at random, by the built-in backbone.

Half of the pieces are crops of 30 % of a photograph or more, half are whole; each gets one of the edits that
training/edits.py makes. So neighbours are what they are in a collection full of copies: many near, in tight groups.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.backbones.builtin import load_builtin
from indexer.quality.painting import cropped
from search.records import Embeddings
from training.edits import Edit, all_edits
from training.evaluate_builtin import embed
from training.evaluation_set import model_input

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
LARGEST = 640  # pixels of the longer side, from which pieces are cut
BATCH = 500


def photo_rows(folder: Path, count: int, seed: int = 0) -> Iterator[tuple[Embeddings, NDArray[np.int32]]]:
    """Yield (embeddings, photograph of each row) in batches, `count` in all: (n, 256) float32 of unit length, (n,).

    Raises:
        SystemExit: the folder holds no pictures.
    """
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    if not paths:
        raise SystemExit(f"{folder} holds no {', '.join(SUFFIXES)}")
    random = np.random.default_rng(seed)
    photos = [_opened(path) for path in paths]
    edits = all_edits(photos[:8])
    network = load_builtin()
    for start in range(0, count, BATCH):
        numbers = random.integers(0, len(photos), min(BATCH, count - start)).astype(np.int32)
        pixels = np.stack([model_input(_piece(photos[number], edits, random)) for number in numbers.tolist()])
        yield embed(network, pixels), numbers
        print(f"\r{start + len(numbers)} of {count} pieces embedded", end="", file=sys.stderr, flush=True)


def _opened(path: Path) -> Image.Image:
    with Image.open(path) as picture:
        picture.thumbnail((LARGEST, LARGEST))
        return picture.convert("RGB")


def _piece(photo: Image.Image, edits: tuple[Edit, ...], random: np.random.Generator) -> Image.Image:
    piece = cropped(photo, random.uniform(0.3, 1.0), random) if random.random() < 1 / 2 else photo
    return edits[random.integers(len(edits))].apply(piece, random)
