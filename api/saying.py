"""Saying what two pictures are: as the command line and HTTP name them, by content in the end."""

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from search.errors import ImageNotFound, UsageError
from search.records import Collection, uri_of_path
from search.storing.image_records import images_at
from search.storing.store import Store
from search.storing.verdicts import Verdict, Verdicts, verdict_on

_DIGITS: Final = 64  # of a sha256


def content_named(store: Store, target: Collection, name: str, *, paths: bool = True) -> str:
    """Return the sha256 of the content that a name means: a sha256, or the path, key or id of an image.

    Tried in this order; a sha256 need not be of an image that is there. paths: names may be paths of this machine.

    Raises:
        ImageNotFound: no image of the collection has this name.
    """
    text = name.strip()
    if len(text) == _DIGITS and set(text.lower()) <= set("0123456789abcdef"):
        return text.lower()
    catalogue = store.catalogue
    if paths:
        uri = text if "://" in text else uri_of_path(str(Path(os.path.expanduser(text)).resolve()))  # noqa: PTH111
        with store.database.reading() as connection:
            at_place = images_at(connection, target.id, uri)
        if at_place:
            return at_place[0].sha256.hex()
    try:
        return catalogue.image_by_key(target.id, text).sha256.hex()
    except ImageNotFound:
        if text.isdecimal():
            return catalogue.image_by_id(target.id, int(text)).sha256.hex()
    raise ImageNotFound(
        f"collection {target.name!r} has no image with the path, key or id {name!r}; "
        "a content can also be named by the 64 digits of its sha256"
    )


def say(
    store: Store,
    target: Collection,
    said: Iterable[tuple[str, str, str]],
    *,
    paths: bool = True,
    of_itself: str | None = None,
) -> list[Verdict]:
    """Write down what each two pictures are to each other, all or none; return what was written.

    said: two names and a word each. paths: as of `content_named`. of_itself: the word where both names mean one
    content, None for the one that was said.

    Raises:
        ImageNotFound: no image of the collection has one of the names.
        UsageError: nobody can say this, or not where both names mean one content.
    """
    known: dict[str, str] = {}

    def content(name: str) -> str:
        known[name] = known.get(name) or content_named(store, target, name, paths=paths)
        return known[name]

    def spoken(one: str, other: str, word: str) -> Verdict:
        equal = of_itself is not None and one == other
        return verdict_on(one, other, of_itself if equal and of_itself is not None else word)

    verdicts = [spoken(content(one), content(other), word) for one, other, word in said]
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
