"""Beginning a collection without pictures, as a server does it for those who will send some."""

from typing import NamedTuple

from indexer.backbones.backbones import BUILTIN, builtin_space
from search.errors import CollectionNotFound, SpaceMismatch
from search.records import Collection
from search.storing.store import Store


class Begun(NamedTuple):
    """A collection. is_new: whether nobody had begun it before."""

    collection: Collection
    is_new: bool


def begin_collection(store: Store, name: str, *, builtin: bool = False) -> Begun:
    """Return the collection of this name, begun with the built-in backbone where there is none.

    builtin: one of another backbone will not do.

    Raises:
        SpaceMismatch: it has another backbone.
        UsageError: nothing can have this name.
    """
    try:
        known = store.catalogue.collection(name)
    except CollectionNotFound:
        return Begun(store.open_collection(name, builtin_space()), is_new=True)
    if builtin and known.space.backbone != BUILTIN:
        raise SpaceMismatch(
            f"collection {name!r} has the backbone {known.space.backbone}, not {BUILTIN}; choose another name"
        )
    return Begun(known, is_new=False)
