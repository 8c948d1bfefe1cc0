"""Samples of WebDataset: the pictures of one key, and what lies beside them. A key ends at the first dot of the name.

The members of a sample lie next to each other, as tools for WebDataset write them; plain `tar` packs a folder in
whatever order it is listed. Where an archive can be read twice, what lies apart is found beforehand.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Final

import xxhash

from indexer.sources.found import FoundFile
from indexer.sources.member_contents import MemberOfArchive
from indexer.sources.sidecars import MAX_SIDECAR_BYTES, cleaned_text, parsed
from search.errors import BadImage

BESIDE: Final = (".json", ".txt", ".cls")
# A sample that grows beyond this is none: names like IMG.1.jpg, IMG.2.jpg only look like one.
_SAMPLE_MEMBERS: Final = 64
_SAMPLE_BYTES: Final = 8 << 20
_CLASS_DIGITS: Final = 16
_MOST_KEYS: Final = 1_000_000  # of one archive, some 60 bytes each
_MOST_APART: Final = 200_000  # members of one archive, some 300 bytes each

Member = tuple[str, MemberOfArchive | None]  # its name, and what it holds; None where that is too large


@dataclass(slots=True)
class Sample:
    """Members of one key that lie next to each other. pictured: it has a picture, perhaps one that nobody wants."""

    key: str = ""
    pictured: bool = False
    pictures: list[FoundFile] = field(default_factory=list)
    beside: list[Member] = field(default_factory=list)
    metadata: dict[str, object] = field(default_factory=dict)
    carried_bytes: int = 0

    @property
    def full(self) -> bool:
        """Whether what follows belongs to it no more."""
        members = max(len(self.pictures), len(self.beside))
        return members >= _SAMPLE_MEMBERS or self.carried_bytes > _SAMPLE_BYTES

    def take(self, name: str, content: MemberOfArchive | None) -> None:
        """Add to the metadata what a member beside the pictures says.

        Raises:
            BadImage: it is too large, gone, or no JSON object.
        """
        if content is None:
            raise BadImage("bad_metadata", f"it has more than {MAX_SIDECAR_BYTES:,} bytes")
        data = content.read(MAX_SIDECAR_BYTES)
        suffix = PurePosixPath(name).suffix.lower()
        if suffix == ".json":
            self.metadata |= parsed(data)
        else:
            self.metadata[suffix.removeprefix(".")] = _value(data, suffix)

    def described(self) -> Iterator[FoundFile]:
        """Yield the pictures with what lies beside them; a sample without anything beside it says nothing."""
        metadata = {"__key__": cleaned_text(self.key)} | self.metadata if self.metadata else None
        for picture in self.pictures:
            assert picture.origin is not None  # noqa: S101 -- all of them lie in an archive
            yield replace(picture, origin=replace(picture.origin, metadata=metadata))


class Elsewhere:
    """What lies apart from the pictures of its sample, by key, as far as a first look at an archive gathered it."""

    def __init__(self) -> None:
        self._members: dict[str, list[Member]] = {}
        self._number = 0

    def keep(self, sample: Sample) -> None:
        """Take a sample without a picture; in an archive with too many of them, none beyond."""
        if not sample.pictured and self._number + len(sample.beside) <= _MOST_APART:
            self._number += len(sample.beside)
            self._members.setdefault(sample.key, []).extend(sample.beside)

    def members(self, key: str) -> list[Member]:
        """Return what was kept for a key."""
        return self._members.get(key, [])


class Apart:
    """Counts the samples whose pictures lie in one place and more of them in another, by 8 bytes of each key."""

    def __init__(self) -> None:
        self._pictured: set[int] = set()
        self._beside: set[int] = set()

    def note(self, sample: Sample) -> None:
        """Count a sample, or a part of one."""
        keys = self._pictured if sample.pictured else self._beside
        if (sample.pictured or sample.beside) and len(keys) < _MOST_KEYS:
            keys.add(xxhash.xxh3_64_intdigest(sample.key.encode("utf-8", "surrogateescape")))

    @property
    def samples(self) -> int:
        """How many there are."""
        return len(self._pictured & self._beside)


def key_of(name: str) -> str:
    """Return the key of the sample that a member belongs to."""
    folder, slash, bare = name.rpartition("/")
    return folder + slash + bare.split(".", 1)[0]


def belongs(name: str) -> bool:
    """Tell whether a member is no system file, such as the ._ twins macOS packs beside pictures."""
    return not any(part.startswith(".") for part in name.split("/"))


def lies_beside(name: str) -> bool:
    """Tell by its name whether a member describes pictures."""
    return PurePosixPath(name).suffix.lower() in BESIDE and belongs(name)


def _value(data: bytes, suffix: str) -> object:
    """Return what a .txt or .cls member says: a text, or the number of a class."""
    text = cleaned_text(data.decode("utf-8", "replace")).strip()
    return int(text) if suffix == ".cls" and text.isdecimal() and len(text) < _CLASS_DIGITS else text
