"""Rows of images, within a commit: new ones go in, those that are there are told what changed."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Connection, bindparam, case, select, update

from search.database.bulk import Row, among, insert_rows
from search.database.database import chunks
from search.database.tables import image
from search.records import ContentFacts, Label, shown_path

_FILE_COLUMNS = ("key", "uri", "path", "content_id", "size_bytes", "mtime_ns")
IMAGE_COLUMNS = (*_FILE_COLUMNS, "collection_id", "sequence", "metadata", "source_id")
# With the condition of the index, word for word.
KNOWN_KEYS = "SELECT key, id FROM image WHERE collection_id = ? AND NOT deleted AND key IN ?*"
KNOWN_URIS = "SELECT uri, id, key FROM image WHERE collection_id = ? AND NOT deleted AND uri IN ?*"
_CHANGED = (*(f"new_{name}" for name in _FILE_COLUMNS), "image_id", "new_sequence")
# Only another content makes an image newer than the generations that know it.
_CHANGE = (
    update(image)
    .where(image.c.id == bindparam("image_id"))
    .values(
        sequence=case(
            (image.c.content_id != bindparam("new_content_id"), bindparam("new_sequence")), else_=image.c.sequence
        ),
        # An image that left its archive for a plain file came from it no more.
        source_id=case((image.c.uri == bindparam("new_uri"), image.c.source_id), else_=None),
        **{name: bindparam(f"new_{name}") for name in _FILE_COLUMNS},
    )
)


@dataclass(frozen=True, slots=True)
class NewImage:
    """A file that becomes, or changes, an image.

    content: the facts of a fresh content, or the id of one the catalogue has. image_id: the image that moved here or
    changed; None lets the key decide. labels: of the content, highest probability first; None when nobody asked.
    metadata: fields to set, beside those the image has; None says nothing. source_id: the archive or manifest that
    names it (`search.storing.origins`). local: the record of the content's local features
    (search/geometry/local_features.py), None when nobody asked or it has one.
    """

    key: str
    uri: str
    size_bytes: int
    mtime_ns: int
    content: ContentFacts | int
    image_id: int | None = None
    labels: tuple[Label, ...] | None = None
    metadata: Mapping[str, object] | None = None
    source_id: int | None = None
    local: NDArray[np.uint8] | None = None


def put_images(
    connection: Connection, collection_id: int, images: Sequence[NewImage], contents: list[int], sequence: int
) -> None:
    """Write a batch of images under a commit sequence. contents: the id of the content of each."""
    keys = [new.key for new in images if new.image_id is None]
    known = dict(among(connection, KNOWN_KEYS, (collection_id,), keys))
    # Under a key that is only its uri, a file is the image that lies there, whatever key a user gave that one.
    nameless = [new.uri for new in images if new.image_id is None and new.key == new.uri and new.key not in known]
    here = _keyed_at(connection, collection_id, nameless)
    inserts: dict[str, Row] = {}
    changes: list[dict[str, object]] = []
    said: list[tuple[int, NewImage]] = []
    for new, content_id in zip(images, contents, strict=True):
        values = (new.key, new.uri, shown_path(new.uri), content_id, new.size_bytes, new.mtime_ns)
        image_id = new.image_id if new.image_id is not None else known.get(new.key)
        if image_id is None and new.uri in here:
            for other, key in here[new.uri]:
                changes.append(dict(zip(_CHANGED, (key, *values[1:], other, sequence), strict=True)))
                said.append((other, new))
        elif image_id is None:
            metadata = json.dumps(dict(new.metadata)) if new.metadata else "{}"
            inserts[new.key] = (*values, collection_id, sequence, metadata, new.source_id)
        else:
            changes.append(dict(zip(_CHANGED, (*values, image_id, sequence), strict=True)))
            said.append((image_id, new))
    insert_rows(connection, image, IMAGE_COLUMNS, list(inserts.values()))
    if changes:
        connection.execute(_CHANGE, changes)
        _renew(connection, collection_id, images, contents, sequence)
    for image_id, new in said:
        if new.metadata is not None or new.source_id is not None:
            _say(connection, image_id, new)


def _renew(
    connection: Connection, collection_id: int, images: Sequence[NewImage], contents: list[int], sequence: int
) -> None:
    """Make images newer than the generations whose content is as before, but was not embedded in this space until now.

    `rollback` and `promote` can leave such images behind, and no generation knows them.
    """
    embedded = {at for new, at in zip(images, contents, strict=True) if isinstance(new.content, ContentFacts)}
    for part in chunks(sorted(embedded)):
        here = (image.c.collection_id == collection_id) & image.c.content_id.in_(part) & ~image.c.deleted
        connection.execute(update(image).where(here, image.c.sequence < sequence).values(sequence=sequence))


def _say(connection: Connection, image_id: int, new: NewImage) -> None:
    """Write what a source says of an image that is there; fields it does not name stay, whoever wrote them."""
    values: dict[str, object] = {} if new.source_id is None else {"source_id": new.source_id}
    if new.metadata is not None:
        before = connection.execute(select(image.c.metadata).where(image.c.id == image_id).with_for_update()).scalar()
        values["metadata"] = dict(before or {}) | dict(new.metadata)
    connection.execute(update(image).where(image.c.id == image_id).values(values))


def _keyed_at(connection: Connection, collection_id: int, uris: Sequence[str]) -> dict[str, list[tuple[int, str]]]:
    """Return the (id, key) of the images at these uris, by uri; uris without any are left out."""
    found: dict[str, list[tuple[int, str]]] = {}
    for uri, image_id, key in among(connection, KNOWN_URIS, (collection_id,), uris):
        found.setdefault(uri, []).append((image_id, key))
    return found
