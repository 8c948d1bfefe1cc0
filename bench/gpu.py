"""Every GPU figure of docs/benchmarks.md in one run of less than eight minutes on one NVIDIA GPU.

    python -m bench.gpu [--minutes 8] [--backbone NAME ...] [--json FILE]

For each reference model at its training size: forward images/s of the prepared backbone, from pinned uint8 pixels to
float32 rows, against timm in eager mode (AMP, channels_last) and timm under torch.compile in its default mode (AMP,
channels_last), both on normalised tensors that already lie on the GPU, which favours them. Rounds are interleaved. Then
1 - cosine of the folded network in fp16 and bf16 against timm in float32 on the probe picture; and end to end: `index`
over JPEGs of 640x480 against the smaller of the decoding rate and the forward rate; and what searching gains
(bench/gpu_search.py). Models that no time is left for are
named as not measured.
"""

import argparse
import io
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.gpu_search import measure_search
from bench.indexing_speed import decoding_rate, eca_weights, with_comment
from bench.photographs import skip
from bench.reporting import heading, ratios, shown, write
from indexer.backbones.backbones import REFERENCE_MODELS
from indexer.backbones.cuda_engine import BATCHES_A_CALL, CudaEngine, one_minus_cosine
from indexer.backbones.engine import probe
from indexer.backbones.engines import prepare_engine
from indexer.backbones.folding import fold
from indexer.backbones.timm_models import model_card
from indexer.backbones.torch_engine import FromPixels, TorchEngine
from indexer.decoding.preparation import Preparation
from search.errors import LookalikeError
from tests.perturbed import perturbed_network

