"""End-to-end images/s of `lookalike index` against the plain loop of timm's model cards, interleaved in one run.

    python -m bench.indexing_speed [FOLDER] [--rounds 3] [--json FILE]

The peer is what a model card shows: Pillow, timm's own transform, batches of 16, torch.no_grad, one process; it writes
one .npy at the end. Ours is the whole program in its own process: walk, hash, decode, embed, commit, publish. Both
start from the files and both are timed inside, after the imports and the loading of the weights, because a collection
of 200 pictures would otherwise measure imports. The weights are seeded, perturbed and read from a file: speed does not
depend on their values.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

BACKBONES = ("builtin", "eca_nfnet_l0")

LOOP = """
import sys, time
from pathlib import Path
import numpy as np, torch
from PIL import Image
folder, weights, out = sys.argv[1:4]
{setup}
paths = [path for path in sorted(Path(folder).rglob("*")) if path.suffix.lower() in (".jpg", ".jpeg", ".png")]
began = time.perf_counter()
rows = []
with torch.no_grad():
    for start in range(0, len(paths), 16):
        batch = torch.stack([transform(Image.open(path).convert("RGB")) for path in paths[start : start + 16]])
        rows.append(model(batch).numpy())
np.save(out, np.concatenate(rows))
print(len(paths) / (time.perf_counter() - began))
"""

SETUPS = {
    "eca_nfnet_l0": """
from indexer.timm_models import timm
overlay = {"file": weights}
model = timm.create_model("eca_nfnet_l0", pretrained=True, pretrained_cfg_overlay=overlay, num_classes=0).eval()
transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
""",
    # The built-in network has no card; its plain loop is the same loop around the same network.
    "builtin": """
from indexer.builtin import MEAN, STD, load_builtin
model = load_builtin()
def transform(image):
    small = np.asarray(image.resize((96, 96), Image.Resampling.HAMMING), np.float32)
    return torch.from_numpy((small / 255 - MEAN) / STD).permute(2, 0, 1)
""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, help="folder of photographs; default: the sample collection")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--backbone", choices=BACKBONES, action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.folder or sample(Path(scratch))
        weights = eca_weights(Path(scratch))
        rows = [measure(name, folder, weights, options.rounds) for name in options.backbone or BACKBONES]
    report = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "rows": rows}
    if options.json:
        options.json.write_text(json.dumps(report, indent=2) + "\n")
    print(f"{report['date']}, {report['machine']}, {options.rounds} rounds, medians (lowest - highest)")
    print(f"{'backbone':14} {'images':>6} {'ours img/s':>20} {'card loop img/s':>20} {'ratio':>18}")
    for row in rows:
        print(
            f"{row['backbone']:14} {row['images']:6d} {shown(row['ours']):>20} {shown(row['peer']):>20} "
            f"{shown(row['ratios'], 2):>18}"
        )


def measure(name: str, folder: Path, weights: Path, rounds: int) -> dict[str, object]:
    ours, peer = [], []
    images = 0
    for _ in range(rounds):
        speed, images = our_speed(name, folder, weights)
        ours.append(speed)
        peer.append(peer_speed(name, folder, weights))
    ratios = [mine / theirs for mine, theirs in zip(ours, peer, strict=True)]
    return {"backbone": name, "images": images, "ours": ours, "peer": peer, "ratios": ratios}


def our_speed(name: str, folder: Path, weights: Path) -> tuple[float, int]:
    with tempfile.TemporaryDirectory() as store:
        command = [sys.executable, "-m", "api", "--store", store, "--progress", "none", "--json", "index", str(folder)]
        command += ["--backbone", name, "--max-failed", "1000000"]
        command += ["--weights", str(weights)] if name != "builtin" else []
        shape = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return shape["indexed"] / shape["seconds"], shape["indexed"]


def peer_speed(name: str, folder: Path, weights: Path) -> float:
    loop = LOOP.replace("{setup}", SETUPS[name])
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-W", "ignore", "-c", loop, str(folder), str(weights), f"{out}/rows.npy"]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def eca_weights(scratch: Path) -> Path:
    from tests.perturbed import perturbed_weights

    return perturbed_weights("eca_nfnet_l0", scratch / "eca_nfnet_l0.safetensors")


def sample(scratch: Path) -> Path:
    from bench.sample_collection import build

    return build(scratch / "sample").photos


def machine() -> str:
    processor = platform.processor() or platform.machine()
    for line in Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []:
        if line.startswith("model name"):
            processor = line.split(":", maxsplit=1)[1].strip()
            break
    return f"{processor}, {os.cpu_count()} cores"


def shown(values: object, digits: int = 1) -> str:
    numbers = list(values) if isinstance(values, list) else []
    return f"{median(numbers):.{digits}f} ({min(numbers):.{digits}f} - {max(numbers):.{digits}f})"


if __name__ == "__main__":
    began = time.perf_counter()
    main()
    print(f"took {time.perf_counter() - began:.0f} s")
