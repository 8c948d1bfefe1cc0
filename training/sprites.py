"""Drawn things that views are covered with or shown on: captions, stickers, and the screens around a picture."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Generator, Tensor

from indexer.procedural.shapes import random_characters
from training.placements import chance

STICKERS: Final = 500
SCREENS: Final = 300
Colour = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Sprites:
    """A stock to draw from, for views of one size; uint8."""

    stickers: Tensor  # (STICKERS, 4, size, size), the last plane is the opacity
    screens: Tensor  # (SCREENS, 3, size, size)

    def put_on(self, views: Tensor, rows: Tensor, rng: Generator) -> Tensor:
        """Return the (N, 3, size, size) views in [0, 1] with one sticker on each of these rows."""
        chosen = self.stickers[torch.randint(len(self.stickers), (len(rows),), generator=rng)].float() / 255
        opacity = chosen[:, 3:] * torch.where(chance(len(rows), 0.8, rng), 1, 0.7).view(-1, 1, 1, 1)
        views = views.clone()
        views[rows] = views[rows] * (1 - opacity) + chosen[:, :3] * opacity
        return views

    def grounds(self, count: int, rng: Generator) -> Tensor:
        """Return (count, 3, size, size) in [0, 1]: screens."""
        return self.screens[torch.randint(len(self.screens), (count,), generator=rng)].float() / 255


def drawn_sprites(size: int, seed: int) -> Sprites:
    """Return the stock for views of this many pixels a side; a seed gives the same one."""
    rng = np.random.default_rng([seed, size])
    stickers = [np.asarray(_sticker(size, rng)) for _ in range(STICKERS)]
    screens = [np.asarray(_screen(size, rng)) for _ in range(SCREENS)]
    planes = [torch.from_numpy(np.stack(drawn)).permute(0, 3, 1, 2) for drawn in (stickers, screens)]
    return Sprites(*(drawn.contiguous() for drawn in planes))


def _sticker(size: int, rng: np.random.Generator) -> Image.Image:
    """Return RGBA: one to three lines of text, faces, or boxes with a word."""
    picture = Image.new("RGBA", (size, size))
    draw = ImageDraw.Draw(picture)
    kind = rng.integers(3)
    for _ in range(int(rng.integers(1, 4))):
        x, y = (int(v) for v in rng.integers(-size // 10, size, 2))
        if kind == 0:
            _outlined_text(draw, (x // 2, y), size, rng)
        elif kind == 1:
            _face(draw, (x, y), int(size * rng.uniform(0.06, 0.25)), rng)
        else:
            width, height = (int(size * share) for share in rng.uniform(0.08, 0.45, 2))
            draw.rectangle((x, y, x + width, y + height), fill=(*_colour(rng), 255))
            _outlined_text(draw, (x, y + height // 2), size, rng)
            break
    return picture


def _outlined_text(draw: ImageDraw.ImageDraw, place: tuple[int, int], size: int, rng: np.random.Generator) -> None:
    colour = _colour(rng)
    opposite = (255 - colour[0], 255 - colour[1], 255 - colour[2])
    words = random_characters(rng, int(rng.integers(3, 16)))
    letters = ImageFont.load_default(max(5, int(size * rng.uniform(0.05, 0.16))))
    draw.text(place, words, font=letters, fill=colour, stroke_width=int(rng.integers(0, 2)), stroke_fill=opposite)


def _face(draw: ImageDraw.ImageDraw, centre: tuple[int, int], radius: int, rng: np.random.Generator) -> None:
    ink = _colour(rng)
    x, y = centre
    draw.circle(centre, radius, fill=_colour(rng))
    for side in (-1, 1):
        draw.circle((x + side * radius // 3, y - radius // 4), max(1, radius // 6), fill=ink)
    mouth = (x - radius // 2, y - radius // 2, x + radius // 2, y + radius // 2)
    draw.arc(mouth, 20, 160, fill=ink, width=max(1, radius // 8))


def _screen(size: int, rng: np.random.Generator) -> Image.Image:
    """Return RGB: a plain ground, light or dark more often than not, with or without lines of text and icons."""
    level = int(rng.choice([255, 255, 250, 240, 0, 0, 20, 40])) if rng.random() < 0.8 else int(rng.integers(256))
    ground = (level, level, level) if rng.random() < 0.8 else _colour(rng)
    picture = Image.new("RGB", (size, size), ground)
    if rng.random() < 0.4:
        return picture
    draw = ImageDraw.Draw(picture)
    for _ in range(int(rng.integers(1, 9))):
        ink = 255 - level if rng.random() < 0.7 else int(rng.integers(256))
        place = (int(rng.integers(0, size // 2)), int(rng.integers(0, size)))
        letters = ImageFont.load_default(max(5, int(size * rng.uniform(0.05, 0.13))))
        draw.text(place, random_characters(rng, int(rng.integers(3, 18))), font=letters, fill=(ink, ink, ink))
    for _ in range(int(rng.integers(0, 4))):
        place = (int(rng.integers(0, size)), int(rng.integers(0, size)))
        draw.circle(place, int(size * rng.uniform(0.02, 0.08)), fill=_colour(rng))
    return picture


def _colour(rng: np.random.Generator) -> Colour:
    red, green, blue = (int(level) for level in rng.integers(0, 256, 3))
    return red, green, blue
