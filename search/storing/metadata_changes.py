"""Changing the metadata of an image that is there: one transaction, durable before anybody is told.

Nothing of the embedding changes, so the commit sequence stays and no index learns of it. Changes to one image follow
each other: the row is locked, then read, then written.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import cast

from sqlalchemy import select, update

from search.conditions.user_metadata import checked, merged
from search.database.database import Database
from search.database.tables import image
from search.errors import ImageChanged
from search.records import ImageRecord
from search.storing.image_records import image_in


def version(record: ImageRecord) -> str:
    """Return 32 hexadecimal digits that differ as soon as anything differs that is shown of an image."""
    text = json.dumps(record.as_json(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def change_metadata(
    database: Database,
    collection_id: int,
    image_id: int,
    patch: Mapping[str, object] | None,
    *,
    versions: frozenset[str] | None = None,
) -> ImageRecord:
    """Merge a patch (RFC 7396) into the metadata of an image; return the image as it is now, durably.

    patch: None takes all metadata away. versions: the image must be in one of these, None for any.

    Raises:
        ImageNotFound: there is no such image.
        ImageChanged: it is in none of the versions; nothing was changed.
        UsageError: the patch or the result cannot be stored (user_metadata.checked); nothing was changed.
    """
    wanted = None if patch is None else checked(patch)
    with database.writing() as connection:
        # SQLite needs no lock of a row: its writers are alone.
        connection.execute(select(image.c.id).where(image.c.id == image_id).with_for_update())
        found = image_in(connection, collection_id, image_id)
        if versions is not None and version(found) not in versions:
            raise ImageChanged(f"image {image_id} was changed meanwhile; read it again and repeat with its new ETag")
        after = {} if wanted is None else checked(cast(Mapping[str, object], merged(found.metadata, wanted)))
        connection.execute(update(image).where(image.c.id == image_id).values(metadata=after))
        return image_in(connection, collection_id, image_id)
