"""Edited views of pictures: what the backbone learns to see through.

Of the two views of a picture one is often weak, as the picture in a collection is, and the other strong, as a copy may
be. Edits of the quality bench that are marked unseen (`indexer/quality`) have no part in this, nor have quarter turns
and mirrors: the network is indifferent to them by its make.
"""

from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from training.degradations import noisy, recoloured, recompressed, reduced, toned
from training.placements import WHOLE, Placed, chance, place, pyramid, random_placement, uniform
from training.sprites import Sprites

WEAK_SHARE: Final = 0.5  # of first views
AGAIN_SHARE: Final = 0.2  # of strong views, which are edited twice
FEW: Final = 2  # views: with fewer there is no other picture to be around one


@dataclass(frozen=True, slots=True)
class Batch:
    """Pictures, and the part of each that counts as a picture of its own."""

    pictures: Tensor  # (N, S, S, 3) uint8
    windows: Tensor  # (N, 4) centre x, y and half sides, from -1 to 1


def two_views(batch: Batch, size: int, sprites: Sprites, share: float, rng: Generator) -> tuple[Tensor, Tensor]:
    """Return two edited views of each picture, (N, 3, size, size) float32 RGB in [0, 1] both.

    share: how many of the second views are strong; all but WEAK_SHARE of as many of the first ones.
    """
    levels = pyramid(batch.pictures.permute(0, 3, 1, 2).float() / 255)
    first = chance(len(levels[0]), share * (1 - WEAK_SHARE), rng)
    second = chance(len(levels[0]), share, rng)
    views = [edited(levels, batch.windows, strong, size, sprites, rng) for strong in (first, second)]
    return views[0], views[1]


def edited(
    levels: list[Tensor], windows: Tensor, strong: Tensor, size: int, sprites: Sprites, rng: Generator
) -> Tensor:
    """Return a view of each of the pictures of a pyramid; strong: (N,) bool."""
    placed = place(levels, windows, random_placement(strong, rng), size)
    views = _edited_once(levels, placed, strong, sprites, rng)
    (again,) = (chance(len(views), AGAIN_SHARE, rng) & strong).nonzero(as_tuple=True)
    if len(again) > FEW:
        seen = pyramid(views[again])
        placed = place(seen, torch.tensor(WHOLE).expand(len(again), 4), random_placement(strong[again], rng), size)
        views[again] = _edited_once(seen, placed, strong[again], sprites, rng)
    return recompressed(noisy(views, strong, rng), rng)


def _edited_once(levels: list[Tensor], placed: Placed, strong: Tensor, sprites: Sprites, rng: Generator) -> Tensor:
    views = recoloured(toned(placed.pixels, strong, rng), strong, rng)
    (framed,) = (placed.covered.amin((1, 2, 3)) < 1).nonzero(as_tuple=True)
    if len(framed):
        covered, around = placed.covered[framed], _surroundings(levels, placed, framed, sprites, rng)
        views[framed] = views[framed] * covered + around * (1 - covered)
    (rows,) = (chance(len(views), 0.3, rng) & (strong | chance(len(views), 0.3, rng))).nonzero(as_tuple=True)
    return reduced(sprites.put_on(views, rows, rng), strong, rng)


def _surroundings(levels: list[Tensor], placed: Placed, rows: Tensor, sprites: Sprites, rng: Generator) -> Tensor:
    """Return what is around these views: another picture, a screen, or one colour, mostly black or white."""
    size, count, many = placed.pixels.shape[-1], len(rows), len(levels[0])
    colours = torch.rand(count, 3, generator=rng)
    black_or_white = chance(count, 0.5, rng).float()[:, None].expand(count, 3)
    colours = torch.where(chance(count, 0.7, rng)[:, None], black_or_white, colours)
    around = colours[..., None, None].expand(-1, -1, size, size)
    screens = chance(count, 0.6, rng) & (placed.placement.angle[rows] == 0)
    around = torch.where(screens.view(-1, 1, 1, 1), sprites.grounds(count, rng), around)
    (beside,) = placed.placement.beside[rows].nonzero(as_tuple=True)
    if len(beside):
        # Far enough along that tiles of one picture, which follow one another, are not around each other.
        step = int(torch.randint(min(FEW, many - 1), many, (1,), generator=rng))
        others = levels[1][(rows[beside] + step) % many]
        others = F.interpolate(others, (size, size), mode="bilinear", antialias=True)
        around[beside] = others * uniform(len(beside), 0.6, 1, rng).view(-1, 1, 1, 1)
    return around
