"""Folding: the folded network answers as timm's own, and really has nothing left to compute anew."""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from indexer.backbones.folding import fold
from indexer.backbones.timm_library import timm
from tests.perturbed import perturbed_network

NARROW = {"channels": (256, 256, 256, 256), "depths": (1, 2, 1, 1)}
SHALLOW = {"layers": (1, 2, 1, 1)}
# One of every way to build a network that folding knows, and some that it must leave alone; all cut small.
FOLDED_FULLY: dict[str, dict[str, Any]] = {
    "nf_resnet50": NARROW,  # scaled weight standardisation, scalars, no attention
    "nfnet_l0": NARROW,  # squeeze and excitation
    "eca_nfnet_l0": NARROW,  # efficient channel attention
    "nf_regnet_b1": NARROW,  # attention before the last convolution
    "dm_nfnet_f0": NARROW,  # TensorFlow's padding, two 3x3 convolutions
    "resnext50_32x4d": SHALLOW,  # BatchNorm
    "mobilenetv3_small_050": {},  # BatchNorm with its activation
}
# A norm before a convolution cannot be folded.
FOLDED_IN_PART: dict[str, dict[str, Any]] = {"resnetv2_50x1_bit": {}, "resnetv2_50": SHALLOW}
LEFT_ALONE: dict[str, dict[str, Any]] = {"test_vit": {}}
ALL = FOLDED_FULLY | FOLDED_IN_PART | LEFT_ALONE


def thin(name: str) -> Any:
    return perturbed_network(name, **ALL[name])


def answer(network: nn.Module, pictures: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return network(pictures)  # type: ignore[no-any-return]


def layers(network: nn.Module, kinds: Any) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kinds)]


STANDARDISED = (
    timm.layers.ScaledStdConv2d,
    timm.layers.ScaledStdConv2dSame,
    timm.layers.StdConv2d,
    timm.layers.StdConv2dSame,
)


@pytest.mark.parametrize("name", ALL)
def test_a_folded_network_answers_as_timm_does(name: str) -> None:
    network = thin(name)
    size = 160 if name == "test_vit" else 64
    pictures = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(3))
    expected = answer(network, pictures)
    found = answer(fold(copy.deepcopy(network)), pictures)
    assert float(expected.std()) > 0, "dead branches: this test would prove nothing"
    tolerance = 1e-4 if "bit" in name else 1e-5
    assert float((found - expected).abs().max()) <= tolerance * float(expected.abs().max())
    cosine = torch.nn.functional.cosine_similarity(found.double(), expected.double())
    assert float((1 - cosine).max()) <= 1e-9


@pytest.mark.parametrize("name", FOLDED_FULLY)
def test_no_standardisation_and_no_batch_norm_is_left(name: str) -> None:
    folded = fold(thin(name))
    assert not layers(folded, STANDARDISED)
    assert not layers(folded, nn.modules.batchnorm._BatchNorm)
    assert not layers(folded, timm.models.nfnet.NormFreeBlock)


def test_a_group_norm_stays_because_it_depends_on_the_picture() -> None:
    folded = fold(thin("resnetv2_50x1_bit"))
    assert not layers(folded, STANDARDISED)
    assert len(layers(folded, nn.GroupNorm)) == 49


def test_standardised_weights_have_no_mean_and_the_variance_of_their_gain() -> None:
    convolution = timm.layers.ScaledStdConv2d(4, 3, 3, gamma=2.0)
    nn.init.normal_(convolution.gain, 1.0)
    gain = convolution.gain.detach().flatten()
    (plain,) = fold(nn.Sequential(convolution)).children()
    rows = plain.weight.detach().double().flatten(1)  # type: ignore[operator]
    np.testing.assert_allclose(rows.mean(1), 0, atol=1e-7)
    # Rows of 36 numbers, scaled by gamma / sqrt(36) and by the gain of their channel.
    np.testing.assert_allclose(rows.std(1, correction=0), gain.abs() * 2 / 6, rtol=1e-4)


class _Branching(nn.Module):
    """A convolution read by a norm, and by whatever else a test wants."""

    def __init__(self, combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.convolution, self.norm, self.combine = nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), combine
        self.norm.running_mean.fill_(0.5)  # type: ignore[union-attr]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        seen = self.convolution(x)
        return self.combine(self.norm(seen), seen)


@pytest.mark.parametrize(
    ("combine", "left"),
    [(lambda normed, seen: normed, 0), (lambda normed, seen: normed + seen, 1)],
    ids=["only the norm reads the convolution", "the sum reads it too"],
)
def test_a_norm_is_folded_only_where_nothing_else_reads_the_convolution(
    combine: Callable[[torch.Tensor, torch.Tensor], torch.Tensor], left: int
) -> None:
    network = _Branching(combine).eval()
    pictures = torch.randn(1, 3, 5, 5)
    expected = answer(network, pictures)
    folded = fold(network)
    assert len(layers(folded, nn.BatchNorm2d)) == left
    torch.testing.assert_close(answer(folded, pictures), expected)


def test_a_norm_used_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one, self.two, self.norm = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)
            self.norm.running_var.fill_(4.0)  # type: ignore[union-attr]

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.norm(self.one(x)) * self.norm(self.two(x))  # type: ignore[no-any-return]

    network = Twice().eval()
    pictures = torch.randn(1, 3, 5, 5)
    expected = answer(network, pictures)
    folded = fold(network)
    assert len(layers(folded, nn.BatchNorm2d)) == 1
    torch.testing.assert_close(answer(folded, pictures), expected)


def test_a_network_that_cannot_be_traced_is_folded_as_far_as_it_can() -> None:
    class Moody(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(timm.layers.StdConv2d(3, 4, 3), nn.BatchNorm2d(4))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.body(x) if x.sum() > 0 else self.body(-x)  # type: ignore[no-any-return]

    folded = fold(Moody().eval())
    assert not layers(folded, STANDARDISED)
    assert len(layers(folded, nn.BatchNorm2d)) == 1
