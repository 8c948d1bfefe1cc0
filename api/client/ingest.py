"""Taking pictures in: sent, or by their addresses. What is acknowledged is durable, and found by searches."""

import json
import uuid
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from httpx2 import Response

from api.client.calls import Call, below, shaped
from api.client.pictures import picture_part
from api.shapes.ingest import IngestAnswer, Ingested

if TYPE_CHECKING:
    from api.client.pictures import Picture

OnDuplicate = Literal["allow", "link", "reject"]
Keep = Literal["original", "thumbnail", "none"]


def add(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    image: "Picture | None" = None,
    *,
    uri: str | None = None,
    key: str | None = None,
    metadata: Mapping[str, object] | None = None,
    on_duplicate: OnDuplicate | None = None,
    keep: Keep | None = None,
) -> Call[Ingested]:
    """Take a picture in; return what became of it: `outcome`, and `image`.

    image: a path, the bytes of a file, a PIL image, or an array of pixels; uri: the address of one instead. key: its
    name; default: its address, or sha256. on_duplicate: what becomes of a copy of an image that is there: allow, link
    or reject. keep: what the server keeps of the file: original, thumbnail or none. Sent again, it is done once.

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    fields: dict[str, object] = {"on_duplicate": on_duplicate, "keep": keep, "key": key}
    if image is None:
        fields |= {"uri": uri, "metadata": None if metadata is None else dict(metadata)}
    else:
        fields |= {"uri": uri, "metadata": None if metadata is None else json.dumps(dict(metadata))}
    parts = [] if image is None else [picture_part(image)]
    return Call("POST", below(collection, "images"), _first, fields=fields, parts=parts, headers=_once())


def add_all(
    collection: str,
    images: "Sequence[Picture]",
    *,
    keys: Sequence[str] | None = None,
    metadata: Sequence[Mapping[str, object]] | None = None,
    on_duplicate: OnDuplicate | None = None,
    keep: Keep | None = None,
) -> Call[IngestAnswer]:
    """Take several pictures in, in one request of at most 32 MiB and 100 pictures; return what became of each.

    images: as of `add`. keys, metadata: one for each picture, in their order.

    Raises:
        UsageError: a picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    fields: dict[str, object] = {"on_duplicate": on_duplicate, "keep": keep}
    fields |= {"key": None if keys is None else list(keys)}
    fields |= {"metadata": None if metadata is None else [json.dumps(dict(one)) for one in metadata]}
    parts = [picture_part(image) for image in images]
    return Call("POST", below(collection, "images"), shaped(IngestAnswer), fields=fields, parts=parts, headers=_once())


def put(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    key: str,
    image: "Picture | None" = None,
    *,
    uri: str | None = None,
    metadata: Mapping[str, object] | None = None,
    keep: Keep | None = None,
) -> Call[Ingested]:
    """Make a picture the image of a key, new or in the place of another one; return what became of it.

    image, uri, metadata, keep: as of `add`.

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    told = None if metadata is None else dict(metadata)
    fields: dict[str, object] = {"uri": uri, "keep": keep}
    fields["metadata"] = told if image is None or told is None else json.dumps(told)
    parts = [] if image is None else [picture_part(image)]
    path = below(collection, "images", "by-key", key)
    return Call("PUT", path, shaped(Ingested), fields=fields, parts=parts, headers=_once())


def _once() -> dict[str, str]:
    """Return what lets the server tell the same request from another one, however often it comes."""
    return {"Idempotency-Key": uuid.uuid4().hex}


def _first(response: Response) -> Ingested:
    return shaped(IngestAnswer)(response).items[0]
