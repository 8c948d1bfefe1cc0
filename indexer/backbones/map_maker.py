"""Dense maps of whole pictures for geometric verification: what a backbone's network sees, place by place.

The network is run once and its maps are looked at on the way: the last one that is still fine enough to say where.
Networks without maps, such as most transformers, have none to offer.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from indexer.backbones.backbone import Pixels
from indexer.backbones.builtin import load_builtin
from indexer.backbones.builtin_facts import BUILTIN, WEIGHTS_FILES
from indexer.backbones.timm_models import load_network
from indexer.backbones.torch_engine import FromPixels
from indexer.decoding.preparation import Preparation, prepare
from search.errors import LookalikeError
from search.records import SpaceSpec

FINE: Final = 12  # points a side of a map, at least
MOST: Final = 32  # and at most
BUILTIN_SIDE: Final = 192  # pixels: its convolutions take any size, and at their own they are too coarse
_MAP_DIMS: Final = 4  # (N, C, h, w)

DenseMap = NDArray[np.float32]  # (C, h, w)
MapMaker = Callable[[Pixels], DenseMap | None]


class NetworkMaps:
    """The maps of a network. Not thread-safe: one caller at a time."""

    def __init__(self, network: torch.nn.Module, preparation: Preparation) -> None:
        self._network = FromPixels(network, preparation).eval()
        self._preparation = preparation
        for module in network.modules():
            module.register_forward_hook(self._keep)
        self._last: torch.Tensor | None = None

    def __call__(self, pixels: Pixels) -> DenseMap | None:
        """Return the last map of a picture that has FINE to MOST points a side, (C, h, w); None where there is none.

        pixels: (H, W, 3) uint8 RGB of any size.
        """
        self._last = None
        with torch.inference_mode():
            self._network(torch.from_numpy(np.array(prepare(pixels, self._preparation)[None])))
        found, self._last = self._last, None
        if found is None:
            return None
        values = np.ascontiguousarray(found[0].float().numpy())
        return values if np.isfinite(values).all() else None

    def _keep(self, module: torch.nn.Module, inputs: object, output: object) -> None:
        if isinstance(output, torch.Tensor) and output.dim() == _MAP_DIMS and output.shape[1] > 1:
            finest, coarsest = max(output.shape[2:]), min(output.shape[2:])
            if coarsest >= FINE and finest <= MOST:
                self._last = output


def map_maker(space: SpaceSpec) -> MapMaker | None:
    """Return what makes maps of pictures with the backbone of a space, on the CPU; None where that cannot be had.

    Maps only help where nothing else can tell, so a network that is not at hand is no error.
    """
    preparation = Preparation.from_json(space.preparation)
    if space.backbone == BUILTIN and space.weights_sha256 in WEIGHTS_FILES:
        network = load_builtin(space.weights_sha256)
        larger = replace(preparation, height=BUILTIN_SIDE, width=BUILTIN_SIDE)
        return NetworkMaps(network.get_submodule("network"), larger)
    if space.is_imported or space.backbone == BUILTIN:
        return None
    weights = None if space.weights in ("builtin", "hub") else Path(space.weights)
    try:
        return NetworkMaps(load_network(space.backbone, weights, use="embed").network, preparation)
    except LookalikeError:
        return None
