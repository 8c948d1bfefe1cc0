"""What people do to pictures, for measuring geometric verification: named edits of a photograph, seeded by the caller.

`TARGETS` are the edits that verification has to stand; `OTHERS` show how far it goes beyond them.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageFont, ImageOps

Picture = Image.Image


@dataclass(frozen=True, slots=True)
class Setting:
    """What an edit may use beside the picture itself: other photographs, and chance."""

    others: tuple[Picture, ...]
    rng: np.random.Generator


Edit = Callable[[Picture, Setting], Picture]


def compressed(picture: Picture, quality: int) -> Picture:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def reduced(picture: Picture, factor: float) -> Picture:
    size = (max(1, round(picture.width * factor)), max(1, round(picture.height * factor)))
    return picture.resize(size, Image.Resampling.BICUBIC)


def cropped(picture: Picture, area: float, rng: np.random.Generator) -> Picture:
    """Keep this share of the area, somewhere in the picture."""
    side = area**0.5
    width, height = round(picture.width * side), round(picture.height * side)
    left = int(rng.integers(0, picture.width - width + 1))
    top = int(rng.integers(0, picture.height - height + 1))
    return picture.crop((left, top, left + width, top + height))


def captioned(picture: Picture) -> Picture:
    """Write two lines over the picture, white with a black edge, as memes have them."""
    changed = picture.copy()
    draw = ImageDraw.Draw(changed)
    font = ImageFont.load_default(size=picture.height * 0.13)
    for words, y in (("WHEN YOU SEE IT", 0.1), ("AGAIN AND AGAIN", 0.9)):
        place = (picture.width / 2, picture.height * y)
        draw.text(place, words, fill="white", font=font, anchor="mm", stroke_width=3, stroke_fill="black")
    return changed


def screenshot(picture: Picture) -> Picture:
    """Show the picture on the page of an application: bars, a title, lines of words, at four fifths of its size."""
    inner = reduced(picture, 0.8)
    canvas = Image.new("RGB", (inner.width + 60, inner.height + 190), "white")
    canvas.paste(inner, (30, 80))
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, 0, canvas.width, 44), fill=(36, 41, 47))
    draw.text((14, 10), "photo stream   home   search", fill="white", font=ImageFont.load_default(size=18))
    draw.text((30, 52), "Posted by somebody, 3 hours ago", fill="black", font=ImageFont.load_default(size=16))
    for line in range(4):
        words = "so pretty, where was this taken? I want to go there"
        draw.text((30, inner.height + 88 + 24 * line), words, fill=(90, 90, 90), font=ImageFont.load_default(size=15))
    return compressed(canvas, 80)


def collage(picture: Picture, setting: Setting) -> Picture:
    """Put the picture beside three others, two by two."""
    width, height = 360, 270
    places = setting.rng.permutation(4)
    canvas = Image.new("RGB", (2 * width + 12, 2 * height + 12), "white")
    for place, one in zip(places, (picture, *setting.others[:3]), strict=True):
        shown = ImageOps.contain(one, (width, height))
        canvas.paste(shown, (4 + (place % 2) * (width + 4), 4 + (place // 2) * (height + 4)))
    return canvas


def inset(picture: Picture, setting: Setting, side: float) -> Picture:
    """Show the picture inside another photograph, at this share of the other's sides."""
    outer = setting.others[0].copy()
    shown = ImageOps.contain(picture, (round(outer.width * side), round(outer.height * side)))
    left = int(setting.rng.integers(0, outer.width - shown.width + 1))
    top = int(setting.rng.integers(0, outer.height - shown.height + 1))
    outer.paste(shown, (left, top))
    return outer


def covered(picture: Picture, setting: Setting, area: float) -> Picture:
    """Hide this share of the picture below another one."""
    changed = picture.copy()
    side = area**0.5
    cover = setting.others[1].resize((round(picture.width * side), round(picture.height * side)))
    left = int(setting.rng.integers(0, picture.width - cover.width + 1))
    top = int(setting.rng.integers(0, picture.height - cover.height + 1))
    changed.paste(cover, (left, top))
    return changed


