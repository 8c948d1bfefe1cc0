"""Feature maps as a picture for people: a row per level, its mean and the channels that vary most."""

import io
from collections.abc import Sequence
from typing import Final, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from indexer.backbones.backbone import Pixels
from indexer.backbones.feature_maps import FeatureMap

CHANNELS: Final = 6  # drawn per level, beside the mean
_TILE, _GAP, _MARGIN = 144, 12, 24  # pixels
_LABEL_WIDTH: Final = 150
_CAPTION, _TEXT, _TITLE = 12, 14, 20  # letter heights in pixels
_TITLE_LINE: Final = 30
_TITLE_LETTERS: Final = 100
_INK, _FAINT, _PAPER = (24, 24, 27), (113, 113, 122), (255, 255, 255)
_LOW, _HIGH = 1.0, 99.0  # percentiles of a tile that become the ends of the colours
# matplotlib's viridis (CC0) at nine even steps: even to the eye, readable in grey and by the colour-blind.
_COLOURS: Final = np.array(
    [
        (68, 1, 84),
        (71, 44, 122),
        (59, 81, 139),
        (44, 113, 142),
        (33, 144, 141),
        (39, 173, 129),
        (92, 200, 99),
        (170, 220, 50),
        (253, 231, 37),
    ],
    np.float64,
)


def as_png(maps: Sequence[FeatureMap], pixels: Pixels, title: str) -> bytes:
    """Return a PNG with the prepared picture and one row per level: the mean of all channels, then CHANNELS of them.

    pixels: (H, W, 3) uint8, what the network saw. Each tile has its own scale, from dark (low) to yellow (high).
    """
    row_height = _TILE + _CAPTION + _GAP + 4
    width = 2 * _MARGIN + _LABEL_WIDTH + (1 + CHANNELS) * (_TILE + _GAP) - _GAP
    top = _MARGIN + _TITLE_LINE
    sheet = Image.new("RGB", (width, top + (1 + len(maps)) * row_height + _MARGIN - _GAP), _PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN - 6), _one_line(title), _INK, _font(_TITLE))
    height, seen = pixels.shape[0], pixels.shape[1]
    _draw_row_label(pen, top, ["the picture", f"{seen} x {height}", "as the network", "sees it"])
    _paste(sheet, Image.fromarray(pixels), 0, top)
    for number, one in enumerate(maps, start=1):
        _draw_level(sheet, pen, one, top + number * row_height)
    file = io.BytesIO()
    sheet.save(file, "PNG")
    return file.getvalue()


def coloured(values: NDArray[np.float32]) -> Pixels:
    """Return (H, W, 3) uint8: low values dark, high ones yellow; a flat map is dark throughout. values: (H, W)."""
    low, high = np.percentile(values, [_LOW, _HIGH])
    if high <= low:  # the few values that differ are all there is to see
        low, high = float(values.min()), float(values.max())
    span = high - low
    shares = np.clip((values - low) / span, 0, 1) if span > 0 else np.zeros_like(values)
    places = np.linspace(0, 1, len(_COLOURS))
    channels = [np.interp(shares, places, _COLOURS[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def liveliest(values: NDArray[np.float32], count: int = CHANNELS) -> list[int]:
    """Return the channels whose values vary most over the picture, the most varied first. values: (C, H, W)."""
    spread = values.reshape(len(values), -1).std(axis=1)
    return [int(number) for number in np.argsort(-spread, kind="stable")[:count]]


def _draw_level(sheet: Image.Image, pen: ImageDraw.ImageDraw, one: FeatureMap, top: int) -> None:
    shape = one.shape
    size = f"{shape.width} x {shape.height}"
    span = f"{one.values.min():.3g} to {one.values.max():.3g}"
    _draw_row_label(pen, top, [shape.name.replace("_", " "), f"{shape.channels} channels", size, span, shape.module])
    tiles = [("mean", one.values.mean(axis=0))]
    tiles += [(f"channel {number}", one.values[number]) for number in liveliest(one.values)]
    for column, (caption, values) in enumerate(tiles):
        _paste(sheet, Image.fromarray(coloured(values)), column, top)
        pen.text((_column_left(column), top + _TILE + 2), caption, _FAINT, _font(_CAPTION))


def _draw_row_label(pen: ImageDraw.ImageDraw, top: int, lines: Sequence[str]) -> None:
    for number, line in enumerate(lines):
        pen.text((_MARGIN, top + number * (_TEXT + 5)), line, _FAINT if number else _INK, _font(_TEXT))


def _paste(sheet: Image.Image, picture: Image.Image, column: int, top: int) -> None:
    """Put a picture into the square of a tile, its shape kept."""
    share = _TILE / max(picture.size)
    size = (max(1, round(picture.width * share)), max(1, round(picture.height * share)))
    # Squares stay squares when a map is enlarged; what is larger than a tile is averaged.
    smooth = Image.Resampling.BOX if share < 1 else Image.Resampling.NEAREST
    sheet.paste(picture.resize(size, smooth), (_column_left(column), top))


def _column_left(column: int) -> int:
    return _MARGIN + _LABEL_WIDTH + column * (_TILE + _GAP)


def _one_line(title: str) -> str:
    shown = "".join(letter if letter.isprintable() else "\ufffd" for letter in title)
    return shown if len(shown) <= _TITLE_LETTERS else f"...{shown[-_TITLE_LETTERS:]}"


def _font(height: int) -> ImageFont.FreeTypeFont:
    return cast("ImageFont.FreeTypeFont", ImageFont.load_default(height))
