"""What people lay over a picture they copy, and what they put it into: captions, stickers, screens, collages.

Every function takes an RGB picture and returns a new one, leaving the given one alone. Sizes are relative to the
picture; words are written with the font inside Pillow, so that every machine writes the same letters.
"""

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFont, ImageOps

from indexer.quality.painting import BLACK, WHITE, Colour, Picture, noisy, placed_on

CAPTION = (
    "sale today only breaking news when you finally get home subscribe follow original photo credit best day ever "
    "monday mood please share lorem ipsum"
)
WORDS = tuple(CAPTION.split())
SMILEY_COLOURS = ((255, 204, 50, 255), (230, 60, 60, 255), (70, 130, 240, 255), (80, 200, 90, 255))
INK = (60, 40, 20, 255)
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def captioned(picture: Picture, size: float, lines: int, rng: np.random.Generator) -> Picture:
    """Return the picture with outlined capitals of this share of its height, from the top and the bottom by turns."""
    captioned = picture.copy()
    draw, height = ImageDraw.Draw(captioned), picture.height
    font = font_of(max(8, int(height * size)))
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
    draw, font = ImageDraw.Draw(screen), font_of(max(7, above // 4))
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


def collage_of_four(picture: Picture, partners: Sequence[Picture], rng: np.random.Generator) -> Picture:
    """Return the picture and three partners, brought to its size, in a grid of two by two with a seam between them."""
    width, height = picture.size
    seam = max(2, width // 60)
    four = [picture, *(ImageOps.fit(partner, picture.size) for partner in partners)]
    sheet = Image.new("RGB", (2 * width + seam, 2 * height + seam), (BLACK, WHITE)[rng.integers(2)])
    for place, shown in zip(rng.permutation(4).tolist(), four, strict=True):
        sheet.paste(shown, (place % 2 * (width + seam), place // 2 * (height + seam)))
    return sheet


def meme_framed(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture below a white band with two lines of text, at times in a frame with a caption below."""
    width, height = picture.size
    band = int(height * rng.uniform(0.25, 0.45))
    beside = int(width * rng.uniform(0, 0.08))
    below = int(height * rng.uniform(0.15, 0.3)) if rng.random() < 0.5 else beside
    ground, ink = (WHITE, BLACK) if rng.random() < 0.6 else (BLACK, WHITE)
    framed = Image.new("RGB", (width + 2 * beside, height + band + below), ground)
    framed.paste(picture, (beside, band))
    draw, size = ImageDraw.Draw(framed), max(9, band // 4)
    for line in range(2):
        words = " ".join(rng.choice(WORDS, 5))
        draw.text((framed.width / 2, band * (0.3 + 0.4 * line)), words, ink, font_of(size), anchor="mm")
    if below > size:
        words = " ".join(rng.choice(WORDS, 3)).upper()
        draw.text((framed.width / 2, band + height + below / 2), words, ink, font_of(size), anchor="mm")
    return framed


def laid_into(picture: Picture, ground: Picture, area: float, rng: np.random.Generator) -> Picture:
    """Return the ground, brought to the picture's size, with all of the picture on this share of its area."""
    frame = ImageOps.fit(ground, picture.size)
    width, height = (max(8, int(side * math.sqrt(area))) for side in picture.size)
    left = int(rng.integers(0, picture.width - width + 1))
    top = int(rng.integers(0, picture.height - height + 1))
    frame.paste(picture.resize((width, height), Image.Resampling.BICUBIC), (left, top))
    return frame


def half_covered(picture: Picture, partner: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture with its left, right, upper or lower half behind another picture."""
    width, height = picture.size
    side = int(rng.integers(4))
    half = (width // 2, height) if side < 2 else (width, height // 2)
    covered = picture.copy()
    covered.paste(ImageOps.fit(partner, half), ((width - half[0]) * (side == 1), (height - half[1]) * (side == 3)))
    return covered


def ghosted(picture: Picture, partner: Picture, opacity: float) -> Picture:
    """Return the picture with another one showing through."""
    return Image.blend(picture, ImageOps.fit(partner, picture.size), opacity)


def photographed(picture: Picture, surroundings: Picture, rng: np.random.Generator) -> Picture:
    """Return a photograph of the picture on a screen: seen from the side, with lines, a reflection and noise."""
    width, height = picture.size
    room = ImageOps.fit(surroundings, (int(width * 1.35), int(height * 1.35)))
    room = Image.blend(room, Image.new("RGB", room.size), 0.5)
    spare = (np.array(room.size) - picture.size) / 2
    corners = spare + np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float64)
    corners += rng.uniform(-0.07, 0.07, (4, 2)) * (width, height)
    return noisy(placed_on(room, _on_screen(picture, rng), corners), rng.uniform(4, 9), rng)


def in_browser(picture: Picture, others: Sequence[Picture], rng: np.random.Generator) -> Picture:
    """Return a browser's window with the picture beside a column of text and two other pictures."""
    width, height = picture.size
    ground, ink = _screen_colours(rng)
    bar, column = max(20, height // 12), int(width * 0.45)
    page = Image.new("RGB", (width + column, height + 2 * bar), ground)
    draw = ImageDraw.Draw(page)
    draw.rectangle((0, 0, page.width, bar), fill=tuple((level + 128) // 2 for level in ground))
    for dot, colour in enumerate(((237, 106, 94), (245, 191, 79), (98, 197, 84))):
        draw.circle((bar * (0.5 + 0.6 * dot), bar / 2), bar * 0.2, fill=colour)
    draw.text((bar * 3, bar / 2), "www." + "".join(rng.choice(WORDS, 2)) + ".com", ink, font_of(bar // 2), anchor="lm")
    picture_left = rng.random() < 0.5
    page.paste(picture, (0 if picture_left else column, 2 * bar))
    left, beside = (width if picture_left else 0) + bar // 2, column - bar
    draw.text((bar // 2, bar * 1.5), " ".join(rng.choice(WORDS, 6)), ink, font_of(bar // 2), anchor="lm")
    for line in range(6):
        words = " ".join(rng.choice(WORDS, 3))
        draw.text((left, 2 * bar + line * bar * 0.5), words, ink, font_of(max(8, bar // 3)))
    tile = (max(8, beside), max(8, (height - 4 * bar) // 2))
    for number, other in enumerate(others):
        page.paste(ImageOps.fit(other, tile), (left, 5 * bar + bar // 2 + number * (tile[1] + bar // 2)))
    return page


def font_of(size: float) -> Font:
    """Return the font inside Pillow at this size in pixels."""
    return ImageFont.load_default(size)


def _on_screen(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture with the lines of a screen, and a reflection over a corner."""
    width, height = picture.size
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    pitch, turn = rng.uniform(3.1, 5.3), rng.uniform(-0.25, 0.25)
    lines = 1 - 0.12 * (1 + np.sin((y + turn * x) * np.float32(2 * math.pi / pitch)))
    lit = Image.fromarray((lines * 255).astype(np.uint8))
    lined = ImageChops.multiply(picture, Image.merge("RGB", (lit, lit, lit)))
    glare = Image.radial_gradient("L").resize((width, height)).point([max(0, 110 - level) for level in range(256)])
    glare = ImageChops.offset(glare, int(rng.uniform(-0.4, 0.4) * width), int(rng.uniform(-0.4, 0.4) * height))
    return Image.composite(Image.new("RGB", picture.size, WHITE), lined, glare)


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