def pixelised(picture: Picture, blocks: int) -> Picture:
    """Draw the picture with this many blocks along its longer side."""
    small = reduced(picture, blocks / max(picture.size))
    return small.resize(picture.size, Image.Resampling.NEAREST)


def composed(picture: Picture, setting: Setting) -> Picture:
    half = cropped(ImageOps.mirror(picture), 0.5, setting.rng)
    return compressed(reduced(half, 0.5), 40)


def noisy(picture: Picture, setting: Setting, levels: float) -> Picture:
    pixels = np.asarray(picture, np.float32)
    noise = setting.rng.normal(0, levels, pixels.shape)
    return Image.fromarray(np.clip(pixels + noise, 0, 255).astype(np.uint8))


def tilted(picture: Picture) -> Picture:
    """Photograph the picture from the side: its right edge becomes four fifths as high."""
    width, height = picture.size
    terms = (0.8, 0, 0, -0.1 * height / width, 1, 0, -0.2 / width, 0)
    return picture.transform(
        picture.size, Image.Transform.PERSPECTIVE, terms, Image.Resampling.BICUBIC, fillcolor="grey"
    )


def turned(picture: Picture, degrees: float) -> Picture:
    return picture.rotate(degrees, Image.Resampling.BICUBIC, expand=True)


def flat(picture: Picture) -> Picture:
    return ImageEnhance.Brightness(ImageEnhance.Contrast(picture).enhance(0.5)).enhance(1.25)


TARGETS: dict[str, Edit] = {
    "JPEG 30": lambda picture, _: compressed(picture, 30),
    "1/4 size": lambda picture, _: reduced(picture, 1 / 4),
    "1/8 size": lambda picture, _: reduced(picture, 1 / 8),
    "crop to 60 %": lambda picture, setting: cropped(picture, 0.6, setting.rng),
    "crop to 40 %": lambda picture, setting: cropped(picture, 0.4, setting.rng),
    "crop to 20 %": lambda picture, setting: cropped(picture, 0.2, setting.rng),
    "mirrored": lambda picture, _: ImageOps.mirror(picture),
    "turned 15": lambda picture, _: turned(picture, 15),
    "turned 90": lambda picture, _: turned(picture, 90),
    "grey": lambda picture, _: picture.convert("L").convert("RGB"),
    "screenshot": lambda picture, _: screenshot(picture),
    "collage": collage,
    "blur, radius 4": lambda picture, _: picture.filter(ImageFilter.GaussianBlur(4)),
    "text": lambda picture, _: captioned(picture),
    "mirrored, half, small, JPEG 40": composed,
    "inside another, 40 %": lambda picture, setting: inset(picture, setting, 0.4),
    "pixelised, 48 blocks": lambda picture, _: pixelised(picture, 48),
}
OTHERS: dict[str, Edit] = {
    "turned 180": lambda picture, _: turned(picture, 180),
    "squashed to a square": lambda picture, _: picture.resize((320, 320), Image.Resampling.BICUBIC),
    "tilted": lambda picture, _: tilted(picture),
    "flat and bright": lambda picture, _: flat(picture),
    "noise of 30 levels": lambda picture, setting: noisy(picture, setting, 30),
    "a quarter covered": lambda picture, setting: covered(picture, setting, 0.25),
    "blur, radius 8": lambda picture, _: picture.filter(ImageFilter.GaussianBlur(8)),
    "pixelised, 24 blocks": lambda picture, _: pixelised(picture, 24),
    "padded": lambda picture, _: ImageOps.expand(picture, 80, "black"),
    "half, blurred, 1/2 size": lambda picture, setting: reduced(
        cropped(picture, 0.5, setting.rng).filter(ImageFilter.GaussianBlur(2)), 1 / 2
    ),
}
