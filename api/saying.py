"""Saying what two pictures are: as the command line and HTTP name them, by content in the end."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from search.errors import ImageNotFound, UsageError
from search.records import Collection, ImageRecord, uri_of_path
from search.storing.image_records import images_at
from search.storing.store import Store
from search.storing.verdicts import Verdict, Verdicts, verdict_on

_DIGITS: Final = 64  # of a sha256


class Named(NamedTuple):
    """What a name means. content: its sha256. image: whose it is, None where the name is of a content."""

    content: str
    image: int | None


def named(store: Store, target: Collection, name: str, *, paths: bool = True) -> Named:
    """Return what a name means: a content by its sha256, or an image by its path, key or id.

    Tried in this order; a sha256 need not be of an image that is there. paths: names may be paths of this machine.

    Raises:
        ImageNotFound: no image of the collection has this name.
    """
    text = name.strip()
    if len(text) == _DIGITS and set(text.lower()) <= set("0123456789abcdef"):
        return Named(text.lower(), None)
    catalogue = store.catalogue
    if paths:
        uri = text if "://" in text else uri_of_path(str(Path(os.path.expanduser(text)).resolve()))  # noqa: PTH111
        with store.database.reading() as connection:
            at_place = images_at(connection, target.id, uri)
        if at_place:
            return _of(at_place[0])
    try:
        return _of(catalogue.image_by_key(target.id, text))
    except ImageNotFound:
        if text.isdecimal():
            return _of(catalogue.image_by_id(target.id, int(text)))
    raise ImageNotFound(
        f"collection {target.name!r} has no image with the path, key or id {name!r}; "
        "a content can also be named by the 64 digits of its sha256"
    )


def _of(image: ImageRecord) -> Named:
    return Named(image.sha256.hex(), image.id)


def say(
    store: Store,
    target: Collection,
    said: Iterable[tuple[str, str, str]],
    *,
    paths: bool = True,
    of_itself: str | None = None,
) -> list[Verdict]:
    """Write down what each two pictures are to each other, all or none; return what was written.

    said: two names and a word each. paths: as of `named`. of_itself: the word where both names mean one
    content, None for the one that was said.

    Raises:
        ImageNotFound: no image of the collection has one of the names.
        UsageError: nobody can say this, or not where both names mean one content; or both mean one image.
    """
    known: dict[str, Named] = {}

    def meant(name: str) -> Named:
        known[name] = known.get(name) or named(store, target, name, paths=paths)
        return known[name]

    def spoken(one: str, other: str, word: str) -> Verdict:
        first, second = meant(one), meant(other)
        if first.image is not None and first.image == second.image:
            raise UsageError(
                f"{one!r} and {other!r} are one image, of which nothing can be said to itself; name two, or the sha256 "
                "of its content twice, which means all files with these bytes"
            )
        equal = first.content == second.content
        return verdict_on(first.content, second.content, of_itself if equal and of_itself is not None else word)

    verdicts = [spoken(one, other, word) for one, other, word in said]
    Verdicts(store.database).say(verdicts)
    return verdicts


def with_first(names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the pairs of the first name and each of the others.

    Raises:
        UsageError: there are fewer than two names.
    """
    if len(names) < 2:  # noqa: PLR2004
        raise UsageError("name two pictures at least: the keeper first")
    return [(names[0], other) for other in names[1:]]
