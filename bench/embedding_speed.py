"""Images/s of the prepared backbone against the loop of its model card, on the CPU, interleaved in one run.

    python -m bench.embedding_speed [--rounds 7] [--json FILE]

The peer is what a model card shows: timm's network in evaluation mode, NCHW float32, torch.no_grad, pictures already
transformed to tensors. Ours starts from uint8 pixels, so it normalises within the measured time. Seeded, perturbed
weights: speed does not depend on their values. The last table holds the floating-point rate of ours (two operations
per multiply-add) against the best matrix product (2048 x 2048, float32, one thread) that any of numpy, torch and ONNX
Runtime reaches in the same run.
"""

import argparse
import math
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch

from bench.reporting import heading, interleaved, ratios, shown, write
from indexer.backbones.engines import prepare_engine
from indexer.backbones.model_costs import costs_of
from indexer.backbones.onnx_engine import OnnxEngine
from indexer.backbones.timm_models import model_card, unloaded_network
from indexer.decoding.preparation import Preparation
from indexer.devices import usable_cores
from tests.perturbed import perturbed_network

BACKBONES = ("eca_nfnet_l0", "resnext50_32x4d.fb_ssl_yfcc100m_ft_in1k")
BATCHES = (1, 16)
SIDE = 2048  # of the matrices


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    rows = [row for name in BACKBONES for row in measure(name, options.rounds)]
    print(heading(f"{options.rounds} rounds, medians (lowest - highest)"))
    print(f"{'backbone':18} {'threads':>7} {'batch':>5} {'ours img/s':>20} {'card loop img/s':>20} {'ratio':>18}")
    for row in rows:
        print(
            f"{row['backbone'].split('.')[0]:18} {row['threads']:7d} {row['batch']:5d} {shown(row['ours']):>20} "
            f"{shown(row['peer']):>20} {shown(ratios(row['ours'], row['peer']), 2):>18}"
        )
    for threads in sorted({row["threads"] for row in rows}):
        four = [median(ratios(row["ours"], row["peer"])) for row in rows if row["threads"] == threads]
        mean = math.prod(four) ** (1 / len(four))
        print(f"{threads} thread(s): geometric mean {mean:.2f}, lowest {min(four):.2f}")
    matrix = best_matrix_product(options.rounds)
    single = [row for row in rows if row["threads"] == 1 and row["batch"] == 1]
    print(f"\nbest float32 matrix product, one thread: {matrix['rate']:.0f} GFLOP/s by {matrix['library']}")
    for row in single:
        rate = 2 * row["gmacs"] * max(row["ours"])
        print(f"{row['backbone'].split('.')[0]:18} best {rate:.0f} GFLOP/s = {100 * rate / matrix['rate']:.0f} % of it")
    write({"rows": rows, "matrix_product": matrix}, options.json)


def measure(name: str, rounds: int) -> list[dict[str, Any]]:
    preparation = model_card(name).preparation
    gmacs = costs_of(unloaded_network(name), preparation.height, preparation.width).gmacs
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        made = prepare_engine(
            perturbed_network(name),
            preparation,
            "cpu",
            backbone=name,
            weights_sha256="0",
            weights=Path(scratch, "weights"),
        )
        assert isinstance(made, OnnxEngine)
        (file,) = Path(scratch).rglob("*.onnx")
        for threads in sorted({1, usable_cores()}):
            torch.set_num_threads(threads)
            engine, network = OnnxEngine(file, threads), perturbed_network(name)
            for batch in BATCHES:
                results = interleaved(runs(engine, network, preparation, batch), rounds)
                row = {"backbone": name, "threads": threads, "batch": batch, "gmacs": gmacs}
                rows.append({**row, **results})
    return rows


def runs(engine: OnnxEngine, network: Any, preparation: Preparation, batch: int) -> dict[str, Callable[[], float]]:
    shape = (batch, preparation.height, preparation.width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    mean, std = (torch.tensor(numbers).view(1, 3, 1, 1) for numbers in (preparation.mean, preparation.std))
    tensors = ((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std).contiguous()

    def card_loop() -> None:
        with torch.no_grad():
            network(tensors).numpy()

    engine.run(pixels)
    card_loop()
    calls = max(1, 8 // batch)
    return {
        "ours": lambda: batch / seconds(lambda: engine.run(pixels), calls),
        "peer": lambda: batch / seconds(card_loop, calls),
    }


def seconds(call: Callable[[], object], calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        call()
    return (time.perf_counter() - began) / calls


def best_matrix_product(rounds: int) -> dict[str, Any]:
    torch.set_num_threads(1)
    matrix = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)
    tensor, session = torch.from_numpy(matrix), matrix_session(matrix)
    products: dict[str, Callable[[], object]] = {
        "torch": lambda: tensor @ tensor,
        "ONNX Runtime": lambda: session.run(None, {"a": matrix}),
    }
    best = dict.fromkeys(products, 0.0)
    for _ in range(rounds):
        for name, product in products.items():
            best[name] = max(best[name], 2 * SIDE**3 / seconds(product, 2) / 1e9)
    library = max(best, key=best.__getitem__)
    return {"rate": best[library], "library": library, "all": best}


def matrix_session(matrix: np.ndarray) -> Any:
    helper, float32 = onnx.helper, onnx.TensorProto.FLOAT
    a, c = (helper.make_tensor_value_info(name, float32, [SIDE, SIDE]) for name in "ac")
    constant = onnx.numpy_helper.from_array(matrix, "b")
    graph = helper.make_graph([helper.make_node("MatMul", ["a", "b"], ["c"])], "product", [a], [c], [constant])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


if __name__ == "__main__":
    main()
