"""What the catalogue knows of found files: which image each is, and whether its source says anything new of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from indexer.sources.found import Found, FoundFile, Named, Origin
from indexer.sources.member_contents import CarriedContent
from indexer.sources.sources import read_metadata
from search.errors import BadImage
from search.records import Collection
from search.storing.catalogue import Catalogue, KnownFile
from search.storing.origins import Origins


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file that must be read. stored: the image it was, None for a new one."""

    file: FoundFile
    stored: KnownFile | None


class Planning:
    """Looks files up in the catalogue, many at a time."""

    def __init__(self, catalogue: Catalogue, origins: Origins, target: Collection) -> None:
        self._catalogue = catalogue
        self._origins = origins
        self._target = target

    def known(self, files: Sequence[FoundFile]) -> list[KnownFile | None]:
        """Return the image that each file is: by its key where its source gives one, else by its place.

        A file that gets its first key is the image at its place, if that has none of its own.
        """
        by_uri = self._catalogue.files(self._target.id, [file.uri for file in files])
        keys = [key for file in files if (key := key_of(file)) is not None]
        by_key = self._origins.files_by_key(keys) if keys else {}
        return [_image_of(file, by_key, by_uri.get(file.uri)) for file in files]

    def named(self, rows: Sequence[Named]) -> list[int]:
        """Return the ids of the images that rows without a picture name all the same, by their keys and places."""
        at_places = self._catalogue.files(self._target.id, [row.uri for row in rows if row.uri is not None])
        by_keys = self._origins.files_by_key([row.key for row in rows if row.key is not None])
        return [image.image_id for image in (*at_places.values(), *by_keys.values())]

    def redescribed(self, unchanged: Sequence[tuple[FoundFile, KnownFile]]) -> list[tuple[FoundFile, KnownFile]]:
        """Return those unchanged files whose manifest gives them another key or other metadata than they have."""
        described = [pair for pair in unchanged if pair[0].origin is not None]
        if not described:
            return []
        stored = self._origins.metadata_of([image.image_id for _, image in described])
        return [
            (file, image)
            for file, image in described
            if key_of(file) not in (None, image.key) or _news(file, stored.get(image.image_id, {}))
        ]


def _image_of(file: FoundFile, by_key: dict[str, KnownFile], at_place: KnownFile | None) -> KnownFile | None:
    key = key_of(file)
    if key is None:
        return at_place
    if key in by_key:
        return by_key[key]
    return at_place if at_place is not None and at_place.key == at_place.uri else None


def _news(file: FoundFile, stored: dict[str, object]) -> bool:
    metadata = file.origin.metadata if file.origin is not None else None
    return metadata is not None and stored | dict(metadata) != stored


def key_of(file: FoundFile) -> str | None:
    """Return the user's key of a file, None where its source gives none."""
    return file.origin.key if file.origin is not None else None


def carried_bytes(found: Found) -> int:
    """Return the bytes of a picture that travels in memory, 0 for every other."""
    if not isinstance(found, FoundFile) or found.origin is None:
        return 0
    content = found.origin.content
    return len(content.data) if isinstance(content, CarriedContent) else 0


def require_sha256(file: FoundFile, sha256: bytes) -> None:
    """Raises:
    BadImage: the source expects another one.
    """
    expected = file.origin.sha256 if file.origin is not None else None
    if expected is not None and expected != sha256:
        detail = f"its sha256 is {sha256.hex()}, the manifest says {expected.hex()}"
        raise BadImage("checksum_mismatch", detail)


def described(file: FoundFile) -> FoundFile:
    """Return a file with the metadata of its sidecar, and without the content it was read from.

    Raises:
        BadImage: the sidecar cannot be read.
    """
    if file.sidecar is not None:
        origin = replace(file.origin or Origin(), metadata=read_metadata(file.sidecar), content=None)
        return replace(file, origin=origin, sidecar=None)
    if file.origin is not None and file.origin.content is not None:
        return replace(file, origin=replace(file.origin, content=None))
    return file
