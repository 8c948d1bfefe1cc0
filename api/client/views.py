"""Views of a collection: what it holds, what it can be narrowed by, its map; and whether the server is well."""

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import numpy as np
from httpx2 import Response

from api.client.calls import Call, Listing, below, content, shaped, strange
from api.shapes.base import Health, Page
from api.shapes.collections import Collection
from api.shapes.fields import FieldValues
from api.shapes.keys import KeyFacts
from api.shapes.views import Facets, Failure, Failures, MapProgress, Status, Timeline

if TYPE_CHECKING:
    from numpy.typing import NDArray

MAP_TYPE: Final = "application/octet-stream"
COUNT_BYTES: Final = 8
POINT_BYTES: Final = 16  # an id and two coordinates
Made = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class CollectionMap:
    """Where images lie in the plane, near each other where they look alike.

    images: how many there are, of which these are all or a sample. ids: (N,) int64. points: (N, 2) float32, 0 to 1.
    """

    images: int
    ids: "NDArray[np.int64]"
    points: "NDArray[np.float32]"


def status(collection: str) -> Call[Status]:
    """Return what the collection holds, and whether all of it can be found.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", below(collection, "status"), shaped(Status))


def create_collection(collection: str, *, backbone: str | None = None) -> Call[Collection]:
    """Begin the collection with the built-in backbone, to which pictures can be sent then; one that is there stays.

    backbone: "builtin" refuses one that is there with another backbone.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Call("PUT", below(collection), shaped(Collection), fields={"backbone": backbone})


def facets(collection: str, *, where: str | None = None) -> Call[Facets]:
    """Return what the images, or those that fulfil a condition, can be narrowed by: labels, folders, sizes, months.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", below(collection, "facets"), shaped(Facets), {"where": where})


def timeline(collection: str, *, where: str | None = None) -> Call[Timeline]:
    """Return how many images, or of those that fulfil a condition, were taken in each month.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", below(collection, "timeline"), shaped(Timeline), {"where": where})


def fields(collection: str) -> Listing[FieldValues]:
    """Return what `where` can be about, each with its type and frequent values.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Listing(below(collection, "fields"), Page[FieldValues])


def failures(collection: str, *, reason: str | None = None, page_size: int | None = 100) -> Listing[Failure]:
    """Return the files that could not be indexed. reason: only those that failed for it. page_size: as of `images`.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Listing(below(collection, "failures"), Failures, {"reason": reason, "limit": page_size})


def map_now(collection: str) -> Call[CollectionMap | MapProgress]:
    """Return the map of the collection, or how far it is."""
    return Call("GET", below(collection, "map"), _map, headers={"Accept": MAP_TYPE})


def key(_collection: str) -> Call[KeyFacts]:
    """Return what the key may do, and for which collection.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", "/v1/key", shaped(KeyFacts))


def health(_collection: str) -> Call[Health]:
    """Return that the server answers.

    Raises:
        RemoteError: it does not.
    """
    return Call("GET", "/healthz", shaped(Health))


def ready(_collection: str) -> Call[Health]:
    """Return that searches will be answered. The server is asked once.

    Raises:
        Busy: not yet; its message says why.
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", "/readyz", shaped(Health), repeatable=False)


def metrics(_collection: str) -> Call[str]:
    """Return the figures of the server for monitoring, in the text format of Prometheus.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", "/metrics", lambda response: content(response).decode())


def _map(response: Response) -> CollectionMap | MapProgress:
    if response.status_code == HTTPStatus.ACCEPTED:
        return shaped(MapProgress)(response)
    data = content(response)
    shown, rest = divmod(len(data) - COUNT_BYTES, POINT_BYTES)
    if rest or shown < 0 or not response.headers.get("content-type", "").startswith(MAP_TYPE):
        raise strange(response, data, "it is no map")
    ids = np.frombuffer(data, "<f8", shown + 1)  # after how many images there are
    points = np.frombuffer(data, "<f4", 2 * shown, offset=ids.nbytes).reshape(shown, 2)
    return CollectionMap(int(ids[0]), ids[1:].astype(np.int64), points.astype(np.float32))
