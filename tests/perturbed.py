"""Weights for tests without a hub: seeded, and perturbed so that no residual branch is dead as in a fresh network."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from indexer.backbones.timm_models import timm


def perturbed_network(name: str, *, head: bool = False, **arguments: Any) -> Any:
    """Return a timm model in evaluation mode, with a classifier if head.

    Fresh NF nets and ResNets multiply their residual branches by zero: gains, scales and running statistics are moved
    off their start, else a test of the network would test almost none of it.
    """
    torch.manual_seed(7)
    network = timm.create_model(name, pretrained=False, **({} if head else {"num_classes": 0}), **arguments)
    with torch.no_grad():
        for key, tensor in network.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = 0.05 * torch.randn(tensor.shape)
            if key.endswith("running_var"):
                tensor.add_(noise.abs())
            elif tensor.ndim <= 1:
                tensor.add_(2 * noise + (0.5 if "gain" in key or "bn3.weight" in key else 0.0))
            else:
                tensor.add_(noise * tensor.std().clamp(min=1e-3))
    return network.eval().requires_grad_(requires_grad=False)


def perturbed_weights(name: str, file: Path, *, head: bool = True) -> Path:
    """Write the weights of such a model to a safetensors file, as a classifier's checkpoint unless head is False."""
    tensors = perturbed_network(name, head=head).state_dict()
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)
    return file
