"""What people do to the pixels and the frame of a picture they copy.

Every function takes an RGB picture and returns a new one, leaving the given one alone; what is left to chance comes
from the generator. Sizes are relative to the picture.
"""

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Picture = Image.Image
Colour = tuple[int, int, int]

SMALLEST = 8  # pixels a side that every picture keeps
LEAST_CONTRAST = 8.0  # standard deviation of the luma, in levels, below which a picture is nearly blank
TRIES = 20
BLACK, WHITE = (0, 0, 0), (255, 255, 255)


def recompressed(picture: Picture, quality: int) -> Picture:
    """Return the picture as a JPEG of this quality shows it."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def resized(picture: Picture, factor: float) -> Picture:
    """Return the picture with sides this many times as long, at least 8 pixels."""
    width, height = (max(SMALLEST, int(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def cropped(picture: Picture, area: float, rng: np.random.Generator) -> Picture:
    """Return a random part with this share of the area and the same aspect ratio."""
    width, height = (max(SMALLEST, int(side * math.sqrt(area))) for side in picture.size)
    left = int(rng.integers(0, max(1, picture.width - width + 1)))
    top = int(rng.integers(0, max(1, picture.height - height + 1)))
    return picture.crop((left, top, left + width, top + height))


def part_of(picture: Picture, area: float, rng: np.random.Generator) -> Picture:
    """Return a random part as `cropped` does, but one that shows something: nobody passes on a piece of empty sky.

    Where nothing was found in 20 tries, the last part is taken.
    """
    part = cropped(picture, area, rng)
    for _ in range(TRIES - 1):
        if not nearly_blank(part):
            break
        part = cropped(picture, area, rng)
    return part


def nearly_blank(picture: Picture) -> bool:
    """Return whether a picture has so little contrast that it resembles every other one like it."""
    return float(np.asarray(picture.convert("L")).std()) < LEAST_CONTRAST


def rotated(picture: Picture, degrees: float, rng: np.random.Generator) -> Picture:
    """Return the picture turned either way, in a frame that holds all of it, on black or white."""
    signed = degrees if rng.random() < 0.5 else -degrees
    corner = (BLACK, WHITE)[rng.integers(2)]
    return picture.rotate(signed, Image.Resampling.BICUBIC, expand=True, fillcolor=corner)


def squashed(picture: Picture, factor: float, rng: np.random.Generator) -> Picture:
    """Return the picture with one of its two sides this many times as long."""
    width, height = picture.size
    if rng.random() < 0.5:
        width = max(SMALLEST, int(width * factor))
    else:
        height = max(SMALLEST, int(height * factor))
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def padded(picture: Picture, colour: Colour) -> Picture:
    """Return the picture in the middle of a square of this colour; a square one between bars of a sixth each."""
    width, height = picture.size
    side = max(width, height)
    frame = (side, side) if width != height else (side, side * 3 // 2)
    return ImageOps.pad(picture, frame, Image.Resampling.BICUBIC, color=colour)


def bordered(picture: Picture, share: float, colour: Colour) -> Picture:
    """Return the picture in a frame as wide as this share of its longer side."""
    return ImageOps.expand(picture, max(1, int(max(picture.size) * share)), colour)


def toned(picture: Picture, brightness: float, contrast: float, saturation: float = 1) -> Picture:
    """Return the picture with these factors applied, brightness first."""
    bright = ImageEnhance.Brightness(picture).enhance(brightness)
    return ImageEnhance.Color(ImageEnhance.Contrast(bright).enhance(contrast)).enhance(saturation)


def cast(picture: Picture, factors: tuple[float, float, float]) -> Picture:
    """Return the picture with its red, green and blue multiplied by these."""
    levels = np.arange(256)
    tables = [np.clip(levels * factor, 0, 255).astype(np.uint8) for factor in factors]
    return picture.point([int(level) for table in tables for level in table])


def hue_shifted(picture: Picture, steps: int) -> Picture:
    """Return the picture with its hues turned by this many of 256 steps."""
    levels = np.array(picture.convert("HSV"))
    levels[..., 0] = (levels[..., 0].astype(int) + steps) % 256
    return Image.fromarray(levels, "HSV").convert("RGB")


def greyed(picture: Picture) -> Picture:
    """Return the picture without colour, still RGB."""
    return picture.convert("L").convert("RGB")


def sepia(picture: Picture) -> Picture:
    """Return the picture in browns, as an old print."""
    return ImageOps.colorize(picture.convert("L"), (28, 16, 6), (255, 240, 214), (150, 112, 72))


def blurred(picture: Picture, radius: float) -> Picture:
    """Return the picture after a Gaussian of this standard deviation in pixels."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def sharpened(picture: Picture, percent: int) -> Picture:
    """Return the picture after an unsharp mask of this strength, with halos along edges."""
    radius = max(picture.size) / 300
    return picture.filter(ImageFilter.UnsharpMask(radius, percent, threshold=0))


