"""Textured, shaded, shadowed shapes painted onto a picture, and the plain marks that graphics are made of."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from indexer.procedural.resampling import SIZE, Picture, blur
from indexer.procedural.textures import FULL_TURN, TexturePool, random_colour

Point = tuple[float, float]  # x, y in pixels
Light = tuple[float, float]  # the direction from which surfaces get brighter

OVERSAMPLING = 4  # masks are drawn this many times larger, for smooth edges


def outline(rng: np.random.Generator, centre: Point, radius: float) -> NDArray[np.float64]:
    """Return the (n, 2) corners of a turned ellipse, quadrangle, polygon, star or blob of about this radius."""
    kind = rng.choice(["ellipse", "quadrangle", "polygon", "star", "blob", "blob"])
    turn = rng.uniform(0, FULL_TURN)
    squash = 1.0
    if kind == "ellipse":
        radii, squash = np.ones(40), rng.uniform(0.3, 1)
    elif kind == "quadrangle":
        radii, squash = np.ones(4), rng.uniform(0.2, 1)
    elif kind == "polygon":
        radii = rng.uniform(0.4, 1, int(rng.integers(3, 9)))
    elif kind == "star":
        points = 2 * int(rng.integers(3, 9))
        radii = np.where(np.arange(points) % 2, rng.uniform(0.3, 0.8), 1)
    else:
        radii, squash = _blob_radii(rng), rng.uniform(0.4, 1)
    angle = np.linspace(0, FULL_TURN, len(radii), endpoint=False)
    x, y = radius * radii * np.cos(angle), radius * radii * np.sin(angle) * squash
    turned = [x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)]
    return np.stack(turned, axis=1) + centre


def paint_shape(
    picture: Picture,
    pool: TexturePool,
    centre: Point,
    radius: float,
    *,
    light: Light | None = None,
    plain: float | None = None,
) -> None:
    """Paint a random shape onto the picture, in place; nothing happens when it lies outside.

    light: shades the shape from there; without it half of all shapes are shaded from anywhere.
    plain: below 0.35 the shape is of one colour, else textured; drawn when not given.
    """
    rng = pool.rng
    corners = outline(rng, centre, radius)
    left, top = np.maximum(np.floor(corners.min(0)).astype(int) - 1, 0)
    right, bottom = np.minimum(np.ceil(corners.max(0)).astype(int) + 2, SIZE)
    if right - left < 2 or bottom - top < 2:
        return
    mask = _mask(corners - (left, top), (int(right - left), int(bottom - top)))
    opacity = 1 if rng.random() < 0.9 else rng.uniform(0.4, 0.9)
    surface = _surface(pool, mask.shape, plain)
    if light is not None or rng.random() < 0.5:
        toward = light if light is not None else tuple(rng.normal(0, 1, 2))
        across = (np.arange(left, right) - centre[0]) / radius * toward[0]
        down = (np.arange(top, bottom) - centre[1]) / radius * toward[1]
        surface = surface * np.clip(1 + 0.45 * (across[None] + down[:, None]), 0.1, 1.8)[..., None]
    under = picture[top:bottom, left:right]
    if rng.random() < 0.25:
        under *= 1 - 0.5 * _shadow(mask, radius)[..., None]
    alpha = (mask * np.float32(opacity))[..., None]
    under += alpha * (np.clip(surface, 0, 1) - under)
    if rng.random() < 0.1:
        _trace(picture, np.concatenate([corners, corners[:1]]), random_colour(rng), int(rng.integers(1, 3)))


def paint_mark(picture: Picture, pool: TexturePool) -> None:
    """Paint a rectangle, line, circle, text, texture patch, curve or shape onto the picture, in place."""
    rng = pool.rng
    x, y = (int(v) for v in rng.integers(0, SIZE, 2))
    width, height = (int(v) for v in rng.integers(5, 90, 2))
    kind = rng.choice(["rectangle", "line", "circle", "text", "patch", "curve", "shape"])
    if kind == "patch":
        patch = (slice(y, y + height), slice(x, x + width))
        picture[patch] = pool.pick_varied()[patch]
    elif kind == "shape":
        paint_shape(picture, pool, (x, y), width / 2, plain=0.0)
    elif kind == "curve":
        places = np.stack([np.linspace(0, SIZE, 24), y + np.cumsum(rng.normal(0, 8, 24))], axis=1)
        _trace(picture, places, random_colour(rng), int(rng.integers(1, 3)))
    else:
        canvas = _canvas(picture)
        _draw_mark(ImageDraw.Draw(canvas), rng, str(kind), (x, y, width, height))
        picture[:] = np.asarray(canvas, np.float32) / 255


def random_characters(rng: np.random.Generator, length: int) -> str:
    """Return this many printable ASCII characters."""
    return "".join(chr(code) for code in rng.integers(33, 122, length))


def _draw_mark(draw: ImageDraw.ImageDraw, rng: np.random.Generator, kind: str, box: Sequence[int]) -> None:
    x, y, width, height = box
    colour = _levels(random_colour(rng))
    filled = colour if rng.random() < 0.7 else None
    if kind == "rectangle":
        draw.rectangle((x, y, x + width, y + height), fill=filled, outline=colour)
    elif kind == "line":
        draw.line((x, y, *(int(v) for v in rng.integers(0, SIZE, 2))), fill=colour, width=int(rng.integers(1, 4)))
    elif kind == "circle":
        draw.circle((x, y), width // 2, fill=filled, outline=colour, width=2)
    else:
        for line in range(int(rng.integers(1, 7))):
            # The font inside Pillow: the same letters on every machine, and nothing to install.
            heading = ImageFont.load_default(int(rng.integers(9, 28)) if line == 0 else 11)
            words = random_characters(rng, int(rng.integers(3, 22)))
            draw.text((x // 2, y + 12 * line), words, font=heading, fill=colour, anchor="ls")


def _blob_radii(rng: np.random.Generator) -> NDArray[np.float64]:
    """Return 48 radii, at most 1, of a smooth closed curve: a few harmonics, the high ones weaker."""
    angle = np.linspace(0, FULL_TURN, 48, endpoint=False)
    radii = np.ones(48)
    for k in range(1, int(rng.integers(3, 8))):
        radii += rng.normal(0, 0.35 / k) * np.cos(k * angle + rng.uniform(0, FULL_TURN))
    return np.asarray(radii / np.abs(radii).max())


def _surface(pool: TexturePool, shape: tuple[int, ...], plain: float | None) -> NDArray[np.float32]:
    """Return colours that broadcast to (*shape, 3): one colour, or a piece of texture, tinted or not."""
    rng = pool.rng
    if (rng.random() if plain is None else plain) < 0.35:
        return random_colour(rng)[None, None]
    height, width = shape
    top, left = int(rng.integers(0, SIZE - height + 1)), int(rng.integers(0, SIZE - width + 1))
    piece = pool.pick()[top : top + height, left : left + width]
    if rng.random() < 0.4:
        return np.asarray((piece + random_colour(rng)) / 2, np.float32)
    return piece


def _mask(corners: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.float32]:
    """Return (height, width) in [0, 1], 1 inside the polygon; size: width, height."""
    large = Image.new("L", (size[0] * OVERSAMPLING, size[1] * OVERSAMPLING))
    points = [(float(x), float(y)) for x, y in corners * OVERSAMPLING]
    ImageDraw.Draw(large).polygon(points, fill=255)
    return np.asarray(large.reduce(OVERSAMPLING), np.float32) / np.float32(255)


def _shadow(mask: NDArray[np.float32], radius: float) -> NDArray[np.float32]:
    """Return the mask blurred and moved down and right, as a soft shadow falls."""
    shift = int(radius * 0.15) + 1
    return np.roll(blur(mask, max(1.0, radius * 0.15)), (shift, shift), axis=(0, 1))


def _trace(picture: Picture, places: NDArray[np.float64], colour: NDArray[np.float32], width: int) -> None:
    """Draw a line through the (n, 2) places onto the picture, in place."""
    canvas = _canvas(picture)
    points = [(float(x), float(y)) for x, y in places]
    ImageDraw.Draw(canvas).line(points, fill=_levels(colour), width=width, joint="curve")
    picture[:] = np.asarray(canvas, np.float32) / 255


def _canvas(picture: Picture) -> Image.Image:
    return Image.fromarray(np.clip(picture * 255, 0, 255).astype(np.uint8))


def _levels(colour: NDArray[np.float32]) -> tuple[int, int, int]:
    red, green, blue = (int(level) for level in colour * 255)
    return red, green, blue
