"""The edits of the built-in backbone's evaluation: 14 families, 34 variants.

Each edit takes an RGB picture and a generator and returns a new RGB picture, leaving the given one alone. LIGHT are
the edits after which people still call it the same picture. The quality bench (indexer/quality/edits.py) has a longer
list, as files; what both do to a picture is in indexer/quality/painting.py and indexer/quality/composing.py.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import ImageOps

from indexer.quality.composing import captioned, collage, screenshot, smileys_added
from indexer.quality.painting import (
    Picture,
    blurred,
    cropped,
    greyed,
    hue_shifted,
    recompressed,
    resized,
    rotated,
    toned,
)


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
