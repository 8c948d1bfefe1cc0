"""Convolutions that do not care how a picture is turned or mirrored.

The eight turns and mirrors of a square form the dihedral group. A *field* is one learned pattern in its eight *poses*:
eight channels, computed with one kernel that is turned and mirrored along (Cohen and Welling, "Group equivariant
convolutional networks", 2016). When the picture is turned, the maps are turned and the poses change places, nothing
else, so a mean over poses and places is the same for all eight: exactly, up to the order of the sums.

Kernels are standardised and scaled instead of batch-normalised (Brock et al., "Characterizing signal propagation to
close the performance gap in unnormalized ResNets", 2021). Strides need even kernels, odd ones would prefer a corner.
"""

import copy
from functools import cache
from typing import Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

POSES: Final = 8
EPS: Final = 1e-5
# The scale of a standardised kernel shows nowhere but in how fast it changes; with 1 the optimiser moves it too slowly.
INITIAL: Final = 0.1


def posed(planes: Tensor, pose: int) -> Tensor:
    """Return the (..., n, n) planes in one of the eight poses; pose 0 leaves them as they are."""
    return torch.rot90(planes.flip(-1) if pose >= POSES // 2 else planes, pose % 4, (-2, -1))


@cache
def relative_poses() -> tuple[tuple[int, ...], ...]:
    """Return for poses g and h the pose that comes before h when g is taken away: the inverse of g times h."""
    probe = torch.arange(9).view(3, 3)
    poses = [posed(probe, pose) for pose in range(POSES)]

    def that_gives(g: int, h: int) -> int:
        return next(pose for pose in range(POSES) if torch.equal(posed(poses[pose], g), poses[h]))

    return tuple(tuple(that_gives(g, h) for h in range(POSES)) for g in range(POSES))


def pixel_order(size: int, pose: int) -> Tensor:
    """Return (size * size,) int64: which pixel of a flat plane lies at each place once it has this pose."""
    return posed(torch.arange(size * size).view(size, size), pose).flatten()


def kernel_order(size: int, *, from_picture: bool) -> Tensor:
    """Return (POSES, poses in * size * size) int64: for each pose of the output, where its kernel reads the base one.

    from_picture: the input is a picture, which has one pose, and no fields.
    """
    orders = []
    for pose in range(POSES):
        pixels = pixel_order(size, pose)
        entering = [0] if from_picture else list(relative_poses()[pose])
        orders.append(torch.cat([pixels + size * size * source for source in entering]))
    return torch.stack(orders)


class DihedralConvolution(nn.Module):
    """A convolution from fields (or a picture) to fields, with scaled weight standardisation."""

    order: Tensor

    def __init__(self, entering: int, leaving: int, size: int, *, stride: int = 1, from_picture: bool = False) -> None:
        """entering: fields, or colours of a picture. leaving: fields. size: pixels on a side of the kernel."""
        super().__init__()
        self.stride, self.padding = stride, (size - 1) // 2
        self.entering, self.leaving, self.size = entering, leaving, size
        poses = 1 if from_picture else POSES
        self.weight = nn.Parameter(INITIAL * torch.randn(leaving, entering, poses * size * size))
        self.gain = nn.Parameter(torch.ones(leaving, 1))
        self.bias = nn.Parameter(torch.zeros(leaving))
        self.register_buffer("order", kernel_order(size, from_picture=from_picture), persistent=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Return (N, leaving * POSES, h, w) of (N, channels, H, W)."""
        kernels, bias = self.expanded()
        return F.conv2d(maps, kernels, bias, self.stride, self.padding)

    def expanded(self) -> tuple[Tensor, Tensor]:
        """Return the kernels and biases of the ordinary convolution that this one amounts to."""
        rows = self.weight.flatten(1)
        variance, mean = torch.var_mean(rows, 1, correction=0, keepdim=True)
        rows = (rows - mean) * (self.gain * torch.rsqrt(variance * rows.shape[1] + EPS))
        poses = rows.view_as(self.weight)[:, :, self.order]  # leaving, entering, pose, pose in and pixels
        kernels = poses.transpose(1, 2).reshape(self.leaving * POSES, -1, self.size, self.size)
        return kernels, self.bias.repeat_interleave(POSES)

    def plain(self) -> nn.Conv2d:
        """Return the ordinary convolution that this one amounts to; its weights are computed in float64."""
        with torch.no_grad():
            kernels, bias = copy.deepcopy(self).double().expanded()
        plain = nn.Conv2d(
            kernels.shape[1], kernels.shape[0], self.size, stride=self.stride, padding=self.padding, device="meta"
        )
        plain.weight, plain.bias = nn.Parameter(kernels.float()), nn.Parameter(bias.float())
        return plain


def make_plain(module: nn.Module) -> None:
    """Put an ordinary convolution in the place of each dihedral one inside the module, which is changed."""
    for name, child in list(module.named_children()):
        if isinstance(child, DihedralConvolution):
            setattr(module, name, child.plain())
        else:
            make_plain(child)
