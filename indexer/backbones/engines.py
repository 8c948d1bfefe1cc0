"""Which engine runs a network, chosen once: ONNX Runtime on a CPU, compiled torch on a GPU, folded torch otherwise."""

import copy
import logging
from pathlib import Path

import numpy as np
import torch

from indexer.backbones.engine import Engine, EngineUnsound, probe, require_sound
from indexer.backbones.engine_cache import cached_engine, engine_choice, fingerprint, place
from indexer.backbones.folding import fold
from indexer.backbones.onnx_engine import OnnxEngine
from indexer.backbones.torch_engine import TorchEngine
from indexer.decoding.preparation import Preparation
from indexer.devices import CPU
from search.errors import WeightsMismatch
from search.records import AVERAGE, Embeddings

log = logging.getLogger(__name__)


def prepare_engine(  # noqa: PLR0913 -- the network, and all that its model file is named by
    network: torch.nn.Module,
    preparation: Preparation,
    device: str,
    *,
    backbone: str,
    weights_sha256: str,
    weights: Path | None,
    pooling: str = AVERAGE,
) -> Engine:
    """Return the fastest sound engine for a network, which is folded in place and must not be used otherwise.

    network: on the CPU, float32, in evaluation mode, (N, 3, H, W) to (N, D). backbone: its canonical name.
    weights_sha256: over all its tensors. weights: the file they came from; a model file is kept beside it.
    pooling: what the network has by now.

    Raises:
        WeightsMismatch: the network answers with NaN or infinity.
        OutOfMemory: the GPU does not hold it with a single picture.
        UsageError: LOOKALIKE_ENGINE names no engine.
    """
    choice = engine_choice()
    picture = probe(preparation.height, preparation.width)
    if device != CPU:
        from indexer.backbones.cuda_engine import CudaEngine

        expected = _answer(network, preparation, picture)
        return CudaEngine(_soundly_folded(network, preparation, expected), preparation, torch.device(device), expected)
    if choice == "torch":
        return TorchEngine(_soundly_folded(network, preparation, _answer(network, preparation, picture)), preparation)
    return _on_cpu(network, preparation, fingerprint(backbone, weights_sha256, preparation.as_json(), pooling), weights)


def _on_cpu(network: torch.nn.Module, preparation: Preparation, name: str, weights: Path | None) -> Engine:
    kept = cached_engine(name, weights)
    if kept is not None:
        return kept
    picture = probe(preparation.height, preparation.width)
    expected = _answer(network, preparation, picture)
    folded = _soundly_folded(network, preparation, expected)
    try:
        return _exported(folded, preparation, expected, place(name, weights))
    except (EngineUnsound, OSError, ImportError) as error:
        log.warning("embedding with torch, which is slower than ONNX Runtime: %s", error)
        return TorchEngine(folded, preparation)


def _exported(
    network: torch.nn.Module, preparation: Preparation, expected: Embeddings, file: Path | None
) -> OnnxEngine:
    from indexer.backbones.onnx_export import export

    if file is None:
        raise EngineUnsound("no folder for model files can be written: set LOOKALIKE_CACHE to one that can")
    log.info("preparing the backbone for ONNX Runtime, once: %s", file)
    export(network, preparation, probe(preparation.height, preparation.width), expected, file)
    try:
        return OnnxEngine(file)
    except EngineUnsound:
        file.unlink(missing_ok=True)
        raise


def _answer(network: torch.nn.Module, preparation: Preparation, picture: np.ndarray) -> Embeddings:
    """Return timm's own answer to the probe picture."""
    expected = TorchEngine(network, preparation).run(picture)
    if not np.isfinite(expected).all():
        raise WeightsMismatch("the backbone answers with NaN or infinity: its weights are damaged")
    return expected


def _soundly_folded(network: torch.nn.Module, preparation: Preparation, expected: Embeddings) -> torch.nn.Module:
    kept = copy.deepcopy(network)
    folded = fold(network)
    try:
        require_sound(TorchEngine(folded, preparation), probe(preparation.height, preparation.width), expected)
    except EngineUnsound as error:
        log.warning("the backbone is used as timm has it, because folding changed its answers: %s", error)
        return kept
    return folded
