"""The photographs a bench begins with: read once, checked, brought to a common size, and told apart.

A file is decoded in a disposable child before it is decoded here. What cannot serve is counted by reason: a copy of
another photograph would make right answers look wrong, and a blank one resembles every other.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.decoder_pool import PreparedImage
from indexer.decoding.decoding import Decoder
from indexer.quality.bundled import BundledPhoto
from indexer.quality.edits import as_jpeg, as_png
from indexer.quality.painting import LEAST_CONTRAST, Picture, nearly_blank
from indexer.quality.shelf import Shelf
from indexer.sources.sources import MAX_FILE_BYTES, FoundFile, read_file, resolve, walk
from search.errors import BadImage, UsageError
from search.records import displayable

LONGEST_SIDE = 1280  # pixels; larger photographs are brought to it
SMALLEST_SIDE = 96
COPY_BITS = (
    40  # of 256 perceptual bits: that many may differ between two copies; unrelated pictures differ in about 128
)
MOST_ORIGINALS = 400
FEWEST_SOURCES = 8

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Original:
    """A picture to search for. source: which photograph it comes from. file: below the bench's folder."""

    name: str
    source: int
    file: str


@dataclass(frozen=True, slots=True)
class Gathered:
    """What can serve, and how many files cannot, by reason."""

    originals: tuple[Original, ...]
    left_out: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Halves:
    """The photographs that may be used for tuning, and those only for testing: no source is in both."""

    tuning: tuple[Original, ...]
    testing: tuple[Original, ...]


def gather_folder(folder: Path, shelf: Shelf, decoder: Decoder, seed: int, progress: Progress) -> Gathered:
    """Return the photographs of a folder and below, at most 400, in an order drawn by the seed.

    Raises:
        UsageError: the folder is none, or holds too few photographs that can serve.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder: name one with photographs")
    files = [found for found in walk(resolve([str(folder)])) if isinstance(found, FoundFile)]
    order = np.random.default_rng([seed, 1]).permutation(len(files)).tolist()
    judge, originals = _Judge(decoder), list[Original]()
    wanted = min(len(files), MOST_ORIGINALS)
    for place in order:
        if len(originals) == MOST_ORIGINALS:
            break
        usable = judge.usable(files[place])
        if usable is not None:
            file = shelf.put_picture(f"originals/{len(originals):04}", partial(_as_reference, *usable))
            originals.append(Original(displayable(Path(Path(files[place].path).name)), len(originals), file))
        progress(len(originals), wanted)
    _require_enough(displayable(folder), len(originals), judge.left_out)
    return Gathered(tuple(originals), judge.left_out)


def gather_bundled(photos: Sequence[BundledPhoto], shelf: Shelf) -> Gathered:
    """Return the pieces of photographs that installed packages bring along.

    Raises:
        UsageError: too few of the packages are installed.
    """
    originals, flat = list[Original](), 0
    for source, photo in enumerate(photos):
        for number, piece in enumerate(pieces(photo)):
            if nearly_blank(piece):
                flat += 1
                continue
            file = shelf.put(f"originals/{len(originals):04}.png", partial(as_png, piece))
            originals.append(Original(f"{photo.file.name} {number + 1}", source, file))
    sources = len({original.source for original in originals})
    if sources < FEWEST_SOURCES:
        raise UsageError(
            f"{sources} photographs come with the packages installed here, {FEWEST_SOURCES} are needed: name a FOLDER "
            "with photographs, or install scikit-image, scikit-learn and matplotlib"
        )
    return Gathered(tuple(originals), {"nearly blank": flat} if flat else {})


def pieces(photo: BundledPhoto) -> list[Picture]:
    """Return the pieces of a bundled photograph in rows, RGB; a longer side than 1500 pixels is brought to 1200."""
    with Image.open(photo.file) as opened:
        whole = opened.convert("RGB")
    longest = max(whole.size)
    if longest > 1500:
        width, height = (side * 1200 // longest for side in whole.size)
        whole = whole.resize((width, height), Image.Resampling.LANCZOS)
    return grid(whole, photo.columns, photo.rows)


def grid(picture: Picture, columns: int, rows: int) -> list[Picture]:
    """Return the disjoint parts of a picture, row by row."""
    xs = [column * picture.width // columns for column in range(columns + 1)]
    ys = [row * picture.height // rows for row in range(rows + 1)]
    return [
        picture.crop((left, top, right, bottom))
        for top, bottom in zip(ys[:-1], ys[1:], strict=True)
        for left, right in zip(xs[:-1], xs[1:], strict=True)
    ]


def halves(originals: Iterable[Original], seed: int) -> Halves:
    """Return the two halves; which source falls into which is drawn by the seed."""
    everything = tuple(originals)
    sources = sorted({original.source for original in everything})
    drawn = np.random.default_rng([seed, 2]).permutation(sources)
    tuning = set(drawn[: len(sources) // 2].tolist())
    return Halves(
        tuple(original for original in everything if original.source in tuning),
        tuple(original for original in everything if original.source not in tuning),
    )


def picture_of(data: bytes) -> Picture:
    """Return a picture that a disposable child, or this program, made or decoded before: upright, RGB."""
    return Image.fromarray(decode(data, DecodeLimits()).pixels)


class _Judge:
    """Says of one file after the other whether it can serve, remembering what was seen."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self._hashes: list[int] = []
        self.left_out: Counter[str] = Counter()

    def usable(self, found: FoundFile) -> tuple[bytes, int] | None:
        """Return the bytes of the file and the picture's longer side in pixels, None when it cannot serve."""
        try:
            data = read_file(found, MAX_FILE_BYTES)
            image = self._decoder.decode(data, found.path)
        except BadImage:
            self.left_out["no readable picture"] += 1
            return None
        reason = self._objection(image)
        if reason is None:
            self._hashes.append(int.from_bytes(image.perceptual_hash, "big"))
            return data, max(image.width, image.height)
        self.left_out[reason] += 1
        return None

    def _objection(self, image: PreparedImage) -> str | None:
        if min(image.width, image.height) < SMALLEST_SIDE:
            return f"smaller than {SMALLEST_SIDE} pixels"
        if image.contrast < LEAST_CONTRAST:
            return "nearly blank"
        own = int.from_bytes(image.perceptual_hash, "big")
        if any((own ^ other).bit_count() <= COPY_BITS for other in self._hashes):
            return "copy of another"
        return None


def _as_reference(data: bytes, longest: int) -> bytes:
    """Return the file as it is, or a smaller JPEG of a photograph that is too large."""
    if longest <= LONGEST_SIDE:
        return data
    picture = picture_of(data)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE), Image.Resampling.LANCZOS)
    return as_jpeg(picture, 92)


def _require_enough(folder: str, found: int, left_out: Mapping[str, int]) -> None:
    if found >= FEWEST_SOURCES:
        return
    reasons = "".join(f", {number} left out ({reason})" for reason, number in sorted(left_out.items()))
    raise UsageError(
        f"{folder} holds {found} different photographs that can serve{reasons}, {FEWEST_SOURCES} are needed: name a "
        "folder with more, or none for those of the installed packages"
    )
