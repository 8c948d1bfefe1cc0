"""The edits of the quality bench: 45 kinds in three strata, each from a picture to the bytes of a file.

The strata say how much of the picture is left: after a *light* edit everybody calls it the same file saved again, after
a *medium* one the same picture, a *heavy* one has to be looked at twice. A third of the kinds of each stratum is
*unseen*: no training and no tuning may use it, so that what is measured there is what a stranger's edit would give.
How far each kind goes is drawn from its generator; the list follows `EDITS` in docs/quality.md.
"""

import io
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from indexer.quality import composing, painting
from indexer.quality.painting import BLACK, WHITE, Picture

Stratum = Literal["light", "medium", "heavy"]
STRATA: tuple[Stratum, ...] = ("light", "medium", "heavy")

ORIENTATION_TAG, TURNED_LEFT = 0x0112, 6  # EXIF: to be turned a quarter clockwise before it is shown


@dataclass(frozen=True, slots=True)
class Desk:
    """What an edit works with: its chance, and other pictures to put beside or behind the one that is edited."""

    rng: np.random.Generator
    partners: Sequence[Picture]

    def partner(self) -> Picture:
        """Return one of the other pictures.

        Raises:
            ValueError: there are none.
        """
        return self.several(1)[0]

    def several(self, count: int) -> list[Picture]:
        """Return this many of the other pictures, different ones where there are enough.

        Raises:
            ValueError: there are none.
        """
        if not self.partners:
            raise ValueError("this edit puts another picture beside the one it edits: give it partners")
        order = self.rng.permutation(len(self.partners)).tolist()
        return [self.partners[order[number % len(order)]] for number in range(count)]

    def between(self, low: float, high: float) -> float:
        """Return a number between the two, drawn evenly."""
        return float(self.rng.uniform(low, high))

    def factor(self, most: float) -> float:
        """Return a factor between 1 / most and most, but not within a third of the way to 1: more or less alike."""
        way = math.log(most) * self.between(1 / 3, 1)
        return math.exp(way if self.rng.random() < 0.5 else -way)

    def jpeg(self, picture: Picture, low: int = 75, high: int = 95) -> bytes:
        """Return a JPEG of a quality drawn between the two, as most pictures travel."""
        return as_jpeg(picture, int(self.rng.integers(low, high + 1)))


@dataclass(frozen=True, slots=True)
class EditKind:
    """One kind of edit. unseen: neither trained nor tuned on."""

    name: str
    stratum: Stratum
    edit: Callable[[Picture, Desk], bytes]
    unseen: bool = False

    def apply(self, picture: Picture, rng: np.random.Generator, partners: Sequence[Picture] = ()) -> bytes:
        """Return the edited RGB picture as a file's bytes: JPEG, PNG or WebP, as a person would have it.

        partners: other pictures; the edits that cover, surround or join pictures need at least one.

        Raises:
            ValueError: the edit needs a partner, and there is none.
        """
        return self.edit(picture, Desk(rng, partners))


def as_jpeg(picture: Picture, quality: int) -> bytes:
    """Return the bytes of a JPEG without metadata."""
    return _saved(picture, "JPEG", quality=quality)


def as_png(picture: Picture) -> bytes:
    """Return the bytes of a PNG without metadata."""
    return _saved(picture, "PNG")


def _saved(picture: Picture, file_format: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, file_format, **options)
    return file.getvalue()


def _shrunk(factor: float) -> Callable[[Picture, Desk], bytes]:
    return lambda picture, desk: desk.jpeg(painting.resized(picture, factor), 80, 92)


def _turned_by_tag(picture: Picture, desk: Desk) -> bytes:
    """The pixels lie on their side, and a tag says so: every viewer shows the picture upright."""
    tags = Image.Exif()
    tags[ORIENTATION_TAG] = TURNED_LEFT
    return _saved(picture.transpose(Image.Transpose.ROTATE_90), "JPEG", quality=92, exif=tags)


def _palette(picture: Picture, desk: Desk) -> bytes:
    colours = int(desk.rng.integers(32, 257))
    return as_png(picture.quantize(colours, dither=Image.Dither.FLOYDSTEINBERG))


def _temperature(picture: Picture, desk: Desk) -> bytes:
    warmth = desk.factor(1.3)
    return desk.jpeg(painting.cast(picture, (warmth, 1.0, 1 / warmth)))


