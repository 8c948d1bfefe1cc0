"""From a torch network to the model file that `indexer/backbones/onnx_engine.py` opens."""

import os
import tempfile
import warnings
from pathlib import Path

import onnx
import torch

from indexer.backbones.backbone import Pixels
from indexer.backbones.engine import EngineUnsound, to_text
from indexer.backbones.engine_cache import HALF
from indexer.backbones.onnx_engine import EXPECTED, INPUT
from indexer.backbones.torch_engine import FromPixels
from indexer.decoding.preparation import Preparation
from search.records import Embeddings

OPSET = 17  # the newest that torch's exporter has operators of its own for
LARGEST_FILE = (1 << 31) - (1 << 20)  # bytes; a protobuf message cannot be longer


def export(
    network: torch.nn.Module, preparation: Preparation, pixels: Pixels, expected: Embeddings, file: Path
) -> None:
    """Write a network as a model file: to a temporary name, synced, then renamed.

    network: folded, float32, on the CPU. pixels and expected: the probe picture and timm's answer to it.

    Raises:
        EngineUnsound: torch cannot export this network, or it is too large for one file.
        OSError: the folder cannot be written.
    """
    size = sum(tensor.numel() * tensor.element_size() for tensor in network.state_dict().values())
    if size > LARGEST_FILE:
        raise EngineUnsound(f"{size / 1e9:.1f} GB of weights are more than an ONNX file holds")
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{file.stem}.", suffix=HALF, dir=file.parent)
    os.close(descriptor)
    temporary = Path(name)
    try:
        _export(FromPixels(network, preparation).eval(), pixels, temporary)
        _describe(temporary, expected)
        temporary.chmod(0o644)  # mkstemp's files are private; this one is for whoever reads the weights
        with temporary.open("rb+") as written:
            os.fsync(written.fileno())
        temporary.replace(file)
    finally:
        temporary.unlink(missing_ok=True)


def _export(model: torch.nn.Module, pixels: Pixels, file: Path) -> None:
    example = torch.from_numpy(pixels).expand(2, -1, -1, -1)  # a batch of one would be taken for a constant
    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")
            # The exporter by tracing: it is deprecated, yet takes one second where its successor takes five, and is
            # checked by the probe picture whatever it does. When torch drops it, this raises and torch itself runs.
            torch.onnx.export(
                model,
                (example,),
                str(file),
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=["embeddings"],
                dynamic_axes={INPUT: {0: "pictures"}, "embeddings": {0: "pictures"}},
            )
    except OSError:
        raise
    except Exception as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise EngineUnsound(f"torch cannot export this network ({reason})") from error


def _describe(file: Path, expected: Embeddings) -> None:
    model = onnx.load(file)
    onnx.helper.set_model_props(model, {EXPECTED: to_text(expected)})
    onnx.save(model, file)
