"""Duplicate groups of images that exist only by name, and their pictures, for the tests of the report."""

import hashlib

from api.duplicate_report.pictures import Pixels
from search.duplicates.groups import DuplicateGroup, DuplicateKind, DuplicateMember
from search.geometry.explanation import as_jpeg
from search.records import Edit, ImageRecord
from tests.drawn_pictures import textured

HOSTILE = """<img src=x onerror="alert(1)">'&.jpg"""


def image_named(number: int, name: str | None = None, content: str | None = None) -> ImageRecord:
    """Return an image of 400 x 300 in the folder `holiday`. content: what its sha256 is of."""
    uri = f"file:///photos/holiday/{name or f'{number}.jpg'}"
    sha256 = hashlib.sha256((content or str(number)).encode()).digest()
    return ImageRecord(number, uri, uri, 400, 300, 1000 * number, "jpeg", sha256, sha256[:16], 50.0, 1)


def member(number: int, kind: DuplicateKind, score: float = 0.9, name: str | None = None) -> DuplicateMember:
    exact = kind in ("same_bytes", "same_pixels")
    edits = (Edit("cropped", 0.5), Edit("recompressed")) if kind == "cropped" else ()
    relation = "identical" if exact else "probable"
    return DuplicateMember(image_named(number, name), 1.0 if exact else score, relation, kind, edits=edits)  # type: ignore[arg-type]


def pairs(count: int, first: int = 100) -> tuple[DuplicateGroup, ...]:
    """Return groups of an image and one near copy, ids from `first` on."""
    return tuple(
        DuplicateGroup(image_named(number), "most pixels", (member(number + 1, "near"),))
        for number in range(first, first + 2 * count, 2)
    )


class DrawnGroupPictures:
    """Drawn pictures for every image; counts how many were asked for."""

    def __init__(self) -> None:
        self.asked = 0

    def keeper(self, image: ImageRecord) -> bytes | None:
        self.asked += 1
        return jpeg(textured(image.id % 7))

    def member(self, member: DuplicateMember) -> tuple[bytes | None, bytes | None]:
        self.asked += 1
        picture = jpeg(textured(member.image.id % 7))
        return picture, None if member.relation == "identical" else picture


def jpeg(picture: Pixels) -> bytes:
    return as_jpeg(picture, 70)
