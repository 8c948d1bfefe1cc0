"""The edits that changed pixels where they are: colours, light, blur, things laid over, another file of the same."""

from concurrent.futures import Future
from dataclasses import dataclass
from typing import NamedTuple, Self

import cv2
import numpy as np
from numpy.typing import NDArray

from search.geometry.agreement import Aligned, align, correlation_map
from search.geometry.edits import model_edits
from search.geometry.keypoints import Pixels, as_grey, resized
from search.geometry.overlap import Size
from search.geometry.transformation import Model, local_linear
from search.geometry.verification import Verification
from search.records import Edit

_LOSSY = frozenset({"JPEG", "WEBP", "AVIF", "HEIF", "HEIC", "JXL"})
_SIDE = 320  # pixels of the longer side at which pixels are compared
_COLOURLESS = 3.0  # levels between channels, on average, of a grey picture
_COLOURFUL = 8.0
_RECOLOURED = 10.0  # levels that colours moved, on average, light left aside
_COLOURS_SOFT = 2.0  # pixels
_LIT = 8.0  # levels that the light changed
_SHARPNESS_LEFT = 0.45  # share of the energy of fine details, below which a picture was blurred
_COARSENESS = (1.0, 1.4, 2.0, 2.8, 4.0, 5.6, 8.0, 11.3, 16.0)  # pixels, standard deviations tried
_SOFTENING = 2.0  # pixels, standard deviation of the blur before the details that are left are compared
_LEAST_BLUR = 0.5  # pixels
_NO_DETAIL = 1e-12
_COARSE = 4.0  # pixels, standard deviation of what is left of coarse details
_UNLIKE = 0.4  # local correlation below which something else is shown
_LEAST_COVERED = 0.02  # of the shared part
_OFF_LEVEL = 20.0  # levels between two pictures in the same light, beyond which something else is shown
_AWAY = 25  # pixels, twice as far as something bleeds into coarse details
_DARKEST, _BRIGHTEST = 8, 247  # levels: what is beyond was clipped, or may have been
_LOOKS = 2  # again, each without what the blur of the one before does not explain
_FITS = 3  # each without the pixels that fitted worst before
_TRIMMED = 3.0  # times the median error
_FEWEST_PIXELS, _ENOUGH_PIXELS = 100, 10_000
_FAINTEST = 0.2  # factor of the light


@dataclass(frozen=True, slots=True, eq=False)
class PictureFile:
    """A picture and its file. pixels: (H, W, 3) RGB uint8, of its full size or reduced. format: as Pillow names it."""

    pixels: Pixels
    format: str
    sha256: str


def edits_between(
    found: Verification, query: PictureFile, candidate: PictureFile, blurring: Future[list[Edit]] | None = None
) -> list[Edit]:
    """Return what was done to the candidate to get the query, largest changes of place first; [] for the same file.

    Meant for a "yes"; without a model the list is empty. blurring: `blur_between` of the same, in another thread.
    """
    if query.sha256 == candidate.sha256 or found.model is None:
        return []
    edits, before, after = model_edits(found), _bounded(candidate.pixels), _bounded(query.pixels)
    if blurring is None:
        blur = blur_between(found, query, candidate)
        changed = _changed(found, after, before, blur)
    else:
        changed = _changed(found, after, before, [])  # meanwhile, as if there were no blur: mostly there is none
        blur = blurring.result()
        changed = _changed(found, after, before, blur) if blur else changed
    if changed is not None:
        colours, cover = changed
        edits += colours + blur + cover
    return edits + _files(query, candidate, others=bool(edits))


def _changed(
    found: Verification, after: Pixels, before: Pixels, blur: list[Edit]
) -> tuple[list[Edit], list[Edit]] | None:
    """Return what changed colours, and what was laid over, None where the pictures do not meet.

    after, before: query and candidate, reduced. What blur alone has changed, such as colours that ran into each other,
    is no edit of its own.
    """
    blurred = _blurred_as(found, before, blur)
    layers = _colour_layers(found, after, blurred)
    return (_colours(layers), _cover(found, after, blurred)) if layers else None


