"""What can be asked about collections and their images, and changed of them."""

from collections.abc import Mapping

from httpx2 import Response
from pydantic import Field

from api.client.calls import Call, Listing, below, content, nothing, shaped
from api.shapes.base import Page
from api.shapes.collections import Collection
from api.shapes.images import Image, LabelCount
from api.shapes.views import Facets, Failure, Failures, Status, Timeline


class TaggedImage(Image):
    """An image as the server had it. etag: of that version, for changes that must not overwrite another's."""

    etag: str | None = Field(default=None, exclude=True)


def collections(_collection: str) -> Listing[Collection]:
    """Return all collections that the key is for, with their counts."""
    return Listing("/v1/collections", Page[Collection])


def status(collection: str) -> Call[Status]:
    """Return what the collection holds, and whether all of it can be found."""
    return Call("GET", below(collection, "status"), shaped(Status))


def facets(collection: str, *, where: str | None = None) -> Call[Facets]:
    """Return what the images, or those that fulfil a condition, can be narrowed by: labels, folders, sizes, months."""
    return Call("GET", below(collection, "facets"), shaped(Facets), {"where": where})


def timeline(collection: str, *, where: str | None = None) -> Call[Timeline]:
    """Return how many images, or of those that fulfil a condition, were taken in each month."""
    return Call("GET", below(collection, "timeline"), shaped(Timeline), {"where": where})


def failures(collection: str, *, reason: str | None = None, page_size: int = 100) -> Listing[Failure]:
    """Return the files that could not be indexed. reason: only those that failed for it."""
    return Listing(below(collection, "failures"), Failures, {"reason": reason, "limit": page_size})


def images(collection: str, *, where: str | None = None, page_size: int = 100) -> Listing[Image]:
    """Return the images, or those that fulfil a condition, in the order they were indexed."""
    return Listing(below(collection, "images"), Page[Image], {"where": where, "limit": page_size})


def image(collection: str, id: int | str) -> Call[TaggedImage]:  # noqa: A002
    """Return one image."""
    return Call("GET", below(collection, "images", id), _tagged)


def image_by_key(collection: str, key: str) -> Call[TaggedImage]:
    """Return the image with this key."""
    return Call("GET", below(collection, "images", "by-key", key), _tagged)


def labels(collection: str, *, page_size: int = 100) -> Listing[LabelCount]:
    """Return the labels of the collection's images, most frequent first."""
    return Listing(below(collection, "labels"), Page[LabelCount], {"limit": page_size})


def thumbnail(collection: str, id: int | str, *, size: int = 320) -> Call[bytes]:  # noqa: A002
    """Return a JPEG of an image. size: of its long side, in pixels."""
    return Call("GET", below(collection, "images", id, "thumbnail"), content, {"size": size})


def change_metadata(
    collection: str,
    id: int | str,  # noqa: A002
    patch: Mapping[str, object] | None,
    *,
    if_match: str | None = None,
) -> Call[TaggedImage]:
    """Merge a patch into an image's metadata (RFC 7396): None takes a key away, or all metadata; return the image.

    if_match: the `etag` of the image as the caller saw it; where it was changed meanwhile, nothing is (Conflict).
    """
    # Not sent again by itself with if_match: its own first success would look like another's change.
    headers = {} if if_match is None else {"If-Match": if_match}
    fields = {"metadata": patch}
    path = below(collection, "images", id)
    return Call("PATCH", path, _tagged, fields=fields, headers=headers, nulls=True, repeatable=if_match is None)


def remove(collection: str, id: int | str) -> Call[None]:  # noqa: A002
    """Remove an image from the collection; its file stays. No search names it from now on.

    Raises:
        NotFound: it is not there, or not any more.
    """
    # Not sent again by itself: its own first success would look like a failure.
    return Call("DELETE", below(collection, "images", id), nothing, repeatable=False)


def _tagged(response: Response) -> TaggedImage:
    found = TaggedImage.model_validate_json(response.content, extra="ignore")
    found.etag = response.headers.get("etag")
    return found
