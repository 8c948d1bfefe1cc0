"""The last linear map, fitted once the network is trained: what edits change shrinks, what tells pictures apart stays.

A linear discriminant analysis in closed form, with every picture a class of its own views: whiten what varies between
views of one picture, then keep the principal axes of the pictures' means.
"""

from typing import Final

import torch
from torch import Tensor, nn

SHRINKAGE: Final = 1.0  # of the mean variance within pictures, added to each: axes without noise are not trusted


def discriminant_axes(hidden: Tensor, dims: int, shrinkage: float = SHRINKAGE) -> tuple[Tensor, Tensor]:
    """Return the mean (H,) and the axes (H, dims), float64, of (pictures, views, H) numbers, most telling axis first.

    Raises:
        ValueError: there are no more pictures than dims, or more dims than numbers.
    """
    pictures, views, numbers = hidden.shape
    if not dims <= numbers or not dims < pictures:
        raise ValueError(f"{pictures} pictures of {numbers} numbers do not determine {dims} axes")
    hidden = hidden.double()
    means = hidden.mean(1, keepdim=True)
    within = (hidden - means).flatten(0, 1)
    variances, directions = torch.linalg.eigh(within.T @ within / (pictures * (views - 1)))
    whitening = directions / (variances + shrinkage * variances.mean()).sqrt()
    mean = means.mean((0, 1))
    between = (means[:, 0] - mean) @ whitening
    _, axes = torch.linalg.eigh(between.T @ between)
    return mean, whitening @ axes.flip(1)[:, :dims]


def set_head(head: nn.Linear, numbers: Tensor, shrinkage: float = SHRINKAGE) -> None:
    """Make the linear map one onto the discriminant axes of these (pictures, views, numbers)."""
    mean, axes = discriminant_axes(numbers, head.out_features, shrinkage)
    axes = axes / axes.norm(dim=0).mean()  # the scale shows nowhere; this one suits half precision
    with torch.no_grad():
        head.weight.copy_(axes.T)
        head.bias.copy_(-(mean @ axes))
