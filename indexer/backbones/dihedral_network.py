"""The network of the built-in backbone: normalisation-free, and indifferent to quarter turns and mirrors.

Residual blocks of dihedral convolutions lead to maps of a sixteenth of the input's sides. Two heads read them: one
pools every field over the frame and so does not mind crops, the other keeps a coarse layout. Both are read in all
eight poses by the same weights, and the mean over the poses is the embedding. All that is normalised in training is
the input of linear maps, by constants in use. Owns no weights and reads no file.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from indexer.backbones.dihedral import POSES, DihedralConvolution, pixel_order, relative_poses
from indexer.backbones.handcrafted import area_matrix

# Keep the variance of a unit Gaussian through a ReLU, and share it between a block's branch and what goes round it
# (Brock et al., 2021).
RELU_GAIN: Final = 1.7139588594436646
BRANCH_GAIN: Final = 0.2
LAYOUT: Final = 4  # places on a side of the coarse layout
FLOOR: Final = 1e-3  # keeps the root of the generalised mean away from zero


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a network is; all in fields, of eight channels each, but hidden and dims, which are numbers."""

    widths: tuple[int, int, int, int] = (4, 8, 16, 32)  # after the stem, and of the three stages
    blocks: tuple[int, int, int] = (1, 2, 2)
    pooled: int = 64
    layout: int = 16
    hidden: int = 256
    dims: int = 256

    def as_dict(self) -> dict[str, object]:
        """Return what JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> "Shape":
        """Return the shape that `as_dict` described, also after a way through JSON.

        Raises:
            TypeError: a field is unknown.
            KeyError: one is missing.
        """
        return cls(**{**fields, "widths": tuple(fields["widths"]), "blocks": tuple(fields["blocks"])})


class DihedralNetwork(nn.Module):
    """Square pictures to embeddings."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.stem = DihedralConvolution(3, shape.widths[0], 6, stride=2, from_picture=True)
        steps: list[nn.Module] = []
        for entering, width, blocks in zip(shape.widths, shape.widths[1:], shape.blocks, strict=False):
            steps.append(Reduction(entering, width))
            steps += [Bottleneck(width, deep) for deep in range(blocks)]
        self.trunk = nn.Sequential(*steps)
        self.pooled = PooledFields(shape.widths[-1], shape.pooled, shape.hidden)
        self.layout = LayoutFields(shape.widths[-1], shape.layout, shape.hidden)
        self.bias = nn.Parameter(torch.zeros(shape.hidden))
        self.normal = nn.BatchNorm1d(shape.hidden, affine=False)
        self.head = nn.Linear(shape.hidden, shape.dims)

    def forward(self, pictures: Tensor) -> Tensor:
        """Return (N, dims) float32 of unit length; pictures: (N, 3, S, S) normalised, S a multiple of 16."""
        return F.normalize(self.head(self.hidden(pictures)))

    def hidden(self, pictures: Tensor) -> Tensor:
        """Return (N, hidden) float32: what the last linear map reads."""
        maps = rectified(self.trunk(self.stem(pictures.contiguous(memory_format=torch.channels_last))))
        poses = rectified(self.pooled(maps) + self.layout(maps) + self.bias)
        hidden: Tensor = self.normal(poses.mean(1))
        return hidden


class Reduction(nn.Module):
    """Half the pixels a side, more fields."""

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.convolution = DihedralConvolution(entering, leaving, 4, stride=2)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, channels, H / 2, W / 2) of (N, channels, H, W)."""
        reduced: Tensor = self.convolution(rectified(maps))
        return reduced


class Bottleneck(nn.Module):
    """A residual block: 1x1 to half the fields, 3x3, 1x1 back, added to what came in."""

    def __init__(self, width: int, deep: int) -> None:
        """deep: how many blocks came before it in its stage, each of which added some variance."""
        super().__init__()
        half = width // 2
        self.narrow, self.look = DihedralConvolution(width, half, 1), DihedralConvolution(half, half, 3)
        self.widen = DihedralConvolution(half, width, 1)
        self.expected_deviation = (1 + deep * BRANCH_GAIN**2) ** 0.5
        self.strength = nn.Parameter(torch.tensor(0.5))

    def forward(self, maps: Tensor) -> Tensor:
        """Return maps of the shape of these."""
        branch = self.narrow(rectified(maps / self.expected_deviation))
        branch = self.widen(rectified(self.look(rectified(branch))))
        added: Tensor = maps + branch * (self.strength * BRANCH_GAIN)
        return added


class PooledFields(nn.Module):
    """What is in the picture, wherever: the generalised mean of each field, read in eight poses."""

    order: Tensor

    def __init__(self, entering: int, fields: int, hidden: int) -> None:
        super().__init__()
        self.fields = DihedralConvolution(entering, fields, 1)
        self.power = nn.Parameter(torch.tensor(3.0))
        self.count = fields
        self.normal = nn.BatchNorm1d(fields)
        self.weight = nn.Parameter(torch.randn(fields * POSES, hidden) * (fields * POSES) ** -0.5)
        self.register_buffer("order", reading_order(fields, 1), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, POSES, hidden) float32."""
        found = rectified(self.fields(maps)).float().clamp(min=FLOOR)
        pooled = found.pow(self.power).mean((2, 3)).pow(1 / self.power)
        normal = self.normal(pooled.view(-1, self.count, POSES)).flatten(1)
        read: Tensor = normal[:, self.order] @ self.weight
        return read


class LayoutFields(nn.Module):
    """What is where: each field on a grid of LAYOUT x LAYOUT places, read in eight poses."""

    order: Tensor

    def __init__(self, entering: int, fields: int, hidden: int) -> None:
        super().__init__()
        self.fields = DihedralConvolution(entering, fields, 1)
        self.normal = nn.BatchNorm1d(fields)
        self.count = fields
        numbers = fields * POSES * LAYOUT**2
        self.weight = nn.Parameter(torch.randn(numbers, hidden) * numbers**-0.5)
        self.register_buffer("order", reading_order(fields, LAYOUT), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, POSES, hidden) float32."""
        reduce = area_matrix(maps.shape[-1], LAYOUT).float().to(maps.device)
        coarse = reduce @ rectified(self.fields(maps)).float() @ reduce.T
        normal = self.normal(coarse.reshape(-1, self.count, POSES * LAYOUT**2)).flatten(1)
        read: Tensor = normal[:, self.order] @ self.weight
        return read


def rectified(maps: Tensor) -> Tensor:
    """Return the maps without what is negative, with the variance they had."""
    return F.relu(maps) * RELU_GAIN


def reading_order(fields: int, side: int) -> Tensor:
    """Return (POSES, fields * POSES * side * side) int64: what the weights read when they are held in each pose."""
    orders = []
    for pose in range(POSES):
        places = pixel_order(side, pose).argsort()
        held = [relative_poses()[pose].index(base) for base in range(POSES)]
        orders.append(torch.cat([places + side**2 * (POSES * field + p) for field in range(fields) for p in held]))
    return torch.stack(orders)