def _blurred_as(found: Verification, small: Pixels, blur: list[Edit]) -> Pixels:
    """Return the candidate as blurred as the query is. small: the candidate, reduced to what is compared."""
    if found.model is None or not blur:
        return small
    middle = np.array((found.query_size[0] / 2, found.query_size[1] / 2))
    grown = float(np.sqrt(abs(np.linalg.det(local_linear(found.model, middle)))))
    sigma = (blur[0].amount or 0.0) * grown * small.shape[1] / found.candidate_size[0]
    return np.asarray(cv2.GaussianBlur(small, (0, 0), sigma), np.uint8)


def is_grey(found: Verification, query: PictureFile, candidate: PictureFile) -> bool:
    """Tell whether the query lost the colours that the candidate has. Arguments as of `edits_between`."""
    layers = _colour_layers(found, query.pixels, candidate.pixels)
    return bool(layers) and any(edit.kind == "grey" for edit in _colours(layers))


def _colour_layers(found: Verification, query: Pixels, candidate: Pixels) -> list[Aligned]:
    """Return the aligned red, green and blue of both pictures, [] where they do not meet."""
    if found.model is None:
        return []
    one, other = _bounded(query), _bounded(candidate)
    between = between_copies(found.model, found.query_size, found.candidate_size, one, other)
    aligned = [align(one[..., channel], other[..., channel], between) for channel in range(3)]
    return [layer for layer in aligned if layer is not None] if all(aligned) else []


def between_copies(model: Model, query_size: Size, candidate_size: Size, query: Pixels, candidate: Pixels) -> Model:
    """Return a model between two pictures as one between these copies of them, of other sizes."""
    smaller = np.diag((query_size[0] / query.shape[1], query_size[1] / query.shape[0], 1.0))
    onto = np.diag((candidate.shape[1] / candidate_size[0], candidate.shape[0] / candidate_size[1], 1.0))
    return np.asarray(onto @ model @ smaller, np.float64)


def _bounded(pixels: Pixels) -> Pixels:
    return resized(pixels, min(1.0, _SIDE / max(pixels.shape[:2])))


def _colours(layers: list[Aligned]) -> list[Edit]:
    both = layers[0].both
    # Softened, as lossy formats store colours at half the resolution.
    query = np.stack([cv2.GaussianBlur(layer.query, (0, 0), _COLOURS_SOFT)[both] for layer in layers])
    candidate = np.stack([cv2.GaussianBlur(layer.candidate, (0, 0), _COLOURS_SOFT)[both] for layer in layers])
    light_now, light_before = query.mean(axis=0), candidate.mean(axis=0)
    colour, colour_before = query - light_now, candidate - light_before
    edits = []
    if _typical(np.abs(colour)) < _COLOURLESS and _typical(np.abs(colour_before)) > _COLOURFUL:
        edits.append(Edit("grey"))
    elif (moved := _typical(np.abs(colour - colour_before))) > _RECOLOURED:
        edits.append(Edit("recoloured", round(moved / 255, 3)))
    light = float(np.median(light_now - light_before))
    if abs(light) > _LIT:
        edits.append(Edit("brightened" if light > 0 else "darkened", round(abs(light) / 255, 3)))
    return edits


def _typical(values: NDArray[np.float32]) -> float:
    """Return a mean that what was laid over a part does not move: of the middle nine tenths of the pixels.

    values: (channels, pixels).
    """
    pixels = values.mean(axis=0)
    edge = len(pixels) // 20
    if edge:  # sorting them all takes four times as long
        pixels = np.partition(pixels, (edge, len(pixels) - edge - 1))
    return float(pixels[edge : len(pixels) - edge].mean())


