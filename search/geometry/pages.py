"""Telling a page from another page of the same form, by the letters that keypoints and thumbnails are too coarse for.

Invoices of one layout, letters on one paper, screens of one program agree in all that is large. They differ in words a
few pixels high, all over the page; a stamp, a sticker, a caption differs in one place, and the page is a copy.

    may be pages, by their thumbnails -> their files -> paper -> strokes that differ -> and as sharp, on each other, too
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.agreement import Aligned, align
from search.geometry.keypoints import Keypoints, Pixels, as_grey, resized
from search.geometry.pixel_edits import PictureFile, between_copies
from search.geometry.verification import ANOTHER_PAGE, Verification

File = Callable[[], PictureFile | None]  # reads a picture, None where it cannot be had

_SIDE: Final = 800  # pixels of the longer side at which letters are compared
_LEVELS: Final = 33  # levels side by side that paper takes, or the dark ground of a screen
_PAPER_OF_THUMBNAIL: Final = 0.4  # share of the pixels: in a thumbnail dense lines run into each other
_PAPER: Final = 0.45
_FINE, _COARSE = 1.0, 2.0  # pixels: finer is noise, coarser are lines of text as such, rules, light
_WINDOW: Final = (9, 9)  # pixels: a letter or two
_RIM: Final = np.ones((9, 9), np.uint8)
_BLURS: Final = (0.0, 0.7, 1.0, 1.5, 2.0, 3.0, 4.0)  # pixels, tried on the sharper of the two
# How the one is moved until it lies on the other: blocks along either side, and the most they are moved, in pixels.
# A model that keypoints agree on is off by several pixels, and letters have to lie on each other to one.
_MOVES: Final = ((1, 8.0), (4, 8.0), (8, 4.0))
_SMALLEST_BLOCK: Final = 24  # pixels
_FOUND: Final = 0.08  # response of a phase correlation that means something
_LETTERS: Final = 17.0  # levels: what strokes are at least where they are strongest; feathers and leaves are weaker
_STROKES: Final = 0.2  # of that strength, in the one and in the other
_STRONGEST: Final = 0.99  # quantile
_ALIKE: Final = 0.7  # correlation of the strokes of one page, whatever was done to it
_CELLS: Final = 8  # along either side
_SHOWN, _DIFFERS = 0.05, 0.15  # of a cell that has strokes, and of its strokes that differ
_UNLIKE: Final = 0.1  # share of the strokes: of one page, however edited, .03 at most; of others .15 to .8
_SCATTERED: Final = 0.4  # share of the cells: of other pages .45 and more, of stickers .38 at most
_FEWEST_CELLS: Final = 6

Levels = NDArray[np.float32]
Mask = NDArray[np.bool_]


def page_by_page(
    found: Verification, query: Keypoints, candidate: Keypoints, query_file: File, candidate_file: File
) -> Verification | None:
    """Return an answer as it counts where both pictures may be pages: a "no" for another page of the same form.

    The files are read only where the answer is "yes" and both thumbnails look like pages. None where one of them
    cannot be read then, so that nobody can tell.
    """
    if found.answer != "yes" or found.model is None or not (_may_be_page(query) and _may_be_page(candidate)):
        return found
    one = query_file()
    other = None if one is None else candidate_file()
    if one is None or other is None:
        return None
    if one.sha256 == other.sha256 or not are_other_pages(found, one.pixels, other.pixels):
        return found
    return replace(found, answer="no", reason=ANOTHER_PAGE)


def are_other_pages(found: Verification, query: Pixels, candidate: Pixels) -> bool:
    """Tell whether two pictures that lie over each other are pages whose letters differ all over.

    query, candidate: (H, W, 3) or (H, W) uint8, reduced or not. found: with a model between places of the full sizes.
    """
    one, other = (resized(as_grey(each), min(1.0, _SIDE / max(each.shape[:2]))) for each in (query, candidate))
    if found.model is None:
        return False
    aligned = align(one, other, between_copies(found.model, found.query_size, found.candidate_size, one, other))
    if aligned is None:
        return False
    inside = cv2.erode(np.pad(aligned.both.astype(np.uint8), 1), _RIM)[1:-1, 1:-1] > 0
    if not inside.any() or min(_paper(_soft(each)[inside]) for each in (aligned.query, aligned.candidate)) < _PAPER:
        return False
    return all(_differ_all_over(*strokes, inside) for strokes in _strokes_of_both(aligned, inside))


def _may_be_page(keypoints: Keypoints) -> bool:
    return _paper(keypoints.thumbnail) >= _PAPER_OF_THUMBNAIL


def _paper(levels: NDArray[np.generic]) -> float:
    """Return the share of the pixels that the most frequent level and those beside it have."""
    counts = np.bincount(np.clip(levels, 0, 255).astype(np.uint8).ravel(), minlength=256)
    return float(np.convolve(counts, np.ones(_LEVELS), "same").max() / levels.size)


def _strokes_of_both(aligned: Aligned, inside: Mask) -> Iterator[tuple[Levels, Levels]]:
    """Yield the strokes of two pictures, at each step laid better on each other: most copies agree at the first.

    First as they are, then the sharper one blurred as the other is and moved until they agree.
    """
    one, other = (_filled(each, aligned.both) for each in (aligned.query, aligned.candidate))
    yield _strokes(one), _strokes(other)
    blur_one, blur_other = _evening(one, other, inside)
    moved, still = _strokes(one, blur_one), _strokes(other, blur_other)
    for blocks, most in _MOVES:
        moved = _moved(moved, still, inside, blocks, most)
        yield moved, still


def _filled(levels: Levels, both: Mask) -> Levels:
    """Return a picture that goes on in its own paper where the other one has no pixels: a border there has no edge."""
    return np.where(both, levels, np.median(levels[both])).astype(np.float32)


def _soft(levels: Levels) -> Levels:
    return np.asarray(cv2.GaussianBlur(levels, (0, 0), _FINE), np.float32)


def _strokes(levels: Levels, blur: float = 0.0) -> Levels:
    """Return what is as fine as strokes of letters in a picture, blurred before by so many pixels."""
    fine, coarse = (cv2.GaussianBlur(levels, (0, 0), float(np.hypot(one, blur))) for one in (_FINE, _COARSE))
    return np.asarray(fine - coarse, np.float32)


def _evening(one: Levels, other: Levels, inside: Mask) -> tuple[float, float]:
    """Return by how much each of two pictures is to be blurred to make them equally sharp; one of the two is 0."""
    first, second = _sharpness(one, 0.0, inside), _sharpness(other, 0.0, inside)
    sharper, aim = (one, second) if first >= second else (other, first)
    blur = min(_BLURS, key=lambda each: abs(np.log(_sharpness(sharper, each, inside) / aim)))
    return (blur, 0.0) if first >= second else (0.0, blur)


def _sharpness(levels: Levels, blur: float, inside: Mask) -> float:
    """Return how strong fine strokes are by those twice as coarse: pages of one form have letters of one size."""
    fine = _strokes(levels, blur)[inside].std()
    coarse = _strokes(levels, float(np.hypot(blur, np.sqrt(3) * _COARSE)))[inside].std()
    return float((fine + 1e-3) / (coarse + 1e-3))


def _moved(moving: Levels, still: Levels, inside: Mask, blocks: int, most: float) -> Levels:
    """Return a picture whose blocks are moved to where they agree best with the other one, smoothly in between."""
    height, width = still.shape
    high, wide = height // blocks, width // blocks
    if min(high, wide) < _SMALLEST_BLOCK:
        return moving
    faded = cv2.createHanningWindow((wide, high), cv2.CV_32F)
    shifts = np.zeros((blocks, blocks, 2), np.float32)
    for row in range(blocks):
        for column in range(blocks):
            block = np.s_[row * high : (row + 1) * high, column * wide : (column + 1) * wide]
            if inside[block].mean() < 0.6:  # noqa: PLR2004
                continue
            # Copies: OpenCV fades what it is given in place.
            shift, response = cv2.phaseCorrelate(moving[block].copy(), still[block].copy(), faded)
            if response >= _FOUND and max(np.abs(shift)) <= most:
                shifts[row, column] = shift
    # A block of other words agrees best anywhere: its neighbours know better.
    each = (cv2.medianBlur(np.ascontiguousarray(shifts[..., axis]), 3) for axis in (0, 1))
    right, down = (cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in each)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    found = cv2.remap(moving, x - right, y - down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found, np.float32)


def _differ_all_over(one: Levels, other: Levels, inside: Mask) -> bool:
    """Tell whether strokes that both have differ, and not only in a few places."""
    unlike, shown = _unlike_and_shown(one, other, inside)
    if not shown.any() or unlike.sum() < _UNLIKE * shown.sum():
        return False
    differing, written = _cells(unlike, shown)
    return differing >= max(_FEWEST_CELLS, _SCATTERED * written)


def _unlike_and_shown(one: Levels, other: Levels, inside: Mask) -> tuple[Mask, Mask]:
    """Return where both pictures have strokes that do not agree, and where both have strokes."""

    def mean(values: Levels) -> Levels:
        return np.asarray(cv2.boxFilter(values * inside, -1, _WINDOW), np.float32)

    spreads = [np.sqrt(np.maximum(mean(each**2), 0)) for each in (one, other)]
    shown = inside.copy()
    for spread in spreads:
        strongest = float(np.quantile(spread[inside], _STRONGEST))
        shown &= (spread >= _STROKES * strongest) & (strongest >= _LETTERS)
    agree = mean(one * other) >= _ALIKE * spreads[0] * spreads[1]
    return shown & ~agree, shown


def _cells(unlike: Mask, shown: Mask) -> tuple[int, int]:
    """Return in how many cells strokes differ, and in how many there are some."""
    height, width = shown.shape
    cell = (np.arange(height) * _CELLS // height)[:, None] * _CELLS + (np.arange(width) * _CELLS // width)[None, :]
    area, strokes, others = (
        np.bincount(cell.ravel(), each.ravel(), minlength=_CELLS**2)
        for each in (np.ones(shown.shape), shown.astype(np.float64), unlike.astype(np.float64))
    )
    written = strokes >= _SHOWN * area
    return int((written & (others >= _DIFFERS * strokes)).sum()), int(written.sum())
