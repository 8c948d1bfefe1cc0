"""The backbone that fine-tuning starts from: loaded, verified, and given a new classifier."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from indexer.backbones.registry import find
from indexer.backbones.timm_models import load_network, new_network, unloaded_network
from indexer.backbones.weights import weights_sha256
from indexer.decoding.preparation import Preparation
from indexer.finetuning.recipe import Recipe
from indexer.finetuning.tuned_network import TunedNetwork
from search.errors import UsageError


class BaseBackbone:
    """A timm model, or one that was fine-tuned before. licence: of its weights. sha256: of its tensors, headless."""

    def __init__(self, name: str, weights: Path | None, preparation: Preparation) -> None:
        """Raises:
        LookalikeError: by name, why the backbone cannot be loaded.
        """
        loaded = load_network(name, weights, use="embed", preparation=preparation)
        registered = find(loaded.name)
        self.name = loaded.name
        self.architecture = registered.architecture if registered is not None else loaded.name
        self.licence = loaded.licence
        self.sha256 = weights_sha256(loaded.network)
        self.preparation = preparation
        self._tensors: dict[str, torch.Tensor] = loaded.network.state_dict()

    def with_new_classifier(self, classes: int, recipe: Recipe) -> TunedNetwork:
        """Return the network with a new classifier, on the CPU.

        Raises:
            UsageError: this architecture cannot be given one, or has no branches to skip.
        """
        depth = self._stochastic_depth(recipe.stochastic_depth)
        network = new_network(self.architecture, self.preparation, num_classes=classes, **depth)
        head = network.get_classifier()
        if not isinstance(head, nn.Linear | nn.Conv2d):
            raise UsageError(f"{self.name} has no single linear classifier, so it cannot be fine-tuned here")
        self._fill(network, head)
        return TunedNetwork(network, self.preparation, whole=recipe.whole, dropout=recipe.dropout)

    def plain(self, tensors: dict[str, torch.Tensor], classes: int) -> Any:
        """Return timm's own network with these tensors: what the finished backbone will be for everyone."""
        network = new_network(self.architecture, self.preparation, num_classes=classes)
        network.load_state_dict(tensors)
        return network.eval()

    def _stochastic_depth(self, wanted: float) -> dict[str, float]:
        if not wanted:
            return {}
        try:
            unloaded_network(self.architecture, self.preparation, drop_path_rate=wanted)
        except TypeError as error:
            raise UsageError(f"{self.name} has no branches to skip: pass --stochastic-depth 0") from error
        return {"drop_path_rate": wanted}

    def _fill(self, network: Any, head: nn.Module) -> None:
        own = {id(parameter) for parameter in head.parameters()}
        new = {name for name, parameter in network.named_parameters() if id(parameter) in own}
        missing, unexpected = network.load_state_dict(self._tensors, strict=False)
        strange = sorted(set(missing) ^ new) + sorted(unexpected)
        if strange:
            raise UsageError(f"{self.name} cannot get a new classifier here: {strange[0]} would change with it")
