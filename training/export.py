"""From a trained network to the weights file that the package ships: half precision, nothing but tensors and facts."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save

from indexer.backbones.dihedral_network import Shape
from indexer.backbones.joined_views import FACTS, JoinedViews


def write_weights(network: JoinedViews, shape: Shape, file: Path, recipe: Mapping[str, object]) -> None:
    """Write every floating-point tensor as float16, and shape and recipe as metadata; in one rename.

    Raises:
        ValueError: a tensor does not fit into half precision.
    """
    tensors = {
        name: tensor.detach().cpu().half().contiguous()
        for name, tensor in network.state_dict().items()
        if tensor.is_floating_point()
    }
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise ValueError(f"{name} does not fit into half precision")
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(".part")
    unfinished.write_bytes(save(tensors, {FACTS: json.dumps({"shape": shape.as_dict(), "recipe": recipe})}))
    unfinished.replace(file)
