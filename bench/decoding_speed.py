"""Decoding and preparing 640x480 JPEGs against Pillow with timm's transform: one thread, interleaved in one run.

    python -m bench.decoding_speed [FOLDER] [--rounds 9] [--json FILE]

Both start from the bytes of a file in memory. The peer ends with a normalised float tensor, as the model card's loop
needs it; ours with the prepared uint8 frame, which the engine normalises. "with hashes" is ours with all that indexing
keeps of a picture beside its embedding: the hash of its pixels, the perceptual hash and the contrast. The last two rows
are the resize alone, of pixels that are decoded already.
"""

import argparse
import io
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from PIL import Image

from bench.indexing_speed import sample
from bench.photographs import photo_folder
from bench.reporting import heading, interleaved, ratios, shown, write
from indexer.backbones.timm_models import model_card, timm
from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.preparation import prepare
from indexer.decoding.resizing import prepare_with_torch

BACKBONE = "eca_nfnet_l0"
SIZE = (640, 480)
PICTURES = 24


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        files = jpegs(photo_folder(options.folder, lambda: sample(Path(scratch))))
    everything = paths() | resized_alone()
    results = interleaved({name: rate(path, files) for name, path in everything.items()}, options.rounds)
    print(heading(f"{len(files)} JPEGs of {SIZE[0]}x{SIZE[1]}, {options.rounds} rounds, medians (lowest - highest)"))
    peer = results["Pillow + timm"]
    for name, speeds in results.items():
        print(f"{name:24} {shown(speeds):>26} images/s   ratio {shown(ratios(speeds, peer), 2)}")
    write({"results": results}, options.json)


def resized_alone() -> dict[str, Callable[[bytes], object]]:
    """Return resizing of pixels that are decoded already, by Pillow and by torch."""
    card = model_card(BACKBONE).preparation
    pixels = np.random.default_rng(0).integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return {
        "Pillow's resize": lambda _: prepare(pixels, card),
        "torch's resize": lambda _: prepare_with_torch(pixels, card),
    }


def paths() -> dict[str, Callable[[bytes], object]]:
    card, limits = model_card(BACKBONE).preparation, DecodeLimits()
    transform = timm.data.create_transform(
        (3, card.height, card.width),
        interpolation=card.interpolation,
        crop_pct=card.crop_pct,
        mean=card.mean,
        std=card.std,
    )
    memory = np.empty(SIZE[0] * SIZE[1] * 3, np.uint8)
    return {
        "Pillow + timm": lambda data: transform(Image.open(io.BytesIO(data)).convert("RGB")),
        "ours": lambda data: prepare_with_torch(simplejpeg.decode_jpeg(data, buffer=memory), card),
        "ours, with hashes": lambda data: prepare_with_torch(decode(data, limits, card, memory).pixels, card),
    }


def rate(path: Callable[[bytes], object], files: list[bytes]) -> Callable[[], float]:
    def run() -> float:
        began = time.perf_counter()
        for data in files:
            path(data)
        return len(files) / (time.perf_counter() - began)

    return run


def jpegs(folder: Path) -> list[bytes]:
    found = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")][:PICTURES]
    files = []
    for path in found:
        with Image.open(path) as image, io.BytesIO() as file:
            image.convert("RGB").resize(SIZE, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
            files.append(file.getvalue())
    return files


if __name__ == "__main__":
    main()
