"""What is asked of pictures to choose the one to keep. Search reads no files: a main hands in who does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from search.finding.accurate import StoredPictures
from search.geometry.enlargement import DetailProfile
from search.geometry.keypoints import Pixels
from search.records import ImageRecord

LOSSLESS_QUALITY: Final = 100


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """What an image's file says beside its picture.

    profile: None where it is too small to tell. quality: of its compression, 1 to 100 as libjpeg counts, 100 for
    lossless ones, None where that is unknown. lossless: no colours were thrown away, and no JPEG shows through. tags:
    how many entries its metadata has.
    """

    profile: DetailProfile | None
    quality: int | None
    lossless: bool
    tags: int


class KeeperPictures(StoredPictures, Protocol):
    """Pixels and files of indexed images."""

    def measured(self, images: Sequence[ImageRecord]) -> Sequence[Measured | None]:
        """Return what the file of each image says, None where it is not what was indexed any more."""
        ...

    def whole(self, image: ImageRecord) -> Pixels | None:
        """Return (H, W, 3) uint8, an image in its full size; None where nobody can, or it is too large."""
        ...
