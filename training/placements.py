"""Where a view shows its picture: cropped, squashed, turned, framed, small inside another picture, beside one.

Coordinates run from -1 to 1 over a frame, x first. A placement leads from the view to the picture:

    view --(minus shift, over extent)--> the picture's own frame --(turn)--> (+ crop) --> place in the picture
"""

import math
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

SMALLEST_CROP: Final = 0.27  # share of a side
WHOLE: Final = (0.0, 0.0, 1.0, 1.0)  # the window of a picture that is used as a whole: centre x, y, half sides
LEVELS: Final = 3  # of the pyramid that keeps small copies from aliasing


@dataclass(frozen=True, slots=True)
class Placement:
    """How each of N views shows its picture; each field is (N, 2) but angle, aspect and beside, which are (N,)."""

    shift: Tensor  # centre of the picture in the view
    extent: Tensor  # half sides of the picture in the view; 1 fills it
    angle: Tensor  # radians
    aspect: Tensor  # width over height of the picture as it was when it was turned
    crop_centre: Tensor
    crop_extent: Tensor
    beside: Tensor  # (N,) bool: other pictures are around it, not a screen or a plain colour


@dataclass(frozen=True, slots=True)
class Placed:
    """Views with nothing around the picture yet."""

    pixels: Tensor  # (N, 3, size, size) in [0, 1]
    covered: Tensor  # (N, 1, size, size) in [0, 1]: how much of each pixel the picture covers
    placement: Placement


def uniform(count: int, low: float, high: float, rng: Generator) -> Tensor:
    """Return (count,) float32 between low and high."""
    return torch.rand(count, generator=rng) * (high - low) + low


def chance(count: int, share: float, rng: Generator) -> Tensor:
    """Return (count,) bool, true for about this share."""
    return torch.rand(count, generator=rng) < share


def random_placement(strong: Tensor, rng: Generator) -> Placement:
    """Return a placement for each view; strong: (N,) bool, the others are hardly moved."""
    count = len(strong)
    centre, extent = _random_crops(strong, rng)
    shift, room, beside = _random_frames(strong, rng)
    angle = torch.randn(count, generator=rng) * 0.3
    angle = torch.where(chance(count, 0.5, rng), uniform(count, -math.pi / 4, math.pi / 4, rng), angle)
    angle = torch.where(chance(count, 0.25, rng) & strong, angle, 0)
    aspect = uniform(count, -0.45, 0.45, rng).exp()
    return Placement(shift, room, angle, aspect, centre, extent, beside)


def pyramid(pictures: Tensor) -> list[Tensor]:
    """Return the (N, 3, S, S) pictures and ever smaller copies of them, each half the side of the one before."""
    levels = [pictures]
    while len(levels) < LEVELS:
        levels.append(F.avg_pool2d(levels[-1], 2))
    return levels


def place(levels: list[Tensor], windows: Tensor, placement: Placement, size: int) -> Placed:
    """Return views of the pictures of a pyramid; windows: (N, 4) the part of each that counts, as WHOLE."""
    matrix = _view_to_frame(placement)
    line = (torch.arange(size) + 0.5) * (2 / size) - 1
    points = torch.stack([line.expand(size, size), line[:, None].expand(size, size), torch.ones(size, size)], -1)
    in_frame = points.view(1, -1, 3) @ matrix.transpose(1, 2)  # (N, size * size, 2), within 1 on the picture
    in_window = in_frame * placement.crop_extent[:, None] + placement.crop_centre[:, None]
    in_picture = in_window * windows[:, None, 2:] + windows[:, None, :2]
    shown = matrix[:, :, :2].abs().sum(2) * placement.crop_extent * windows[:, 2:]  # picture widths per view width
    pixels = _sampled(levels, in_picture.view(-1, size, size, 2), shown.amax(1) * levels[0].shape[-1] / size)
    return Placed(pixels, _coverage(in_frame, matrix, size).view(-1, 1, size, size), placement)


def _random_crops(strong: Tensor, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return centres and half sides (N, 2): down to SMALLEST_CROP of a side, or a narrow strip off the edges."""
    count = len(strong)
    side = uniform(count, math.log(SMALLEST_CROP), 0, rng).exp()
    side = torch.where(strong, side, uniform(count, 0.92, 1, rng))
    ratio = uniform(count, -0.3, 0.3, rng).exp() ** strong.float()
    extent = torch.stack([side * ratio, side / ratio], 1).clamp(max=1)
    extent[~chance(count, 0.55, rng)] = 1
    return (torch.rand(count, 2, generator=rng) * 2 - 1) * (1 - extent), extent


def _random_frames(strong: Tensor, rng: Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Return shifts and half sides (N, 2) of the picture in the view, and whether other pictures are around."""
    count = len(strong)
    kind = torch.where(strong, torch.rand(count, generator=rng), 1)
    framed, inset, collage = kind < 0.2, (kind >= 0.2) & (kind < 0.32), (kind >= 0.32) & (kind < 0.4)
    extent = torch.ones(count, 2)
    margins = torch.rand(count, 2, generator=rng) * 0.5 * (torch.rand(count, 2, generator=rng) < 0.75)
    extent[framed] -= margins[framed]
    side = uniform(count, math.log(0.27), math.log(0.65), rng).exp()
    ratio = uniform(count, -0.2, 0.2, rng).exp()
    extent[inset] = torch.stack([side * ratio, side / ratio], 1)[inset]
    across = chance(count, 0.5, rng).float()
    extent[collage] = torch.stack([1 - across / 2, 0.5 + across / 2], 1)[collage]
    where = torch.rand(count, 2, generator=rng) * 2 - 1
    where[collage] = where[collage].sign()  # one of the two halves, never between them
    where[framed & chance(count, 0.5, rng)] = 0
    return where * (1 - extent), extent, inset | collage


def _view_to_frame(placement: Placement) -> Tensor:
    """Return (N, 2, 3): the affine map from a place in the view to the place in the picture's frame."""
    cos, sin = placement.angle.cos(), placement.angle.sin()
    # A turned picture is shrunk until its corners fit, as an editor does that keeps all of it.
    wide, high = cos.abs() + sin.abs() / placement.aspect, cos.abs() + sin.abs() * placement.aspect
    turn = torch.stack([cos * wide, sin * high / placement.aspect, -sin * wide * placement.aspect, cos * high], 1)
    linear = turn.view(-1, 2, 2) / placement.extent[:, None]
    return torch.cat([linear, -linear @ placement.shift[..., None]], 2)


def _coverage(points: Tensor, matrix: Tensor, size: int) -> Tensor:
    """Return (N, places): 1 inside the picture, 0 outside, and the share of the pixel along the edge."""
    pixel = torch.linalg.vector_norm(matrix[:, None, :, :2], dim=3) * (2 / size)  # how far a step of one pixel leads
    covered: Tensor = ((1 - points.abs()) / pixel + 0.5).clamp(0, 1).amin(2)
    return covered


def _sampled(levels: list[Tensor], places: Tensor, reduction: Tensor) -> Tensor:
    """Return the pictures at these places, each from the level of its pyramid that has about the view's pixels."""
    level = reduction.log2().round().clamp(0, LEVELS - 1)
    views = torch.empty(len(places), 3, *places.shape[1:3])
    for reduced, pictures in enumerate(levels):
        (rows,) = (level == reduced).nonzero(as_tuple=True)
        if len(rows):
            views[rows] = F.grid_sample(pictures[rows], places[rows], padding_mode="border", align_corners=False)
    return views
