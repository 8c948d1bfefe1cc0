"""Which images of a collection are to be removed, as the command line and `lookalike.py` name them."""

import os
from dataclasses import astuple, dataclass
from pathlib import Path

from search.errors import ImageNotFound
from search.records import Collection, uri_of_path
from search.storing.removals import ids_at
from search.storing.store import Store


@dataclass(frozen=True, slots=True)
class Which:
    """One way to name images. path: a file, or a folder with all below it, gone or not. where: a condition."""

    id: int | None = None
    key: str | None = None
    path: str | None = None
    where: str | None = None

    @property
    def named(self) -> int:
        """Return how many ways were used."""
        return sum(given is not None for given in astuple(self))


def chosen_ids(store: Store, target: Collection, which: Which) -> list[int]:
    """Return the ids of the images that are named, in the one way that is used.

    Raises:
        ImageNotFound: an image named by id, key or path is not there.
        UsageError: `where` is no condition.
    """
    catalogue = store.catalogue
    if which.id is not None:
        return [catalogue.image_by_id(target.id, which.id).id]
    if which.key is not None:
        return [catalogue.image_by_key(target.id, which.key).id]
    if which.path is not None:
        ids = ids_at(store.database, target, _uri(which.path))
        if not ids:
            raise ImageNotFound(f"collection {target.name!r} has no image at or below {which.path}")
        return ids
    from search.conditions.where import parse

    return [int(found) for found in catalogue.matching(target, parse(which.where or ""))]


def _uri(path: str) -> str:
    """Return the uri of a path, of which links are followed as far as it exists; other uris stay as they are."""
    return path if "://" in path else uri_of_path(str(Path(os.path.expanduser(path)).resolve()))  # noqa: PTH111
