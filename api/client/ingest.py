"""Taking pictures in: sent, or by their addresses. What is acknowledged is durable, and found by searches."""

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from httpx2 import Response

from api.client.calls import Call, below, given, named, shaped
from api.client.pictures import picture_part
from api.shapes.ingest import IngestAnswer, Ingested
from search.errors import UsageError

if TYPE_CHECKING:
    from api.picture_bytes import Picture

OnDuplicate = Literal["allow", "link", "reject"]
Keep = Literal["original", "thumbnail", "none"]


def add(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    image: "Picture | None" = None,
    *,
    uri: str | None = None,
    key: str | None = None,
    metadata: Mapping[str, object] | None = None,
    labels: Mapping[str, float] | None = None,
    on_duplicate: OnDuplicate | None = None,
    keep: Keep | None = None,
    idempotency_key: str | None = None,
) -> Call[Ingested]:
    """Take a picture in; return what became of it: `outcome`, and `image`.

    image: a path, the bytes of a file, a PIL image, or an array of pixels; uri: the address of one instead. key: its
    name; default: its address, or sha256. labels: how probable each is, instead of what a classifier says.
    on_duplicate: what becomes of a copy of an image that is there: allow, link or reject. keep: what the server keeps
    of the file: original, thumbnail or none. idempotency_key: names this request, so that it is done once however
    often it is sent, for 7 days; without one, a retry of this call is still done once.

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    said = {"key": key} | _said(metadata, labels, as_text=image is not None)
    fields = {"uri": uri, "on_duplicate": on_duplicate, "keep": keep} | said
    parts = [] if image is None else [picture_part(image)]
    headers = named(idempotency_key)
    return Call("POST", below(collection, "images"), _first, fields=fields, parts=parts, headers=headers)


def add_all(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    images: "Sequence[Picture]" = (),
    *,
    uris: Sequence[str] = (),
    keys: Sequence[str] | None = None,
    metadata: Sequence[Mapping[str, object]] | None = None,
    labels: Sequence[Mapping[str, float]] | None = None,
    on_duplicate: OnDuplicate | None = None,
    keep: Keep | None = None,
    idempotency_key: str | None = None,
) -> Call[IngestAnswer]:
    """Take several pictures in, in one request of at most 32 MiB and 100 pictures; return what became of each.

    images, uris: pictures, or addresses instead, as of `add`. keys, metadata, labels: one for each, in their order.
    on_duplicate, keep, idempotency_key: as of `add`.

    Raises:
        UsageError: there is no picture, one cannot be read, or there are not as many keys and the like as pictures.
        RemoteError: by name (api/client/errors.py).
    """
    if images and uris:
        raise UsageError("give images or uris; a request takes no mixture")
    pictures = len(images) + len(uris)
    if not pictures:
        raise UsageError("there is no picture to take in; give one or more images or uris")
    for name, said in (("keys", keys), ("metadata", metadata), ("labels", labels)):
        if said is not None and len(said) != pictures:
            raise UsageError(f"there are {len(said)} {name} for {pictures} pictures; give one for each, or none")
    fields: dict[str, object] = {"on_duplicate": on_duplicate, "keep": keep}
    path, headers = below(collection, "images"), named(idempotency_key)
    if uris:
        unsaid = [None] * len(uris)
        each = zip(uris, keys or unsaid, metadata or unsaid, labels or unsaid, strict=True)
        items = [_row(uri, key, _said(told, seen, as_text=False)) for uri, key, told, seen in each]
        return Call("POST", path, shaped(IngestAnswer), fields=fields | {"items": items}, headers=headers)
    fields |= {"key": None if keys is None else list(keys)}
    fields |= {"metadata": None if metadata is None else [json.dumps(dict(one)) for one in metadata]}
    fields |= {"labels": None if labels is None else [json.dumps(_labels(one)) for one in labels]}
    parts = [picture_part(image) for image in images]
    return Call("POST", path, shaped(IngestAnswer), fields=fields, parts=parts, headers=headers)


def put(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    key: str,
    image: "Picture | None" = None,
    *,
    uri: str | None = None,
    metadata: Mapping[str, object] | None = None,
    labels: Mapping[str, float] | None = None,
    keep: Keep | None = None,
    idempotency_key: str | None = None,
) -> Call[Ingested]:
    """Make a picture the image of a key, new or in the place of another one; return what became of it.

    image, uri, metadata, labels, keep, idempotency_key: as of `add`.

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    fields = {"uri": uri, "keep": keep} | _said(metadata, labels, as_text=image is not None)
    parts = [] if image is None else [picture_part(image)]
    path, headers = below(collection, "images", "by-key", key), named(idempotency_key)
    return Call("PUT", path, shaped(Ingested), fields=fields, parts=parts, headers=headers)


def _said(
    metadata: Mapping[str, object] | None, labels: Mapping[str, float] | None, *, as_text: bool
) -> dict[str, object]:
    """Return the fields of what is said of a picture. as_text: for a form, whose fields are texts."""
    said: dict[str, object] = {"metadata": None if metadata is None else dict(metadata)}
    said |= {"labels": None if labels is None else _labels(labels)}
    if as_text:
        return {name: None if value is None else json.dumps(value) for name, value in said.items()}
    return said


def _row(uri: str, key: str | None, said: dict[str, object]) -> dict[str, object]:
    return given({"uri": uri, "key": key} | said)


def _labels(labels: Mapping[str, float]) -> list[dict[str, object]]:
    return [{"label": label, "probability": probability} for label, probability in labels.items()]


def _first(response: Response) -> Ingested:
    return shaped(IngestAnswer)(response).items[0]
