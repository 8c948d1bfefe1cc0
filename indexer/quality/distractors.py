"""What a bench hides its photographs among: tiles of other photographs, and drawn pictures.

And the hardest of them, planted on purpose: pictures that a person tells apart and a machine may not. Each hard
negative is a query whose look-alike is among the references, and whose own picture is not.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.procedural.pictures import procedural_images
from indexer.quality.bundled import stereo_pair, textures
from indexer.quality.edits import LIGHT, EditKind, as_jpeg
from indexer.quality.originals import Original, Progress, grid, picture_of
from indexer.quality.painting import Picture, nearly_blank
from indexer.quality.shelf import Shelf

TILES_ASIDE = 3  # a photograph is cut into this many columns and rows
SMALLEST_TILE = 80  # pixels
DRAWN_AT_ONCE = 100  # pictures that share a seed, so that a bench that was interrupted goes on
DRAWN_SEEDS = 7_000_000  # far from those of the training
MOST_HARD_PHOTOS = 30
HARD_EDITS = ("jpeg", "half size", "cut edge", "toned")


@dataclass(frozen=True, slots=True)
class HardNegative:
    """A query with a look-alike among the references. file: below the bench's folder; source: its photograph."""

    kind: str
    file: str
    source: int


def tiles(shelf: Shelf, originals: Sequence[Original], count: int) -> list[str]:
    """Return at most this many tiles of the photographs as references, the first of each photograph first."""
    cut = [_tile_names(shelf, original) for original in originals]
    most = max((len(names) for names in cut), default=0)
    return [names[row] for row in range(most) for names in cut if row < len(names)][:count]


def drawn(shelf: Shelf, count: int, seed: int, progress: Progress) -> list[str]:
    """Return this many drawn pictures as references."""
    names = [f"drawn/{number:05}.jpg" for number in range(count)]
    for block in range(0, count, DRAWN_AT_ONCE):
        wanted = names[block : block + DRAWN_AT_ONCE]
        if not all((shelf.root / name).exists() for name in wanted):
            pictures = procedural_images(len(wanted), DRAWN_SEEDS + 10_000 * seed + block // DRAWN_AT_ONCE)
            for name, pixels in zip(wanted, pictures, strict=True):
                shelf.put(name, partial(as_jpeg, Image.fromarray(pixels), 90))
        progress(min(block + DRAWN_AT_ONCE, count), count)
    return names


def hard_negatives(
    shelf: Shelf, originals: Sequence[Original], seed: int, *, once: bool
) -> tuple[list[str], list[HardNegative]]:
    """Return the look-alikes, as references, and the queries that shall not be called the same.

    originals: photographs that nobody searches for; one tile of each is asked for, the others are planted. once: each
    is asked for in one edit only.
    """
    edits = [edit for edit in LIGHT if edit.name in HARD_EDITS[: 1 if once else None]]
    planted, queries = list[str](), list[HardNegative]()
    for number, original in enumerate(originals[:MOST_HARD_PHOTOS]):
        names = _tile_names(shelf, original)
        if len(names) > 1:
            held_back = number % len(names)
            planted += [name for place, name in enumerate(names) if place != held_back]
            asked = picture_of(shelf.read(names[held_back]))
            queries += _asked(shelf, "other tile", asked, original.source, edits, seed)
    for kind, source, asked, others in _bundled_look_alikes():
        planted += [
            shelf.put(f"planted/{-source}-{number}.jpg", partial(as_jpeg, other, 92))
            for number, other in enumerate(others)
        ]
        queries += _asked(shelf, kind, asked, source, edits, seed)
    return planted, queries


def _tile_names(shelf: Shelf, original: Original) -> list[str]:
    """Return the tiles of a photograph that show something; they are made when they are first asked for."""
    folder = f"tiles/{original.source:04}-{Path(original.file).stem}"
    marked = shelf.put(f"{folder}/tiles.txt", partial(_cut, shelf, original, folder))
    return shelf.read(marked).decode().split()


def _cut(shelf: Shelf, original: Original, folder: str) -> bytes:
    picture = picture_of(shelf.read(original.file))
    aside = max(1, min(TILES_ASIDE, min(picture.size) // SMALLEST_TILE))
    names = [
        shelf.put(f"{folder}/{number}.jpg", partial(as_jpeg, tile, 92))
        for number, tile in enumerate(grid(picture, aside, aside))
        if not nearly_blank(tile)
    ]
    return " ".join(names).encode()


def _asked(  # noqa: PLR0913, PLR0917 -- what a query is made of
    shelf: Shelf, kind: str, picture: Picture, source: int, edits: Sequence[EditKind], seed: int
) -> Iterable[HardNegative]:
    """Yield the queries of a hard negative, lightly edited, as copies are met."""
    for edit in edits:
        make = partial(edit.apply, picture, np.random.default_rng([seed, 5, abs(source)]))
        file = shelf.put(f"queries/hard/{kind} {source} {edit.name}.jpg", make)
        yield HardNegative(kind, file, source)


def _bundled_look_alikes() -> Iterable[tuple[str, int, Picture, list[Picture]]]:
    """Yield (kind, source, the picture asked for, its look-alikes) of what is installed; sources count down from -1."""
    for number, file in enumerate(textures()):
        asked, *others = grid(_opened(file), 2, 2)
        yield "same texture", -1 - number, asked, others
    pair = stereo_pair()
    if pair is not None:
        yield "stereo pair", -100, _opened(pair[0]), [_opened(pair[1])]


def _opened(file: Path) -> Picture:
    with Image.open(file) as opened:
        return opened.convert("RGB")
