"""What can be asked about collections and their images, and changed of them."""

from collections.abc import Mapping

from httpx2 import Response
from pydantic import Field

from api.client.calls import Call, Listing, below, content, named, nothing
from api.shapes.base import Page
from api.shapes.collections import Collection
from api.shapes.images import Image, LabelCount


class TaggedImage(Image):
    """An image as the server had it. etag: of that version, for changes that must not overwrite another's."""

    etag: str | None = Field(default=None, exclude=True)


def collections(_collection: str) -> Listing[Collection]:
    """Return all collections that the key is for, with their counts.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Listing("/v1/collections", Page[Collection])


def images(collection: str, *, where: str | None = None, page_size: int | None = 100) -> Listing[Image]:
    """Return the images, or those that fulfil a condition, in the order they were indexed.

    page_size: how many are asked for at once; None for all in one answer, line by line, which takes the server less.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Listing(below(collection, "images"), Page[Image], {"where": where, "limit": page_size})


def image(collection: str, id: int | str) -> Call[TaggedImage]:  # noqa: A002
    """Return one image.

    Raises:
        NotFound: it is not there.
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", below(collection, "images", id), _tagged)


def image_by_key(collection: str, key: str) -> Call[TaggedImage]:
    """Return the image with this key.

    Raises:
        NotFound: it is not there.
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", below(collection, "images", "by-key", key), _tagged)


def labels(collection: str, *, page_size: int | None = 100) -> Listing[LabelCount]:
    """Return the labels of the collection's images, most frequent first. page_size: as of `images`.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Listing(below(collection, "labels"), Page[LabelCount], {"limit": page_size})


def thumbnail(collection: str, id: int | str, *, size: int = 320) -> Call[bytes]:  # noqa: A002
    """Return a JPEG of an image. size: of its long side, in pixels, 16 to 2,048.

    Raises:
        NotFound: the image is not there, or its file.
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", below(collection, "images", id, "thumbnail"), content, {"size": size})


def change_metadata(
    collection: str,
    id: int | str,  # noqa: A002
    patch: Mapping[str, object] | None,
    *,
    if_match: str | None = None,
    idempotency_key: str | None = None,
) -> Call[TaggedImage]:
    """Merge a patch into an image's metadata (RFC 7396): None takes a key away, or all metadata; return the image.

    if_match: the `etag` of the image as the caller saw it. idempotency_key: as of `dedup`.

    Raises:
        Conflict: with if_match: it was changed meanwhile, and nothing was written.
        NotFound: it is not there.
        RemoteError: by name (api/client/errors.py).
    """
    # With if_match, its own first success would look like another's change, but for its name.
    headers = named(idempotency_key) | ({} if if_match is None else {"If-Match": if_match})
    fields = {"metadata": patch}
    path = below(collection, "images", id)
    return Call("PATCH", path, _tagged, fields=fields, headers=headers, nulls=True)


def remove(collection: str, id: int | str, *, idempotency_key: str | None = None) -> Call[None]:  # noqa: A002
    """Remove an image from the collection; its file stays. No search names it from now on.

    idempotency_key: as of `dedup`.

    Raises:
        NotFound: it is not there, or not any more.
        RemoteError: by name (api/client/errors.py).
    """
    # Without a name, its own first success would look like a failure when it is sent again.
    return Call("DELETE", below(collection, "images", id), nothing, headers=named(idempotency_key))


def _tagged(response: Response) -> TaggedImage:
    found = TaggedImage.model_validate_json(response.content, extra="ignore")
    found.etag = response.headers.get("etag")
    return found
