"""Drawn pages: those of one form differ in their words alone."""

import random
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests.drawn_pictures import Pixels


def invoice(number: int) -> Pixels:
    """Return (877, 620, 3): a letterhead, lines of items, a total; all figures are of this number's invoice."""
    chance = random.Random(number)
    page, draw = _paper(620, 877, "white")
    draw.text((40, 30), "ACME GmbH  -  Invoice", fill="black", font=_font(30))
    draw.line((40, 80, 580, 80), fill="black")
    draw.text(
        (40, 100), f"Customer {chance.randint(10_000, 99_999)}   No. {chance.randint(1000, 9999)}", "black", _font(15)
    )
    for line in range(25):
        item, price = f"Item {chance.choice('ABCDEFGH')}{chance.randint(100, 999)}", chance.randint(100, 99_999) / 100
        text = (
            f"{item}   qty {chance.randint(1, 9)}   price {price:.2f} EUR   total {chance.randint(1000, 9999)}.00 EUR"
        )
        draw.text((40, 140 + 26 * line), text, fill="black", font=_font(15))
    draw.rectangle((38, 800, 580, 850), outline="black")
    draw.text((50, 812), f"TOTAL {chance.randint(10_000, 99_999)}.00 EUR", fill="black", font=_font(22))
    return np.asarray(page)


def letter(number: int) -> Pixels:
    """Return (1018, 720, 3): a letterhead with a mark, a few lines of words of their own, and small print."""
    chance, fixed = random.Random(number), random.Random(0)
    page, draw = _paper(720, 1018, "white")
    draw.text((60, 40), "Kontor Nord", fill="black", font=_font(34))
    draw.rectangle((60, 95, 660, 100), fill="navy")
    draw.ellipse((560, 20, 640, 90), fill="darkred")
    for line in range(14):
        draw.text((60, 180 + 30 * line), _words(chance, 9)[:60], fill="black", font=_font(15))
    for line in range(6):
        draw.text((60, 880 + 18 * line), _words(fixed, 12)[:80], fill="gray", font=_font(12))
    return np.asarray(page)


def slide(number: int) -> Pixels:
    """Return (576, 1024, 3): light words on a dark ground, below a bar and above a footer that all slides have."""
    chance = random.Random(number)
    page, draw = _paper(1024, 576, (16, 20, 28))
    draw.rectangle((0, 0, 1024, 70), fill="darkgreen")
    draw.text((30, 18), "Quarterly results of all branches", fill="white", font=_font(30))
    for line in range(6):
        draw.text((60, 105 + 65 * line), "- " + _words(chance, 5), fill="white", font=_font(26))
    draw.text((30, 545), "for the members of the board alone, do not hand on", fill="gray", font=_font(14))
    draw.rectangle((850, 480, 1000, 560), fill="darkgreen")
    return np.asarray(page)


FORMS: Mapping[str, Callable[[int], Pixels]] = {"invoice": invoice, "letter": letter, "slide": slide}


def _paper(width: int, height: int, colour: str | tuple[int, int, int]) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    page = Image.new("RGB", (width, height), colour)
    return page, ImageDraw.Draw(page)


def _font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    return ImageFont.load_default(size=size)


def _words(chance: random.Random, count: int) -> str:
    return " ".join("".join(chance.choices("aeioursltnmdbcghkpvw", k=chance.randint(2, 9))) for _ in range(count))
