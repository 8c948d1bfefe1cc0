"""Use case: from a picture that shows next to nothing to the images that are identical with it.

The embedding of a blank, one-coloured or tiny picture says nothing: it is near to every other plain picture, and to
many that are not. So nothing is compared with it but hashes.
"""

from typing import Final

from search.finding.find_similar import QueryContent, Wanted
from search.records import Collection, ImageRecord, Match
from search.storing.catalogue import Catalogue

# Standard deviation of the luma (0 to 127.5) below which a picture counts as blank.
MIN_CONTRAST: Final = 3.0
MIN_SIDE: Final = 8  # pixels: of the shorter side, below which a picture counts as tiny

ONLY_IDENTICAL: Final = "so only identical ones are compared"
NOTHING: Final = "so it is compared with nothing"


def why_plain(contrast: float, width: int, height: int, what: str = "the picture") -> str | None:
    """Return in what way a picture shows next to nothing, None where it shows something.

    contrast: standard deviation of the luma. width, height: in pixels. what: how the picture is called.
    """
    if min(width, height) < MIN_SIDE:
        return f"{what} is only {width} x {height} pixels large"
    return f"{what} shows next to nothing" if contrast < MIN_CONTRAST else None


def why_plain_image(image: ImageRecord) -> str | None:
    """Return in what way a stored image shows next to nothing, None where it shows something, or nobody knows."""
    known = image.width > 0 and image.height > 0  # imported embeddings come without a picture
    return why_plain(image.contrast, image.width, image.height) if known else None


def note_on(why: str, content: QueryContent | None) -> str:
    """Return what a searcher is told of a picture that shows next to nothing. content: None of a part of a picture."""
    return f"{why}, {NOTHING if content is None else ONLY_IDENTICAL}"


def identical_images(
    catalogue: Catalogue, target: Collection, content: QueryContent | None, wanted: Wanted, *, looked: bool
) -> list[Match]:
    """Return the images that hold the same bytes or show the same pixels, at most k, by id; each scores 1.

    content: None of a part of a picture, which is identical with nothing. looked: whether matches say that they are
    verified, as those of an accurate search do.
    """
    if content is None:
        return []
    found = catalogue.images_of_content(target, content.sha256, content.pixel_hash, wanted.where, wanted.k)
    if looked:
        return [Match(image, 1.0, "identical", "yes", ()) for image in found]
    return [Match(image, 1.0, "identical") for image in found]