def _small_caption(picture: Picture, desk: Desk) -> bytes:
    return desk.jpeg(composing.captioned(picture, desk.between(0.04, 0.07), 1, desk.rng))


LIGHT = (
    EditKind("jpeg", "light", lambda p, desk: desk.jpeg(p, 60, 90)),
    EditKind("jpeg strong", "light", lambda p, desk: desk.jpeg(p, 30, 50)),
    EditKind("webp", "light", lambda p, d: _saved(p, "WEBP", quality=int(d.rng.integers(40, 86))), unseen=True),
    EditKind("half size", "light", _shrunk(0.5)),
    EditKind("quarter size", "light", _shrunk(0.25)),
    EditKind("enlarged", "light", lambda p, desk: desk.jpeg(painting.resized(p, desk.between(1.3, 2)))),
    EditKind("cut edge", "light", lambda p, d: d.jpeg(painting.cropped(p, d.between(0.9, 0.97), d.rng))),
    EditKind("toned", "light", lambda p, d: d.jpeg(painting.toned(p, d.factor(1.3), d.factor(1.3)))),
    EditKind("saturation", "light", lambda p, d: d.jpeg(painting.toned(p, 1, 1, d.factor(1.8)))),
    EditKind("colour cast", "light", _temperature, unseen=True),
    EditKind("small caption", "light", _small_caption),
    EditKind("turned by tag", "light", _turned_by_tag),
    EditKind("sharpened", "light", lambda p, d: d.jpeg(painting.sharpened(p, int(d.between(120, 260)))), unseen=True),
    EditKind("vignette", "light", lambda p, d: d.jpeg(painting.vignetted(p, d.between(0.4, 0.8))), unseen=True),
    EditKind("palette", "light", _palette, unseen=True),
)


def _padded(picture: Picture, desk: Desk) -> bytes:
    return desk.jpeg(painting.padded(picture, BLACK if desk.rng.random() < 0.5 else WHITE))


def _bordered(picture: Picture, desk: Desk) -> bytes:
    red, green, blue = (int(level) for level in desk.rng.integers(0, 256, 3))
    return desk.jpeg(painting.bordered(picture, desk.between(0.05, 0.12), (red, green, blue)))


def _blurred(picture: Picture, desk: Desk) -> bytes:
    return desk.jpeg(painting.blurred(picture, max(picture.size) * desk.between(0.004, 0.008)))


def _sticker(picture: Picture, desk: Desk) -> bytes:
    return desk.jpeg(composing.smileys_added(picture, 0.25, int(desk.rng.integers(1, 4)), desk.rng))


def _faded(picture: Picture, desk: Desk) -> bytes:
    if desk.rng.random() < 0.5:
        return desk.jpeg(painting.toned(picture, 1.6, 0.55, 0.7))
    return desk.jpeg(painting.toned(picture, 0.55, 1.5))


def _lens(picture: Picture, desk: Desk) -> bytes:
    bend = desk.between(0.15, 0.3) if desk.rng.random() < 0.5 else -desk.between(0.15, 0.3)
    return desk.jpeg(painting.through_lens(picture, bend))


MEDIUM = (
    EditKind("crop 70", "medium", lambda p, desk: desk.jpeg(painting.part_of(p, 0.7**2, desk.rng))),
    EditKind("padded", "medium", _padded),
    EditKind("border", "medium", _bordered),
    EditKind("rotated", "medium", lambda p, d: d.jpeg(painting.rotated(p, d.between(5, 25), d.rng))),
    EditKind("mirrored", "medium", lambda p, desk: desk.jpeg(ImageOps.mirror(p))),
    EditKind("squashed", "medium", lambda p, d: d.jpeg(painting.squashed(p, d.between(0.55, 0.75), d.rng))),
    EditKind("blurred", "medium", _blurred),
    EditKind("sticker", "medium", _sticker),
    EditKind("grey", "medium", lambda p, desk: desk.jpeg(painting.greyed(p))),
    EditKind("faded", "medium", _faded),
    EditKind("perspective", "medium", lambda p, d: d.jpeg(painting.perspective(p, 0.12, d.rng)), unseen=True),
    EditKind("stripes", "medium", lambda p, d: d.jpeg(painting.striped(p, 0.22, d.rng)), unseen=True),
    EditKind("sepia", "medium", lambda p, d: d.jpeg(painting.sepia(p)), unseen=True),
    EditKind("lens", "medium", _lens, unseen=True),
    EditKind(
        "ghost", "medium", lambda p, d: d.jpeg(composing.ghosted(p, d.partner(), d.between(0.2, 0.4))), unseen=True
    ),
)


