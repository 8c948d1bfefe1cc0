"""Folders as the catalogue knows them: by the paths of images."""

from pathlib import Path

from sqlalchemy import func, literal, select

from search.database.tables import image
from search.letters import AsciiLower, after_beginning, ascii_lower
from search.storing.catalogue import Catalogue


def holds_images_below(catalogue: Catalogue, folder: Path) -> bool:
    """Tell whether an image of any collection lies below a folder. One indexed look-up for each collection."""
    beginning = f"{str(folder).rstrip('/')}/"
    low = ascii_lower(beginning)
    path = AsciiLower(image.c.path)
    below = (path >= literal(low)) & (func.substr(image.c.path, 1, len(beginning)) == beginning) & ~image.c.deleted
    after = after_beginning(low)
    below = below if after is None else below & (path < literal(after))
    with catalogue.database.reading() as connection:
        return any(
            connection.execute(select(image.c.id).where(image.c.collection_id == one.id, below).limit(1)).first()
            for one in catalogue.collections()
        )
