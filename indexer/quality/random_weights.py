"""Weights of a network that was never trained: what every figure of a trained one is to be compared with."""

from pathlib import Path

import torch
from safetensors.torch import save_file

from indexer.backbones.timm_models import model_card, new_network


def write_random_weights(name: str, file: Path, seed: int) -> Path:
    """Write the weights that timm begins a training of this model with, and return the file.

    Raises:
        BackboneNotFound: timm has no such model.
    """
    card = model_card(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_network(card.name, card.preparation)
    unfinished = file.with_name(f".{file.name}.unfinished")
    save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, unfinished)
    unfinished.replace(file)
    return file
