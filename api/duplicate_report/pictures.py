"""The pictures of a duplicate report: small copies of the images, and what differs between two of them."""

from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from search.duplicates.groups import EXACT, DuplicateMember
from search.errors import ImageNotFound
from search.finding.accurate import StoredPictures
from search.geometry.explanation import as_jpeg, difference
from search.geometry.keypoints import resized
from search.geometry.pixel_edits import PictureFile
from search.geometry.verification import Verification
from search.geometry.verify import prepared, verify
from search.records import EditKind, ImageRecord

SIDE: Final = 280  # pixels of the longer side
QUALITY: Final = 72
# Kinds of edits after which a copy, stretched over its keeper, does not lie on it.
_MOVED: Final[frozenset[EditKind]] = frozenset({"mirrored", "rotated", "cropped", "framed", "tilted"})
_SAME_SHAPE: Final = 0.02  # largest difference of the proportions of two pictures that show the same frame

Pixels = NDArray[np.uint8]


class GroupPictures(Protocol):
    """Pictures of one group after another, as the bytes of JPEG files; None where a file cannot be read any more."""

    def keeper(self, image: ImageRecord) -> bytes | None:
        """Return a small copy of a keeper; the members that follow are its."""
        ...

    def member(self, member: DuplicateMember) -> tuple[bytes | None, bytes | None]:
        """Return a small copy of a member, and of its keeper with what differs; the latter None of exact copies."""
        ...


class StoredGroupPictures:
    """`GroupPictures` of indexed images."""

    def __init__(self, stored: StoredPictures) -> None:
        self._stored = stored
        self._keeper: ImageRecord | None = None
        self._file: PictureFile | None = None

    def keeper(self, image: ImageRecord) -> bytes | None:
        """Return a small copy of a keeper, and keep its pixels for its members."""
        self._keeper, self._file = image, self._stored.file(image)
        return None if self._file is None else _small(self._file.pixels)

    def member(self, member: DuplicateMember) -> tuple[bytes | None, bytes | None]:
        """Return a small copy of a member of the keeper that was shown last, and what differs."""
        file = self._stored.file(member.image)
        if file is None:
            return None, None
        small = _small(file.pixels)
        if self._keeper is None or self._file is None or member.kind in EXACT:
            return small, None
        found = _laid(self._stored, self._keeper, member.image) if _moved(self._keeper, member) else None
        return small, _small(difference(file.pixels, self._file.pixels, found))


def difference_of(stored: StoredPictures, image: ImageRecord, keeper: ImageRecord) -> bytes:
    """Return the bytes of a JPEG file: a keeper, glowing where an image shows something else.

    Raises:
        ImageNotFound: the file of one is gone, out of reach, or has changed.
    """
    files = [stored.file(one) for one in (image, keeper)]
    for one, file in zip((image, keeper), files, strict=True):
        if file is None:
            raise ImageNotFound(
                f"the file of image {one.id} cannot be looked at: it is gone, elsewhere, or has changed"
            )
    first, second = (file.pixels for file in files if file is not None)
    return _small(difference(first, second, _laid(stored, keeper, image)))


def _laid(stored: StoredPictures, keeper: ImageRecord, image: ImageRecord) -> Verification | None:
    """Return how an image lies on its keeper, None where nobody can tell."""
    one, other = stored.keypoints([image, keeper])
    return None if one is None or other is None else verify(prepared(one), other)


def _moved(keeper: ImageRecord, member: DuplicateMember) -> bool:
    """Tell whether a member may not lie on its keeper by being stretched over it."""
    if member.edits is None or not (keeper.width and keeper.height and member.image.width and member.image.height):
        return True
    if any(edit.kind in _MOVED for edit in member.edits):
        return True
    one, other = member.image.width / member.image.height, keeper.width / keeper.height
    return abs(one / other - 1) > _SAME_SHAPE


def _small(pixels: Pixels) -> bytes:
    return as_jpeg(resized(pixels, min(1.0, SIDE / max(pixels.shape[:2]))), QUALITY)
