"""The figures of docs/builtin.md that need no evaluation set: cost of the network, and what simple copies score.

    python -m bench.builtin_backbone [FOLDER] [--json FILE]

Cost: milliseconds a picture on one thread, without decoding, medians of the rounds. Scores: over a folder of
photographs that are all different, how many pairs reach each threshold, and how many simple copies of each photograph
do (JPEG at quality 60, half size, a crop of 90 % of the area at a seeded place). A folder that holds copies would
count them as false pairs. Without a FOLDER only the cost is measured.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from bench.photographs import found_photographs
from bench.reporting import machine
from indexer.backbones.backbones import BUILTIN_PREPARATION, load_backbone
from indexer.backbones.prepared_backbone import PreparedBackbone
from indexer.decoding.preparation import prepare
from indexer.quality.painting import cropped, recompressed, resized
from search.records import Embeddings

BATCHES = (1, 16, 32, 64)
ROUNDS = 15
THRESHOLDS = (0.65, 0.70, 0.708, 0.75, 0.80, 0.85, 0.90, 0.95)
SEED = 20261122


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="photographs that are all different")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    backbone = load_backbone("builtin", device="cpu")
    report: dict[str, object] = {"machine": machine(), "cost_ms": cost(backbone)}
    print(f"{report['machine']}; one thread, ms a picture by batch size: {report['cost_ms']}")
    folder = found_photographs(options.folder)
    if folder is not None:
        report["copies"] = scores(backbone, folder)
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")


def cost(backbone: PreparedBackbone) -> dict[int, float]:
    rng = np.random.default_rng(SEED)
    found = {}
    for size in BATCHES:
        pixels = rng.integers(0, 256, (size, BUILTIN_PREPARATION.height, BUILTIN_PREPARATION.width, 3), np.uint8)
        backbone.embed(pixels)
        rounds = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            backbone.embed(pixels)
            rounds.append(1000 * (time.perf_counter() - began) / size)
        found[size] = round(median(rounds), 2)
    return found


def scores(backbone: PreparedBackbone, folder: Path) -> list[dict[str, float]]:
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photos = [Image.open(path).convert("RGB") for path in paths]
    originals = embedded(backbone, photos)
    pairs = (originals @ originals.T)[np.triu_indices(len(photos), 1)]
    rng = np.random.default_rng(SEED)
    edits: dict[str, Callable[[Image.Image], Image.Image]] = {
        "jpeg_q60": lambda photo: recompressed(photo, 60),
        "half_size": lambda photo: resized(photo, 0.5),
        "crop_90": lambda photo: cropped(photo, 0.9, rng),
    }
    copies = {
        name: np.sum(originals * embedded(backbone, [edit(photo) for photo in photos]), axis=1)
        for name, edit in edits.items()
    }
    spread = f"mean {pairs.mean():.3f}, sd {pairs.std():.3f}, highest {pairs.max():.3f}"
    print(f"{len(photos)} photographs, {len(pairs)} pairs: {spread}")
    rows = []
    for threshold in THRESHOLDS:
        row = {"threshold": threshold, "false_pairs": float((pairs >= threshold).sum())}
        row |= {name: float((cosines >= threshold).mean()) for name, cosines in copies.items()}
        rows.append(row)
        print("  ".join(f"{name} {value:.3f}" for name, value in row.items()))
    return rows


def embedded(backbone: PreparedBackbone, photos: list[Image.Image]) -> Embeddings:
    pixels = [prepare(np.asarray(photo), BUILTIN_PREPARATION) for photo in photos]
    return np.concatenate([backbone.embed(np.stack(pixels[at : at + 32])) for at in range(0, len(pixels), 32)])


if __name__ == "__main__":
    main()
