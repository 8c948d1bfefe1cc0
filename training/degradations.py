"""What a view loses on its way: tone, colour, sharpness, pixels, bits.

Every function takes and returns (N, 3, size, size) float32 RGB in [0, 1] and draws from the generator it is given.
"""

import math
from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from training.placements import chance, uniform

LUMA: Final = (0.299, 0.587, 0.114)
# Annex K of the JPEG standard, and JFIF's colour transform.
QUANTISATION: Final = (
    (16, 11, 10, 16, 24, 40, 51, 61), (12, 12, 14, 19, 26, 58, 60, 55), (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62), (18, 22, 37, 56, 68, 109, 103, 77), (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101), (72, 92, 95, 98, 112, 100, 103, 99),
)  # fmt: skip
TO_YCC: Final = ((0.299, 0.587, 0.114), (-0.1687, -0.3313, 0.5), (0.5, -0.4187, -0.0813))
BLOCK: Final = 8


def toned(views: Tensor, strong: Tensor, rng: Generator) -> Tensor:
    """Return the views brighter or darker, flatter or harder, bent by a gamma; weak ones a little."""
    count = len(views)
    reach = torch.where(strong, 1, 0.4)

    def factor(share: float, spread: float) -> Tensor:
        drawn = uniform(count, -spread, spread, rng) * reach
        return torch.where(chance(count, share, rng), drawn, 0).exp().view(-1, 1, 1, 1)

    views = views * factor(0.5, 0.55)
    middle = views.mean((1, 2, 3), keepdim=True)
    views = (views - middle) * factor(0.5, 0.6) + middle
    return views.clamp(1e-4, 1) ** factor(0.25, 0.5)


def recoloured(views: Tensor, strong: Tensor, rng: Generator) -> Tensor:
    """Return the views with their hues turned, paler or stronger colours, or none."""
    count = len(views)
    saturation = torch.where(chance(count, 0.4, rng), uniform(count, 0.2, 1.8, rng), 1)
    saturation = torch.where(chance(count, 0.15, rng), 0, saturation)
    saturation = torch.where(strong, saturation, 1 + (saturation - 1) * 0.3)
    angle = torch.where(chance(count, 0.3, rng), torch.randn(count, generator=rng) * 0.6, 0)
    angle = angle * torch.where(strong, 1, 0.2)
    turned = (_hue_turns(angle) @ views.flatten(2)).view_as(views)
    grey = (turned * torch.tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    return (grey + (turned - grey) * saturation.view(-1, 1, 1, 1)).clamp(0, 1)


def reduced(views: Tensor, strong: Tensor, rng: Generator) -> Tensor:
    """Return the views with fewer pixels or out of focus: some enlarged again, some in squares, some blurred."""
    size, draw = views.shape[-1], torch.where(strong, torch.rand(len(views), generator=rng), 1)
    views = views.clone()
    for low, high, share, mode in ((0, 0.08, 0.5, "bilinear"), (0.08, 0.12, 0.3, "bilinear"),
                                   (0.12, 0.15, 0.5, "nearest"), (0.15, 0.19, 0.33, "nearest")):  # fmt: skip
        (rows,) = ((draw >= low) & (draw < high)).nonzero(as_tuple=True)
        if len(rows):
            few = F.interpolate(views[rows], (round(size * share),) * 2, mode="bilinear", antialias=True)
            views[rows] = F.interpolate(few, (size, size), mode=mode)
    for low, high, sigma in ((0.19, 0.27, 0.012), (0.27, 0.33, 0.02)):
        (rows,) = ((draw >= low) & (draw < high)).nonzero(as_tuple=True)
        if len(rows):
            views[rows] = _blurred(views[rows], sigma * size)
    return views


def noisy(views: Tensor, strong: Tensor, rng: Generator) -> Tensor:
    """Return the views, some of the strong ones under noise like a sensor's."""
    (rows,) = (chance(len(views), 0.12, rng) & strong).nonzero(as_tuple=True)
    views = views.clone()
    amount = uniform(len(rows), 0.01, 0.08, rng).view(-1, 1, 1, 1)
    views[rows] = (views[rows] + torch.randn(views[rows].shape, generator=rng) * amount).clamp(0, 1)
    return views


def recompressed(views: Tensor, rng: Generator) -> Tensor:
    """Return the views, a fifth of them as a JPEG of quality 10 to 90 shows them; sides are multiples of 8."""
    (rows,) = chance(len(views), 0.2, rng).nonzero(as_tuple=True)
    views = views.clone()
    views[rows] = _jpeg(views[rows], uniform(len(rows), 10, 90, rng))
    return views


def _hue_turns(angle: Tensor) -> Tensor:
    """Return (N, 3, 3): rotations of colour space around grey."""
    thirds = torch.full((3, 3), 1 / 3)
    cross = torch.tensor([[0.0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    cos, sin = angle.cos().view(-1, 1, 1), angle.sin().view(-1, 1, 1)
    return cos * torch.eye(3) + (1 - cos) * thirds + sin * cross


def _blurred(views: Tensor, sigma: float) -> Tensor:
    """Return the views after a Gaussian of sigma pixels; borders are repeated."""
    radius = max(1, round(3 * sigma))
    weights = torch.exp(-(torch.arange(-radius, radius + 1.0) ** 2) / (2 * sigma**2))
    weights = weights / weights.sum()
    planes = F.pad(views.flatten(0, 1)[:, None], (radius,) * 4, mode="replicate")
    return F.conv2d(F.conv2d(planes, weights.view(1, 1, 1, -1)), weights.view(1, 1, -1, 1)).view_as(views)


def _jpeg(views: Tensor, quality: Tensor) -> Tensor:
    count, _, size, _ = views.shape
    to_ycc = torch.tensor(TO_YCC)
    levels = torch.einsum("ij,njhw->nihw", to_ycc, views * 255) - torch.tensor([128.0, 0, 0]).view(1, 3, 1, 1)
    blocks = levels.view(count, 3, size // BLOCK, BLOCK, size // BLOCK, BLOCK).permute(0, 1, 2, 4, 3, 5)
    scale = torch.where(quality < 50, 50 / quality, 2 - quality / 50)
    steps = (torch.tensor(QUANTISATION) * scale.view(-1, 1, 1)).clamp(min=1)
    steps = torch.stack([steps, steps * 1.4, steps * 1.4], 1)[:, :, None, None]  # chroma is kept more coarsely
    basis = _cosines()
    coefficients = ((basis @ blocks @ basis.T) / steps).round() * steps
    blocks = (basis.T @ coefficients @ basis).permute(0, 1, 2, 4, 3, 5).reshape_as(levels)
    restored = blocks + torch.tensor([128.0, 0, 0]).view(1, 3, 1, 1)
    return (torch.einsum("ij,njhw->nihw", torch.linalg.inv(to_ycc), restored) / 255).clamp(0, 1)


def _cosines() -> Tensor:
    """Return the (8, 8) orthonormal DCT-II."""
    k = torch.arange(float(BLOCK))
    rows = torch.cos((2 * k[None] + 1) * k[:, None] * math.pi / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    rows[0] /= math.sqrt(2)
    return rows
