"""The transformed data set of imagededup's benchmark, made of other photographs.

Its page (imagededup, user guide, "Benchmarks") says: originals of 640 x 480, and for each of them a random crop of
560 x 420, a horizontal and a vertical flip, a rotation by 25 degrees and a resize to the aspect ratio 1:1, which makes
groups of six; a pair inside a group is to be found, every other pair is a mistake. Its CNN finds .384 of the pairs at a
precision of .999 (threshold .9). It does not say what fills the corners of a rotated picture, nor which way it turns,
nor how the files were saved: here the frame stays, the corners are black, it turns against the clock, and all are
JPEGs of quality 95. Its originals are 1,800 of UKBench; the fewer groups here have fewer chances of a mistake.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageOps

from indexer.quality.edits import as_jpeg
from indexer.quality.originals import Original, Progress, picture_of
from indexer.quality.painting import Picture
from indexer.quality.shelf import Shelf


@dataclass(frozen=True, slots=True)
class PublishedFigures:
    """What a page says about a method. groups: of six pictures each."""

    method: str
    recall: float
    precision: float
    threshold: float
    groups: int


PUBLISHED = PublishedFigures("imagededup CNN", recall=0.384, precision=0.999, threshold=0.9, groups=1800)

LONG, SHORT = 640, 480
CROP_LONG, CROP_SHORT = 560, 420
DEGREES = 25
QUALITY = 95
GROUP = 6


def as_their_originals(picture: Picture) -> Picture:
    """Return the picture as one of 640 x 480, or of 480 x 640 where it is taller than wide; the edges are cut."""
    lies = picture.width >= picture.height
    return ImageOps.fit(picture, (LONG, SHORT) if lies else (SHORT, LONG), Image.Resampling.LANCZOS)


def transformed(original: Picture, rng: np.random.Generator) -> tuple[Picture, ...]:
    """Return the original, (640, 480) or (480, 640), and its five edits."""
    lies = original.width >= original.height
    width, height = (CROP_LONG, CROP_SHORT) if lies else (CROP_SHORT, CROP_LONG)
    left = int(rng.integers(0, original.width - width + 1))
    top = int(rng.integers(0, original.height - height + 1))
    return (
        original,
        original.crop((left, top, left + width, top + height)),
        ImageOps.mirror(original),
        ImageOps.flip(original),
        original.rotate(DEGREES, Image.Resampling.BICUBIC),
        original.resize((SHORT, SHORT), Image.Resampling.BICUBIC),
    )


def protocol_files(shelf: Shelf, originals: Sequence[Original], seed: int, progress: Progress) -> list[str]:
    """Return the files of all groups, six of a group after one another."""
    names = []
    for number, original in enumerate(originals):
        group = [f"imagededup/{number:04}-{place}.jpg" for place in range(GROUP)]
        if not all((shelf.root / name).exists() for name in group):
            rng = np.random.default_rng([seed, 6, number])
            pictures = transformed(as_their_originals(picture_of(shelf.read(original.file))), rng)
            for name, picture in zip(group, pictures, strict=True):
                shelf.put(name, _saving(picture))
        names += group
        progress(number + 1, len(originals))
    return names


def _saving(picture: Picture) -> Callable[[], bytes]:
    return partial(as_jpeg, picture, QUALITY)
