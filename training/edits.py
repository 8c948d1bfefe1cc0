"""The edits people make to pictures they copy: 14 families, 34 variants.

Each edit takes an RGB picture and a generator and returns a new RGB picture, leaving the given one alone. The sizes
of things are relative to the picture. LIGHT are the edits after which people still call it the same picture.
"""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Picture = Image.Image
Colour = tuple[int, int, int]

CAPTION = (
    "sale today only breaking news when you finally get home subscribe follow original photo credit best day ever "
    "monday mood please share lorem ipsum"
)
WORDS = tuple(CAPTION.split())
SMILEY_COLOURS = ((255, 204, 50, 255), (230, 60, 60, 255), (70, 130, 240, 255), (80, 200, 90, 255))
INK = (60, 40, 20, 255)


@dataclass(frozen=True, slots=True)
class Edit:
    """One variant of a family of edits."""

    family: str
    variant: str
    apply: Callable[[Picture, np.random.Generator], Picture]
    light: bool = False

    @property
    def name(self) -> str:
        """The family and the variant, as in `crop 80 %`."""
        return f"{self.family} {self.variant}"


def all_edits(partners: Sequence[Picture]) -> tuple[Edit, ...]:
    """Return every edit; the collages put a picture beside one of the partners."""
    return (*_pixel_edits(), *_frame_edits(), *_overlay_edits(), *_composite_edits(partners))


def recompressed(picture: Picture, quality: int) -> Picture:
    """Return the picture as a JPEG of this quality shows it."""
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=quality)
    return Image.open(stream).convert("RGB")


