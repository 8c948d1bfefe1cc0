"""Generalised-mean pooling (GeM) in place of a network's average: strong responses count more, wherever they are.

Radenovic et al., "Fine-tuning CNN Image Retrieval with No Human Annotation" (2018). It pools what `forward_features`
gives, behind the last activation. The last of timm's feature maps is taken before it and would not do.
"""

from typing import Final

from torch import Tensor, nn

from indexer.backbones.timm_library import timm
from search.errors import UsageError
from search.records import Pooling

POWERS: Final[dict[str, int]] = {"gem3": 3, "gem4": 4}
LEAST: Final = 1e-6  # SiLU has values below zero, of which there is no root


class GeneralisedMean(nn.Module):
    """(N, C, H, W) to (N, C, 1, 1): the root of the mean of the powers of each channel's values."""

    def __init__(self, power: int) -> None:
        super().__init__()
        self.power = power

    def forward(self, maps: Tensor) -> Tensor:
        """Return the generalised mean of each channel. Values below LEAST count as that."""
        levels = maps.clamp(min=LEAST)
        # By their maximum, so that powers of large values have room in half precision.
        largest = levels.amax((2, 3), keepdim=True)
        mean = (levels / largest).pow(self.power).mean((2, 3), keepdim=True)
        return largest * mean.pow(1 / self.power)


def pooled_by(network: nn.Module, pooling: Pooling, name: str) -> nn.Module:
    """Return the network with this pooling instead of its average; it is changed in place. name: for messages.

    Raises:
        UsageError: the network has no average of one map to put it in the place of.
    """
    if pooling not in POWERS:
        return network
    places = [module for module in network.modules() if isinstance(module, timm.layers.SelectAdaptivePool2d)]
    if len(places) != 1 or not isinstance(places[0].pool, nn.AdaptiveAvgPool2d):
        raise UsageError(
            f"--pool {pooling} has no use with {name}: it does not average one map of what it sees; leave it out"
        )
    places[0].pool = GeneralisedMean(POWERS[pooling])
    return network