def blur_between(found: Verification, query: PictureFile, candidate: PictureFile) -> list[Edit]:
    """Return the blur that takes as much detail off the candidate as the query lacks, at the query's resolution.

    The part of `edits_between` that takes half of its time.
    """
    if found.model is None:
        return []
    asked = resized(as_grey(query.pixels), min(1.0, 2 * _SIDE / max(query.pixels.shape[:2])))
    between = between_copies(found.model, found.query_size, found.candidate_size, asked, candidate.pixels)
    # The candidate is laid over the query here, so `aligned.query` is the candidate before the edit.
    aligned = align(as_grey(candidate.pixels), asked, np.asarray(np.linalg.inv(between), np.float64))
    if aligned is None:
        return []
    before, after, both = _Detailed.of(aligned.query), _Detailed.of(aligned.candidate), aligned.both
    # A bar has no detail to lose, and all the contrast: looked at again without what the blur does not explain.
    seen = both & ~_near(_off_level(before.coarse, after.coarse, both))
    sigma = _lost_detail(before, after, seen if np.count_nonzero(seen) > np.count_nonzero(both) / 2 else both)
    for _ in range(_LOOKS):
        if sigma:
            sigma = _lost_detail(before, after, _explained(before, after, both, sigma))
    return [Edit("blurred", round(sigma * found.query_size[0] / asked.shape[1], 1))] if sigma else []


class _Detailed(NamedTuple):
    """A picture and its coarse details. levels, coarse: (h, w) float32."""

    levels: NDArray[np.float32]
    coarse: NDArray[np.float32]

    @classmethod
    def of(cls, levels: NDArray[np.float32]) -> Self:
        return cls(levels, np.asarray(cv2.GaussianBlur(levels, (0, 0), _COARSE), np.float32))

    def blurred(self, sigma: float) -> Self:
        return self.of(np.asarray(cv2.GaussianBlur(self.levels, (0, 0), sigma), np.float32))


def _lost_detail(before: _Detailed, after: _Detailed, both: NDArray[np.bool_]) -> float:
    """Return the standard deviation in pixels of the blur between two pictures, 0 where there is none to speak of."""
    sharp = _detail(before, both)
    if sharp <= 0 or _detail(after, both) > sharp * _SHARPNESS_LEFT:
        return 0.0
    sigma = _sigma_between(before, after, both)
    return sigma if sigma >= _LEAST_BLUR else 0.0


def _explained(before: _Detailed, after: _Detailed, both: NDArray[np.bool_], sigma: float) -> NDArray[np.bool_]:
    """Return (h, w) the pixels that look as they did before but for a blur and the light, away from all others."""
    blurred = before.blurred(sigma)
    unlike = (correlation_map(Aligned(blurred.levels, after.levels, both)) < _UNLIKE) & both
    # Where both are flat nothing correlates: there the levels tell.
    return both & ~_near(unlike | _off_level(blurred.coarse, after.coarse, both & ~unlike))


