"""Weights for tests without a hub: seeded, and perturbed so that no residual branch is dead as in a fresh network."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from indexer.timm_models import timm


def perturbed_weights(name: str, file: Path, *, head: bool = True) -> Path:
    """Write seeded weights of a timm model to a safetensors file, as a classifier's checkpoint unless head is False.

    Fresh NF nets and ResNets multiply their residual branches by zero: gains, scales and running statistics are moved
    off their start, else a test of the network would test almost none of it.
    """
    torch.manual_seed(7)
    network = timm.create_model(name, pretrained=False, **({} if head else {"num_classes": 0}))
    tensors = network.state_dict()
    for key, tensor in tensors.items():
        if not tensor.is_floating_point():
            continue
        noise = 0.05 * torch.randn(tensor.shape)
        if key.endswith("running_var"):
            tensors[key] = tensor + noise.abs()
        elif tensor.ndim <= 1:
            tensors[key] = tensor + 2 * noise + (0.5 if "gain" in key or "bn3.weight" in key else 0.0)
        else:
            tensors[key] = tensor + noise * tensor.std().clamp(min=1e-3)
    save_file({key: tensor.contiguous() for key, tensor in tensors.items()}, file)
    return file
