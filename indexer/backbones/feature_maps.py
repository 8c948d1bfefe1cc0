"""What a network sees on its way: the feature maps of its stages (timm's features_only), by stride.

The last map of a pre-activation network (the NF nets and BiT among the reference models) is taken before the last
activation: it has values below zero, and its average is not the embedding. `embed` gives embeddings.
"""

import io
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from indexer.backbones.backbone import Pixels
from indexer.backbones.timm_models import LoadedNetwork, unloaded_network
from indexer.backbones.torch_engine import FromPixels
from indexer.decoding.preparation import Preparation
from indexer.devices import CPU
from search.errors import LookalikeError, UsageError


@dataclass(frozen=True, slots=True)
class MapShape:
    """The shape of one level. name: `stride_8`; stride: pixels of the picture per step; module: timm's name of it."""

    name: str
    stride: int
    channels: int
    height: int
    width: int
    module: str

    def as_json(self) -> dict[str, object]:
        """Return the level object of `feature-maps` and `backbones`."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class FeatureMap:
    """One level of one picture. values: (C, H, W) float32."""

    shape: MapShape
    values: NDArray[np.float32]


def map_shapes(name: str, preparation: Preparation) -> tuple[MapShape, ...]:
    """Return the shapes of a model's feature maps at a size, finest first; computed on the meta device.

    name: canonical.

    Raises:
        UsageError: timm cannot take feature maps from this model, or not of pictures of this size.
    """
    # timm refuses in as many ways as it has kinds of models.
    refusals = (RuntimeError, AssertionError, AttributeError, TypeError, ValueError, KeyError, IndexError)
    try:
        network = unloaded_network(name, preparation, features_only=True)
    except refusals as error:
        raise UsageError(
            f"timm takes no feature maps from {name} ({_one_line(error)}); choose another backbone"
        ) from error
    try:
        with torch.inference_mode():
            outputs = network(torch.empty((1, 3, preparation.height, preparation.width), device="meta"))
    except refusals as error:
        size = f"{preparation.width} x {preparation.height}"
        raise UsageError(
            f"{name} has no feature maps of {size} pixels ({_one_line(error)}); choose another --image-size"
        ) from error
    return tuple(_shapes(network, outputs))


def feature_maps(
    loaded: LoadedNetwork, preparation: Preparation, pixels: Pixels, device: str = CPU
) -> list[FeatureMap]:
    """Return the feature maps of one picture, finest first.

    loaded: with use="features". pixels: (H, W, 3) uint8, prepared.

    Raises:
        LookalikeError: a map holds NaN or infinity.
    """
    network = loaded.network
    model = FromPixels(network, preparation).to(device)
    with torch.inference_mode():
        outputs = model(torch.from_numpy(np.array(pixels[None])).to(device))
    found = []
    for shape, output in zip(_shapes(network, outputs), outputs, strict=True):
        values = np.ascontiguousarray(_channels_first(network, output)[0].float().cpu().numpy())
        if not np.isfinite(values).all():
            raise LookalikeError(f"{shape.name} of {loaded.name} holds NaN or infinity; are these its weights?")
        found.append(FeatureMap(shape, values))
    return found


def as_npz(maps: Sequence[FeatureMap], pixels: Pixels, facts: Mapping[str, object]) -> bytes:
    """Return an .npz file: each level under its name, `pixels` (H, W, 3) uint8, and `metadata`, a JSON text.

    facts: goes into the metadata, which also lists the levels.
    """
    metadata = json.dumps({**facts, "levels": [one.shape.as_json() for one in maps]})
    arrays: dict[str, Any] = {one.shape.name: one.values for one in maps}
    file = io.BytesIO()
    np.savez(file, pixels=pixels, metadata=np.array(metadata), **arrays)
    return file.getvalue()


def _shapes(network: Any, outputs: Sequence[torch.Tensor]) -> Iterator[MapShape]:
    strides: list[int] = network.feature_info.reduction()
    modules: list[str] = network.feature_info.module_name()
    seen: Counter[int] = Counter()
    for stride, module, output in zip(strides, modules, outputs, strict=True):
        seen[stride] += 1
        # Transformers keep one stride throughout: stride_16, stride_16_2, stride_16_3.
        name = f"stride_{stride}" + (f"_{seen[stride]}" if seen[stride] > 1 else "")
        _, channels, height, width = _channels_first(network, output).shape
        yield MapShape(name, stride, channels, height, width, module)


def _channels_first(network: Any, output: torch.Tensor) -> torch.Tensor:
    if str(getattr(network, "output_fmt", "")).endswith("NHWC"):
        return output.permute(0, 3, 1, 2)
    return output


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