def _off_level(before: NDArray[np.float32], after: NDArray[np.float32], both: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (h, w) where the coarse levels of two pictures differ, in the same light. both: where they are laid."""
    return np.asarray((np.abs(after - _lit(before, after, both)) > _OFF_LEVEL) & both)


def _near(places: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (h, w) the places and what is so near them that they bleed into its coarse details."""
    return np.asarray(cv2.dilate(places.astype(np.uint8), np.ones((_AWAY, _AWAY), np.uint8)) > 0)


def _lit(before: NDArray[np.float32], after: NDArray[np.float32], both: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return a picture in the light of another: one factor and one offset, of the pixels that these fit best.

    Clipped pixels have no say. Without enough others, or with a factor that is no change of light, it is as it was.
    """
    said = both & (after > _DARKEST) & (after < _BRIGHTEST)
    step = max(1, np.count_nonzero(said) // _ENOUGH_PIXELS)
    one, other = before[said][::step].astype(np.float64), after[said][::step].astype(np.float64)
    factor, offset = 1.0, 0.0
    for _ in range(_FITS):
        if len(one) < _FEWEST_PIXELS:
            return before
        centred = one - one.mean()
        energy = float((centred * centred).sum())  # not by BLAS, whose threads cost more than they do
        if energy < len(one):
            return before
        factor = float((centred * other).sum()) / energy
        offset = float(other.mean() - factor * one.mean())
        error = np.abs(factor * one + offset - other)
        fits = error <= max(float(np.median(error)) * _TRIMMED, 1.0)
        one, other = one[fits], other[fits]
    return np.asarray(factor * before + offset, np.float32) if _FAINTEST < factor < 1 / _FAINTEST else before


def _sigma_between(before: _Detailed, after: _Detailed, both: NDArray[np.bool_]) -> float:
    """Return the standard deviation in pixels of the blur that leaves as much detail of `before` as `after` has.

    Both are softened: of the finest details, rounding to levels and lossy formats leave more than a strong blur does.
    """
    left = _detail(after.blurred(_SOFTENING), both)
    sigmas = [0.0, *_COARSENESS]
    details = list[float]()
    for sigma in sigmas:
        details.append(_detail(before.blurred(float(np.hypot(sigma, _SOFTENING))), both))
        if details[-1] <= left:
            break
    # Between two that were tried it falls about as a power of what both blurs are together.
    falling = np.log(np.maximum(details[::-1], _NO_DETAIL))
    widths = np.log(np.hypot(sigmas[: len(details)], _SOFTENING))[::-1]
    width = float(np.exp(np.interp(np.log(max(left, _NO_DETAIL)), falling, widths)))
    return float(np.sqrt(max(0.0, width**2 - _SOFTENING**2)))


def _detail(picture: _Detailed, both: NDArray[np.bool_]) -> float:
    """Return the energy of the finest details by that of the coarse ones, so that less contrast is not less detail.

    The tenth of the pixels that has most of it is left out: captions, frames.
    """
    inside = cv2.erode(both.astype(np.uint8), np.ones((3, 3))) > 0
    if not inside.any():
        return 0.0
    energy = (cv2.Laplacian(picture.levels, cv2.CV_32F) ** 2)[inside]
    least = max(1, len(energy) * 9 // 10)
    energy = np.partition(energy, least - 1)[:least]  # sorting them all takes five times as long
    return float(energy.mean()) / max(float(picture.coarse[inside].var()), 1.0)


def _cover(found: Verification, query: Pixels, candidate: Pixels) -> list[Edit]:
    """Return the share of the shared part that shows something else, in patches rather than in single pixels.

    It must show so at half the resolution, too, where noise no longer does.
    """
    if found.model is None:
        return []
    one, other = as_grey(_bounded(query)), as_grey(_bounded(candidate))
    between = between_copies(found.model, found.query_size, found.candidate_size, one, other)
    shares = []
    for reduction in (1.0, 0.5):
        aligned = align(one, other, between, reduction)
        if aligned is None:
            return []
        unlike = ((correlation_map(aligned) < _UNLIKE) & aligned.both & ~_clipped(aligned)).astype(np.uint8)
        patches = cv2.morphologyEx(unlike, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
        shares.append(float(patches.sum() / aligned.both.sum()))
    return [Edit("covered", round(min(shares), 3))] if min(shares) > _LEAST_COVERED else []


def _clipped(aligned: Aligned) -> NDArray[np.bool_]:
    """Return (h, w) where the query is black or white because its light makes that of what was there."""
    lit = _lit(aligned.candidate, aligned.query, aligned.both)
    black = (aligned.query <= _DARKEST) & (lit <= _DARKEST)
    return np.asarray(black | ((aligned.query >= _BRIGHTEST) & (lit >= _BRIGHTEST)))


def _files(query: PictureFile, candidate: PictureFile, *, others: bool) -> list[Edit]:
    """Return what was done to the file. others: the pixels were changed by more than a lossy format."""
    converted = [Edit("converted")] if query.format != candidate.format else []
    if query.pixels.shape == candidate.pixels.shape and np.array_equal(query.pixels, candidate.pixels):
        return converted or [Edit("resaved")]
    return converted + ([Edit("recompressed")] if query.format in _LOSSY or not others else [])