def _screenshot(picture: Picture, desk: Desk) -> bytes:
    return as_png(composing.screenshot(picture, desk.between(0.15, 0.45), desk.rng))


def _inside(picture: Picture, desk: Desk) -> bytes:
    return desk.jpeg(composing.laid_into(picture, desk.partner(), desk.between(0.3, 0.5), desk.rng))


def _pixelised(picture: Picture, desk: Desk) -> bytes:
    return as_png(painting.pixelised(picture, int(desk.rng.integers(40, 81))))


def _three_at_once(picture: Picture, desk: Desk) -> bytes:
    """The frame changed, the colours changed, something laid over it, and saved small: all of seen kinds."""
    rng = desk.rng
    frames: tuple[Callable[[Picture], Picture], ...] = (
        lambda p: painting.cropped(p, 0.64, rng),
        lambda p: painting.rotated(p, desk.between(4, 12), rng),
        lambda p: painting.squashed(p, 0.75, rng),
        ImageOps.mirror,
    )
    colours: tuple[Callable[[Picture], Picture], ...] = (
        lambda p: painting.toned(p, desk.factor(1.4), desk.factor(1.4), desk.factor(1.8)),
        lambda p: painting.hue_shifted(p, int(desk.between(15, 40))),
        painting.greyed,
    )
    overlays: tuple[Callable[[Picture], Picture], ...] = (
        lambda p: composing.captioned(p, 0.1, 2, rng),
        lambda p: composing.smileys_added(p, 0.1, 1, rng),
        lambda p: painting.bordered(p, 0.08, BLACK),
    )
    for group in (frames, colours, overlays):
        picture = group[int(rng.integers(len(group)))](picture)
    return desk.jpeg(painting.resized(picture, 0.6), 40, 70)


def _photographed(picture: Picture, desk: Desk) -> bytes:
    return desk.jpeg(composing.photographed(picture, desk.partner(), desk.rng), 70, 90)


def _mirrored_part(picture: Picture, desk: Desk) -> bytes:
    return as_jpeg(painting.resized(painting.part_of(ImageOps.mirror(picture), 0.5, desk.rng), 0.5), 40)


HEAVY = (
    EditKind("crop 50", "heavy", lambda p, desk: desk.jpeg(painting.part_of(p, 0.5**2, desk.rng))),
    EditKind("crop 30", "heavy", lambda p, desk: desk.jpeg(painting.part_of(p, 0.3**2, desk.rng))),
    EditKind("quarter turn", "heavy", lambda p, desk: desk.jpeg(painting.rotated(p, 90, desk.rng))),
    EditKind("half turn", "heavy", lambda p, desk: desk.jpeg(painting.rotated(p, 180, desk.rng))),
    EditKind("upside down", "heavy", lambda p, desk: desk.jpeg(ImageOps.flip(p))),
    EditKind("screenshot", "heavy", _screenshot),
    EditKind("meme", "heavy", lambda p, desk: desk.jpeg(composing.meme_framed(p, desk.rng))),
    EditKind("picture in picture", "heavy", _inside),
    EditKind("pixelised", "heavy", _pixelised),
    EditKind("three at once", "heavy", _three_at_once),
    EditKind("photographed", "heavy", _photographed, unseen=True),
    EditKind(
        "collage of four",
        "heavy",
        lambda p, d: d.jpeg(composing.collage_of_four(p, d.several(3), d.rng)),
        unseen=True,
    ),
    EditKind("mirrored part", "heavy", _mirrored_part, unseen=True),
    EditKind("browser window", "heavy", lambda p, d: as_png(composing.in_browser(p, d.several(2), d.rng)), unseen=True),
    EditKind("half covered", "heavy", lambda p, d: d.jpeg(composing.half_covered(p, d.partner(), d.rng)), unseen=True),
)

EDITS: tuple[EditKind, ...] = (*LIGHT, *MEDIUM, *HEAVY)