def resized(picture: Picture, factor: float) -> Picture:
    """Return the picture with sides this many times as long, at least 8 pixels."""
    width, height = (max(8, int(side * factor)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.BICUBIC)


def cropped(picture: Picture, area: float, rng: np.random.Generator) -> Picture:
    """Return a random part with this share of the area and the same aspect ratio."""
    width, height = (int(side * np.sqrt(area)) for side in picture.size)
    left = int(rng.integers(0, picture.width - width + 1))
    top = int(rng.integers(0, picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def rotated(picture: Picture, degrees: float, rng: np.random.Generator) -> Picture:
    """Return the picture turned either way, in a frame that holds all of it, on black or white."""
    signed = degrees if rng.random() < 0.5 else -degrees
    corner = ((0, 0, 0), (255, 255, 255))[rng.integers(2)]
    return picture.rotate(signed, Image.Resampling.BICUBIC, expand=True, fillcolor=corner)


def toned(picture: Picture, brightness: float, contrast: float, saturation: float = 1) -> Picture:
    """Return the picture with these factors applied, brightness first."""
    bright = ImageEnhance.Brightness(picture).enhance(brightness)
    return ImageEnhance.Color(ImageEnhance.Contrast(bright).enhance(contrast)).enhance(saturation)


def hue_shifted(picture: Picture, steps: int) -> Picture:
    """Return the picture with its hues turned by this many of 256 steps."""
    levels = np.array(picture.convert("HSV"))
    levels[..., 0] = (levels[..., 0].astype(int) + steps) % 256
    return Image.fromarray(levels, "HSV").convert("RGB")


def greyed(picture: Picture) -> Picture:
    """Return the picture without colour, still RGB."""
    return picture.convert("L").convert("RGB")


def blurred(picture: Picture, radius: float) -> Picture:
    """Return the picture after a Gaussian of this standard deviation in pixels."""
    return picture.filter(ImageFilter.GaussianBlur(radius))


def captioned(picture: Picture, size: float, lines: int, rng: np.random.Generator) -> Picture:
    """Return the picture with outlined capitals of this share of its height, from the top and the bottom by turns."""
    captioned = picture.copy()
    draw, height = ImageDraw.Draw(captioned), picture.height
    font = _font(max(8, int(height * size)))
    for line in range(lines):
        words = " ".join(rng.choice(WORDS, 3)).upper()
        if line % 2 == 0:
            y = height * 0.04 + line * height * size * 1.2
        else:
            y = height * (0.95 - size) - line // 2 * height * size * 1.2
        x = picture.width * rng.uniform(0, 0.15)
        stroke = max(1, int(height * size * 0.08))
        draw.text((x, y), words, font=font, fill="white", stroke_width=stroke, stroke_fill="black")
    return captioned


def smileys_added(picture: Picture, area: float, count: int, rng: np.random.Generator) -> Picture:
    """Return the picture with this many smileys that together cover this share of it."""
    covered = picture.copy()
    side = int(np.sqrt(picture.width * picture.height * area / count) * 1.13)  # a circle fills 1 / 1.13**2 of its box
    for _ in range(count):
        smiley = _smiley(side, rng)
        left = int(rng.integers(0, max(1, picture.width - side)))
        top = int(rng.integers(0, max(1, picture.height - side)))
        covered.paste(smiley, (left, top), smiley)
    return covered


def screenshot(picture: Picture, margin: float, rng: np.random.Generator) -> Picture:
    """Return the picture inside a phone's screen: status bar, name, a few lines of text below."""
    width, height = picture.size
    beside, below = int(width * margin * rng.uniform(0, 0.6)), int(height * margin)
    above = int(below * rng.uniform(0.6, 1.2))
    ground, ink = _screen_colours(rng)
    screen = Image.new("RGB", (width + 2 * beside, height + above + below), ground)
    screen.paste(picture, (beside, above))
    draw, font = ImageDraw.Draw(screen), _font(max(7, above // 4))
    draw.text((8, 2), "12:41   " + rng.choice(WORDS), font=font, fill=ink)
    draw.ellipse((6, above * 0.45, 6 + above * 0.4, above * 0.85), fill=(90, 140, 230))
    draw.text((12 + above * 0.4, above * 0.5), " ".join(rng.choice(WORDS, 2)), font=font, fill=ink)
    for line in range(4):
        y = height + above + below * 0.12 + line * above // 3
        draw.text((8, y), " ".join(rng.choice(WORDS, 5)), font=font, fill=ink)
    return screen


def collage(picture: Picture, partner: Picture, rng: np.random.Generator, *, stacked: bool) -> Picture:
    """Return the picture and the partner, brought to its size, side by side or stacked, in either order."""
    width, height = picture.size
    pair = [picture, partner.resize(picture.size)]
    if rng.random() < 0.5:
        pair.reverse()
    both = Image.new("RGB", (width, 2 * height) if stacked else (2 * width, height))
    both.paste(pair[0], (0, 0))
    both.paste(pair[1], (0, height) if stacked else (width, 0))
    return both


def reposted(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture after a light combination: cropped, brightened, recompressed."""
    return recompressed(toned(cropped(picture, 0.7, rng), 1.2, 1.1), 40)


def reworked(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture after a heavy combination: mirrored or not, cropped, faded, framed, captioned."""
    turned = ImageOps.mirror(picture) if rng.random() < 0.5 else picture
    framed = screenshot(toned(cropped(turned, 0.6, rng), 1.2, 0.9, 0.6), 0.12, rng)
    return recompressed(captioned(framed, 0.08, 1, rng), 30)


def _pixel_edits() -> tuple[Edit, ...]:
    """Edits that leave every pixel in its place."""
    return (
        Edit("jpeg", "q60", lambda p, _: recompressed(p, 60), light=True),
        Edit("jpeg", "q30", lambda p, _: recompressed(p, 30), light=True),
        Edit("jpeg", "q10", lambda p, _: recompressed(p, 10), light=True),
        Edit("resize", "1/2", lambda p, _: resized(p, 1 / 2), light=True),
        Edit("resize", "1/4", lambda p, _: resized(p, 1 / 4), light=True),
        Edit("resize", "1/8", lambda p, _: resized(p, 1 / 8), light=True),
        Edit("blur", "1", lambda p, _: blurred(p, 1), light=True),
        Edit("blur", "2", lambda p, _: blurred(p, 2), light=True),
        Edit("blur", "4", lambda p, _: blurred(p, 4), light=True),
        Edit("grey", "all", lambda p, _: greyed(p), light=True),
        Edit("tone", "brighter", lambda p, _: toned(p, 1.3, 1.3), light=True),
        Edit("tone", "darker", lambda p, _: toned(p, 0.6, 1.6), light=True),
        Edit("tone", "faded", lambda p, _: toned(p, 1.7, 0.5), light=True),
        Edit("colour", "saturated", lambda p, _: toned(p, 1.05, 1, 1.8), light=True),
        Edit("colour", "hue 20", lambda p, _: hue_shifted(p, 20), light=True),
        Edit("colour", "hue 70", lambda p, _: hue_shifted(p, 70)),
    )


def _frame_edits() -> tuple[Edit, ...]:
    """Edits that move pixels."""
    return (
        Edit("crop", "80 %", lambda p, rng: cropped(p, 0.8, rng), light=True),
        Edit("crop", "60 %", lambda p, rng: cropped(p, 0.6, rng)),
        Edit("crop", "40 %", lambda p, rng: cropped(p, 0.4, rng)),
        Edit("flip", "horizontal", lambda p, _: ImageOps.mirror(p)),
        Edit("rotate", "5", lambda p, rng: rotated(p, 5, rng), light=True),
        Edit("rotate", "15", lambda p, rng: rotated(p, 15, rng)),
        Edit("rotate", "90", lambda p, rng: rotated(p, 90, rng)),
    )


def _overlay_edits() -> tuple[Edit, ...]:
    """Edits that put something onto the picture."""
    return (
        Edit("text", "one line", lambda p, rng: captioned(p, 0.07, 1, rng), light=True),
        Edit("text", "three lines", lambda p, rng: captioned(p, 0.12, 3, rng)),
        Edit("emoji", "10 %", lambda p, rng: smileys_added(p, 0.10, 1, rng), light=True),
        Edit("emoji", "25 %", lambda p, rng: smileys_added(p, 0.25, 2, rng)),
    )


def _composite_edits(partners: Sequence[Picture]) -> tuple[Edit, ...]:
    """Edits that put the picture into something else, and combinations."""

    def partner(rng: np.random.Generator) -> Picture:
        return partners[int(rng.integers(len(partners)))]

    return (
        Edit("screenshot", "narrow", lambda p, rng: screenshot(p, 0.1, rng), light=True),
        Edit("screenshot", "middle", lambda p, rng: screenshot(p, 0.25, rng)),
        Edit("screenshot", "wide", lambda p, rng: screenshot(p, 0.45, rng)),
        Edit("collage", "beside", lambda p, rng: collage(p, partner(rng), rng, stacked=False)),
        Edit("collage", "stacked", lambda p, rng: collage(p, partner(rng), rng, stacked=True)),
        Edit("combination", "reposted", reposted),
        Edit("combination", "reworked", reworked),
    )


def _font(size: int) -> ImageFont.FreeTypeFont:
    """Return the bold sans font that matplotlib ships, so that every machine writes the same letters."""
    return ImageFont.truetype(Path(matplotlib.get_data_path(), "fonts", "ttf", "DejaVuSans-Bold.ttf"), size)


def _smiley(side: int, rng: np.random.Generator) -> Picture:
    """Return a (side, side) RGBA face in a random colour."""
    face = Image.new("RGBA", (side, side))
    draw = ImageDraw.Draw(face)
    draw.ellipse((0, 0, side - 1, side - 1), fill=SMILEY_COLOURS[rng.integers(4)], outline=(120, 90, 0, 255))
    for left, right in ((0.25, 0.4), (0.6, 0.75)):
        draw.ellipse((side * left, side * 0.28, side * right, side * 0.45), fill=INK)
    mouth = (side * 0.22, side * 0.3, side * 0.78, side * 0.8)
    draw.arc(mouth, 20, 160, fill=INK, width=max(1, side // 16))
    return face


def _screen_colours(rng: np.random.Generator) -> tuple[Colour, Colour]:
    """Return ground and ink of a light or a dark screen."""
    if rng.random() < 0.5:
        return (255, 255, 255), (40, 40, 40)
    return (24, 24, 24), (220, 220, 220)
