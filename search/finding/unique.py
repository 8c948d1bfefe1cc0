"""Naming each stored duplicate group once: the best match of a group stands for all of them, and says how many more.

Images that show the same pixels always belong together; what else does, a `Groups` knows, which is
search/plans/stored_groups.py.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Final, NamedTuple, Protocol

from search.database.database import Database
from search.records import Match
from search.storing.same_pixels import contents_showing, images_showing

# A search looks at so many images for each one wanted, and at more where these are copies, up to the last number.
PER_MATCH: Final = 4
MOST_LOOKED_AT: Final = 10_000


class Groups(Protocol):
    """Knows which contents were found to be copies of each other."""

    def name_of(self, sha256: bytes) -> bytes | None:
        """Return the name of the group of a content, None where it is in none."""
        ...

    def contents_of(self, name: bytes) -> Collection[bytes]:
        """Return the contents (sha256) of a group."""
        ...


class Page(NamedTuple):
    """The best matches of a search. is_all: whether there are no others."""

    matches: list[Match]
    is_all: bool


class Collapsing:
    """Collapses matches of one collection. groups: which contents are copies of each other."""

    def __init__(self, database: Database, collection_id: int, groups: Groups) -> None:
        self._database = database
        self._collection_id = collection_id
        self._groups = groups

    def search(self, find: Callable[[int], Page], k: int) -> list[Match]:
        """Return at most k matches of different groups. find: a search, given how many images it is to name."""
        count = PER_MATCH * k
        while True:
            page = find(min(count, MOST_LOOKED_AT))
            kept = self.firsts(page.matches)
            if len(kept) >= k or page.is_all or count >= MOST_LOOKED_AT:
                return self.counted([page.matches[place] for place in kept[:k]])
            count *= PER_MATCH

    def firsts(self, matches: Sequence[Match]) -> list[int]:
        """Return the places of the first match of each group, in order."""
        first: dict[bytes, int] = {}
        for place, name in enumerate(self._names(matches)):
            first.setdefault(name, place)
        return list(first.values())

    def counted(self, matches: Sequence[Match]) -> list[Match]:
        """Return matches, one of each group, with how many more images of the collection their groups have."""
        contents = {
            match.image.id: {match.image.sha256, *self._groups.contents_of(name)}
            for match, name in zip(matches, self._names(matches), strict=True)
        }
        everything = {sha256 for group in contents.values() for sha256 in group}
        images = images_showing(self._database, self._collection_id, everything)
        numbers = {
            image: len(set[int]().union(*(images.get(sha256, ()) for sha256 in group)))
            for image, group in contents.items()
        }
        # A match that was removed meanwhile is in no group any more.
        return [replace(match, copies=max(numbers[match.image.id] - 1, 0)) for match in matches]

    def _names(self, matches: Sequence[Match]) -> list[bytes]:
        """Return the name of the group of each match; one that is in none is named by its pixels."""
        twins = contents_showing(self._database, {match.image.pixel_hash for match in matches})
        by_pixels = {
            pixel_hash: next(filter(None, map(self._groups.name_of, sorted(contents))), pixel_hash)
            for pixel_hash, contents in twins.items()
        }
        return [by_pixels.get(match.image.pixel_hash, match.image.pixel_hash) for match in matches]