def vignetted(picture: Picture, depth: float) -> Picture:
    """Return the picture with its corners darker by this share."""
    shade = Image.radial_gradient("L").resize(picture.size, Image.Resampling.BICUBIC)
    shade = shade.point([int(255 - depth * max(0, level - 80) * 255 / 175) for level in range(256)])
    return ImageChops.multiply(picture, Image.merge("RGB", (shade, shade, shade)))


def pixelised(picture: Picture, cells: int) -> Picture:
    """Return the picture as squares of one colour, this many along its longer side."""
    factor = cells / max(picture.size)
    small = [max(1, round(side * factor)) for side in picture.size]
    return picture.resize((small[0], small[1]), Image.Resampling.BOX).resize(picture.size, Image.Resampling.NEAREST)


def noisy(picture: Picture, deviation: float, rng: np.random.Generator) -> Picture:
    """Return the picture with Gaussian noise of this standard deviation, in levels."""
    levels = np.asarray(picture, np.float32)
    levels = levels + rng.standard_normal(levels.shape, np.float32) * np.float32(deviation)
    return Image.fromarray(np.clip(levels, 0, 255).astype(np.uint8))


def striped(picture: Picture, share: float, rng: np.random.Generator) -> Picture:
    """Return the picture with five to nine slanting bars that cover this share of it."""
    bars, slant = int(rng.integers(5, 10)), rng.uniform(-0.6, 0.6)
    mask = Image.new("L", picture.size)
    draw = ImageDraw.Draw(mask)
    width, height = picture.size
    pitch = (width + abs(slant) * height) / bars
    for bar in range(bars):
        x = bar * pitch - max(0.0, slant * height)
        draw.polygon([(x, 0), (x + pitch * share, 0), (x + pitch * share + slant * height, height),
                      (x + slant * height, height)], fill=int(rng.integers(200, 256)))  # fmt: skip
    colour = tuple(int(level) for level in rng.integers(0, 256, 3))
    return Image.composite(Image.new("RGB", picture.size, colour), picture, mask)


def perspective(picture: Picture, amount: float, rng: np.random.Generator, ground: Colour = BLACK) -> Picture:
    """Return the picture with each corner moved inwards by up to this share of the sides, on the ground."""
    width, height = picture.size
    into = rng.uniform(0, amount, (4, 2)) * (width, height)
    into[int(rng.integers(4))] *= 0  # one stays, and one goes all the way, so that it is never nearly nothing
    into[int(rng.integers(4))] = amount * np.array((width, height))
    inwards = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    return placed_on(Image.new("RGB", picture.size, ground), picture, corners + inwards * into)


def placed_on(ground: Picture, picture: Picture, corners: NDArray[np.float64]) -> Picture:
    """Return the ground with the picture laid onto it in perspective.

    corners: (4, 2) where the picture's corners come to lie, x and y, from the upper left one clockwise.
    """
    width, height = picture.size
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    rows, wanted = [], []
    for (x, y), (u, v) in zip(corners, source, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    coefficients = np.linalg.solve(np.array(rows), np.array(wanted)).tolist()
    mode, kernel = Image.Transform.PERSPECTIVE, Image.Resampling.BICUBIC
    warped = picture.transform(ground.size, mode, coefficients, kernel)
    mask = Image.new("L", picture.size, 255).transform(ground.size, mode, coefficients, Image.Resampling.BILINEAR)
    return Image.composite(warped, ground, mask)


def through_lens(picture: Picture, strength: float) -> Picture:
    """Return the picture bent as by a wide lens: a barrel above 0, a pincushion below; -0.3 to 0.3.

    Bent piecewise, on a mesh of 16 x 16.
    """
    width, height = picture.size
    lines = np.linspace(-1, 1, 17)

    def bent(x: float, y: float) -> tuple[float, float]:
        radius = (x * x + y * y) / 2
        scale = (1 + strength * radius) / (1 + max(strength, 0.0))  # no corner comes from outside
        return (x * scale + 1) / 2 * width, (y * scale + 1) / 2 * height

    mesh = []
    for top, bottom in zip(lines[:-1], lines[1:], strict=True):
        for left, right in zip(lines[:-1], lines[1:], strict=True):
            box = tuple(round((edge + 1) / 2 * side) for edge, side in
                        ((left, width), (top, height), (right, width), (bottom, height)))  # fmt: skip
            quad = (*bent(left, top), *bent(left, bottom), *bent(right, bottom), *bent(right, top))
            mesh.append((box, quad))
    return picture.transform(picture.size, Image.Transform.MESH, mesh, Image.Resampling.BICUBIC)
