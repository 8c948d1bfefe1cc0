"""End-to-end images/s of `lookalike index` against the loop of timm's model cards, interleaved in one run.

    python -m bench.indexing_speed [FOLDER] [--files 4000] [--rounds 3] [--backbone NAME] [--json FILE]

FOLDER's pictures are repeated to as many files as asked for, each with a comment of its own, so that no two have the
same content. The peer is what a model card shows, fed by a torch DataLoader with as many worker processes as ours has
decoding children: Pillow, timm's own transform, batches of 16, torch.no_grad; it writes one .npy at the end. Ours is
the whole program in its own process: walk, hash, decode, embed, commit, publish. Both start from the files and both are
timed inside, after the imports and the loading of the weights, because a small collection would otherwise measure
imports. The weights are seeded, perturbed and read from a file: speed does not depend on their values.

For `builtin` the rates d of decoding alone and e of embedding alone are measured in the same rounds: a program that
did nothing else on these cores would index 1 / (1/d + 1/e) images/s.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np

from bench.photographs import photo_folder
from bench.reporting import heading, interleaved, ratios, shown, write

BACKBONES = ("eca_nfnet_l0", "builtin")
SUFFIXES = (".jpg", ".jpeg")
DECODED_FILES = 1_000  # for the rate of decoding alone
EMBEDDED_BATCHES = 20

LOOP = """
import os, sys, time
from pathlib import Path
import numpy as np, torch
from PIL import Image
folder, weights, out = sys.argv[1:4]
{setup}
paths = [path for path in sorted(Path(folder).rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg")]
class Pictures(torch.utils.data.Dataset):
    def __len__(self):
        return len(paths)
    def __getitem__(self, number):
        return transform(Image.open(paths[number]).convert("RGB"))
began = time.perf_counter()
loader = torch.utils.data.DataLoader(Pictures(), batch_size=16, num_workers=os.cpu_count())
with torch.no_grad():
    rows = [model(batch).numpy() for batch in loader]
np.save(out, np.concatenate(rows))
print(len(paths) / (time.perf_counter() - began))
"""

SETUPS = {
    "eca_nfnet_l0": """
from indexer.backbones.timm_models import timm
overlay = {"file": weights}
model = timm.create_model("eca_nfnet_l0", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
""",
    # The built-in network has no card; its plain loop is the same loop around the same network.
    "builtin": """
from indexer.backbones.builtin import MEAN, STD, load_builtin
model = load_builtin()
def transform(image):
    small = np.asarray(image.resize((104, 104), Image.Resampling.BILINEAR), np.float32)
    return torch.from_numpy((small / 255 - MEAN) / STD).permute(2, 0, 1)
""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of photographs; default: docs/benchmarks.md")
    parser.add_argument("--files", type=int, default=4_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", choices=BACKBONES, action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = repeated(
            photo_folder(options.folder, lambda: sample(Path(scratch))), options.files, Path(scratch, "repeated")
        )
        weights = eca_weights(Path(scratch))
        rows = [measure(name, folder, weights, options.rounds) for name in options.backbone or BACKBONES]
    print(heading(f"{options.files} files, {options.rounds} rounds, medians (lowest - highest)"))
    print(f"{'backbone':14} {'ours img/s':>20} {'card loop img/s':>20} {'ratio':>18}")
    for row in rows:
        ratio = shown(ratios(row["ours"], row["peer"]), 2)
        print(f"{row['backbone']:14} {shown(row['ours']):>20} {shown(row['peer']):>20} {ratio:>18}")
        if "decode" in row:
            bound = [1 / (1 / d + 1 / e) for d, e in zip(row["decode"], row["embed"], strict=True)]
            share = [100 * part for part in ratios(row["ours"], bound)]
            print(f"  decoding alone {shown(row['decode'])}, embedding alone {shown(row['embed'])} images/s")
            print(f"  1 / (1/d + 1/e) = {shown(bound)} images/s, of which ours reaches {shown(share, 0)} %")
    write({"files": options.files, "rows": rows}, options.json)


def measure(name: str, folder: Path, weights: Path, rounds: int) -> dict[str, Any]:
    runs = {"ours": lambda: our_speed(name, folder, weights), "peer": lambda: peer_speed(name, folder, weights)}
    if name == "builtin":
        runs |= {"decode": lambda: decoding_rate(folder), "embed": embedding_rate}
    return {"backbone": name, **interleaved(runs, rounds)}


def our_speed(name: str, folder: Path, weights: Path) -> float:
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "api", "--store", store, "--progress", "none", "--json", "index", str(folder)]
        command += ["--backbone", name, "--max-failed", "1000000"]
        command += ["--weights", str(weights)] if name != "builtin" else []
        shape = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return float(shape["indexed"] / shape["seconds"])


def peer_speed(name: str, folder: Path, weights: Path) -> float:
    loop = LOOP.replace("{setup}", SETUPS[name])
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-W", "ignore", "-c", loop, str(folder), str(weights), f"{out}/rows.npy"]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def decoding_rate(folder: Path) -> float:
    """Return the images/s of reading, hashing and decoding for `builtin`, with all cores and nothing else to do."""
    from indexer.backbones.backbones import BUILTIN_PREPARATION
    from indexer.decoding.decoder_pool import DecoderPool
    from indexer.decoding.resizing import resizer

    files = sorted(folder.iterdir())[:DECODED_FILES]
    children = os.cpu_count() or 1
    with (
        DecoderPool(BUILTIN_PREPARATION, children=children, resize=resizer(BUILTIN_PREPARATION)) as pool,
        ThreadPoolExecutor(children) as threads,
    ):
        list(threads.map(lambda file: pool.decode(file.read_bytes(), file.name), files[: 4 * children]))
        began = time.perf_counter()
        list(threads.map(lambda file: pool.decode(file.read_bytes(), file.name), files))
        return len(files) / (time.perf_counter() - began)


def embedding_rate() -> float:
    """Return the images/s of `builtin` on prepared pixels, with all cores and nothing else to do."""
    from indexer.backbones.backbones import load_backbone

    backbone = load_backbone("builtin", device="cpu")
    shape = (backbone.batch_size, backbone.preparation.height, backbone.preparation.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    backbone.embed(pixels)
    began = time.perf_counter()
    for _ in range(EMBEDDED_BATCHES):
        backbone.embed(pixels)
    return EMBEDDED_BATCHES * len(pixels) / (time.perf_counter() - began)


def eca_weights(scratch: Path) -> Path:
    from tests.perturbed import perturbed_weights

    return perturbed_weights("eca_nfnet_l0", scratch / "eca_nfnet_l0.safetensors")


def sample(scratch: Path) -> Path:
    from bench.sample_collection import build

    return build(scratch / "sample").photos


def repeated(folder: Path, files: int, target: Path) -> Path:
    """Write the JPEGs of a folder again and again, each time with another comment; return the new folder."""
    pictures = [path.read_bytes() for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES]
    target.mkdir()
    for number, data in enumerate(islice(cycle(pictures), files)):
        (target / f"{number:06}.jpg").write_bytes(with_comment(data, f"copy {number}".encode()))
    return target


def with_comment(jpeg: bytes, comment: bytes) -> bytes:
    """Return a JPEG with a comment segment behind its first marker: another content with the same pixels."""
    return jpeg[:2] + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + jpeg[2:]


if __name__ == "__main__":
    started = time.perf_counter()
    main()
    print(f"took {time.perf_counter() - started:.0f} s")