ROUNDS = 3
SECONDS_A_ROUND = 1.0
END_TO_END_FILES = 20_000
END_TO_END_BACKBONE = "eca_nfnet_l0"
# Compiling takes longest; what decides most comes first, in case time runs out.
ORDER = (2, 4, 1, 0, 5, 6, 7, 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--backbone", action="append")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if not torch.cuda.is_available():
        skip("needs an NVIDIA GPU")
    deadline = time.monotonic() + 60 * options.minutes
    print(heading(f"{torch.cuda.get_device_name()}, torch {torch.__version__}"), flush=True)
    print(f"{'backbone':28} {'batch':>5} {'ours img/s':>22} {'/ eager':>7} {'/ compile':>9} {'fp16':>8} {'bf16':>8}")
    end_to_end_row = end_to_end()
    # Before the models, which take what time is left.
    search = measure_search()
    rows = []
    for name in options.backbone or [REFERENCE_MODELS[place] for place in ORDER]:
        if time.monotonic() > deadline - 45:
            print(f"{name.split('.')[0]:28} not measured: no time left")
            continue
        rows.append(measure(name))
        show(rows[-1])
    forward = [median(row["ours"]) for row in rows if row["backbone"].startswith(END_TO_END_BACKBONE)]
    if forward:
        ceiling = min(forward[0], end_to_end_row["decoding alone images/s"])
        end_to_end_row["share of min(decoding, forward)"] = round(end_to_end_row["index images/s"] / ceiling, 3)
    print("\n" + json.dumps(end_to_end_row, indent=2))
    write(
        {"gpu": torch.cuda.get_device_name(), "rows": rows, "end_to_end": end_to_end_row, "search": search},
        options.json,
    )


def measure(name: str) -> dict[str, Any]:
    preparation = model_card(name).preparation
    engine = prepare_engine(
        perturbed_network(name), preparation, "cuda", backbone=name, weights_sha256="0", weights=None
    )
    assert isinstance(engine, CudaEngine)
    pixels = random_pixels(engine.batch_size, preparation)
    batch = engine.batch_size // BATCHES_A_CALL
    tensors = torch.randn(batch, 3, preparation.height, preparation.width, device="cuda")
    tensors = tensors.to(memory_format=torch.channels_last)
    network = perturbed_network(name).to(device="cuda", memory_format=torch.channels_last)
    compiled = torch.compile(network, dynamic=False)
    runs: dict[str, Callable[[], float]] = {
        "ours": lambda: rate(lambda: engine.run(pixels), len(pixels)),
        "eager": lambda: rate(lambda: amp(network, tensors), batch),
        "compile": lambda: rate(lambda: amp(compiled, tensors), batch),
    }
    for run in runs.values():
        run()
    results: dict[str, list[float]] = {key: [] for key in runs}
    for _ in range(ROUNDS):
        for key, run in runs.items():
            results[key].append(run())
    return {"backbone": name, "batch": batch, "engine": engine.name, **results, **half_precision(name, preparation)}


def amp(network: Callable[[torch.Tensor], torch.Tensor], tensors: torch.Tensor) -> None:
    with torch.inference_mode(), torch.autocast("cuda"):
        network(tensors)


def rate(call: Callable[[], object], pictures: int) -> float:
    """Return pictures per second over about SECONDS_A_ROUND."""
    torch.cuda.synchronize()
    began, calls = time.perf_counter(), 0
    while time.perf_counter() - began < SECONDS_A_ROUND:
        call()
        torch.cuda.synchronize()
        calls += 1
    return calls * pictures / (time.perf_counter() - began)


def half_precision(name: str, preparation: Preparation) -> dict[str, float]:
    """Return 1 - cosine of the folded network in half precision against timm in float32 on the CPU."""
    picture = probe(preparation.height, preparation.width)
    expected = TorchEngine(perturbed_network(name), preparation).run(picture)
    found = {}
    for dtype in (torch.float16, torch.bfloat16):
        model = FromPixels(fold(perturbed_network(name)), preparation).eval().in_dtype(dtype).to("cuda")
        with torch.inference_mode():
            found[str(dtype)] = one_minus_cosine(
                model(torch.from_numpy(picture).cuda()).float().cpu().numpy(), expected
            )
    return found


def random_pixels(count: int, preparation: Preparation) -> Any:
    return np.random.default_rng(0).integers(0, 256, (count, preparation.height, preparation.width, 3), dtype=np.uint8)


def show(row: dict[str, Any]) -> None:
    eager, compiled = shown(ratios(row["ours"], row["eager"]), 2), shown(ratios(row["ours"], row["compile"]), 2)
    print(
        f"{row['backbone'].split('.')[0]:28} {row['batch']:5d} {shown(row['ours'], 0):>22} {eager.split()[0]:>7} "
        f"{compiled.split()[0]:>9} {row['torch.float16']:8.1e} {row['torch.bfloat16']:8.1e}",
        flush=True,
    )


def end_to_end() -> dict[str, Any]:
    """Return images/s of `index` with `eca_nfnet_l0` on this GPU, and of decoding alone on these cores."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch, "pictures")
        folder.mkdir()
        motifs = [jpeg(seed) for seed in range(50)]
        for number in range(END_TO_END_FILES):
            folder.joinpath(f"{number:06}.jpg").write_bytes(with_comment(motifs[number % 50], str(number).encode()))
        command = [sys.executable, "-m", "api", "--store", f"{scratch}/store", "--progress", "none", "--json", "index"]
        command += [str(folder), "--backbone", END_TO_END_BACKBONE, "--weights", str(eca_weights(Path(scratch)))]
        answer = subprocess.run(command, check=False, capture_output=True, text=True)
        if answer.returncode:
            raise LookalikeError(f"index failed: {answer.stderr[-500:]}")
        shape = json.loads(answer.stdout)
        return {
            "index images/s": round(shape["indexed"] / shape["seconds"], 1),
            "bound by": shape["bound_by"],
            "decoding alone images/s": round(decoding_rate(folder), 1),
        }


def jpeg(seed: int) -> bytes:
    blocks = np.random.default_rng(seed).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    with io.BytesIO() as file:
        Image.fromarray(blocks).resize((640, 480), Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        return file.getvalue()


if __name__ == "__main__":
    main()
