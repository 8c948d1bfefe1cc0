"""Folders as the catalogue knows them: by the paths of images."""

from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import func, literal, select

from search.database.tables import image
from search.errors import UsageError
from search.folders import NamedFolders
from search.letters import AsciiLower, after_beginning, ascii_lower
from search.records import Collection, path_of_uri
from search.storing.catalogue import Catalogue


def require_images_below(catalogue: Catalogue, of: Sequence[Collection], name: str, folder: Path) -> None:
    """Refuse a folder below which no image lies, whatever path leads there: it would protect, or find, nothing.

    of: the collections. name: of the option that names the folder.

    Raises:
        UsageError: naming it.
    """
    named = NamedFolders([folder])
    if any(holds_images_below(catalogue, path, of) for path in named.all_spellings()):
        return
    paths = (path_of_uri(uri) for one in of for _, uri in catalogue.uris(one.id))
    if not any(path is not None and named.hold(path) for path in paths):
        names = " or ".join(one.name for one in of)
        raise UsageError(f"{name} is {folder}, below which no image of {names} lies; nothing was compared")


def holds_images_below(catalogue: Catalogue, folder: Path, of: Sequence[Collection] | None = None) -> bool:
    """Tell whether an image lies below a folder by its path. One indexed look-up for each collection.

    of: the collections, by default all.
    """
    beginning = f"{str(folder).rstrip('/')}/"
    low = ascii_lower(beginning)
    path = AsciiLower(image.c.path)
    below = (path >= literal(low)) & (func.substr(image.c.path, 1, len(beginning)) == beginning) & ~image.c.deleted
    after = after_beginning(low)
    below = below if after is None else below & (path < literal(after))
    with catalogue.database.reading() as connection:
        return any(
            connection.execute(select(image.c.id).where(image.c.collection_id == one.id, below).limit(1)).first()
            for one in (catalogue.collections() if of is None else of)
        )
