"""What can be asked of a collection by a picture."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from httpx2 import Response

from api.client.calls import Call, below, content, facts, shaped
from api.client.pictures import picture_part
from api.shapes.checks import CheckAnswer
from api.shapes.searches import SearchAnswer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from api.client.pictures import Picture

T = TypeVar("T")


def search(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    image: "Picture | list[Picture] | tuple[Picture, ...] | None" = None,
    *,
    id: int | str | None = None,  # noqa: A002
    key: str | None = None,
    url: str | None = None,
    embedding: "Sequence[float] | NDArray[Any] | None" = None,
    like: Sequence[int | str] = (),
    unlike: Sequence[int | str] = (),
    k: int | None = None,
    min_score: float | None = None,
    where: str | None = None,
    accurate: bool | None = None,
    box: str | None = None,
    unique: bool | None = None,
) -> Call[SearchAnswer]:
    """Return the images closest to a picture, best first.

    image: a path, the bytes of a file, a PIL image, or an array of pixels; or a list of them, to be like all. id, key:
    of a stored image instead; url: of a picture, where the server has --allow-url; embedding: of the collection's
    space. like, unlike: ids of images, in place of a picture or beside it. k: how many, 10 where nobody says.
    min_score: least cosine. where: what they must fulfil, such as 'width >= 1000'. accurate: also turned, mirrored and
    in parts. box: the part of the picture to search by, "x,y,width,height" in pixels. unique: each duplicate group of
    the last dedup once.

    Raises:
        UsageError: a picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    images = list(image) if isinstance(image, list | tuple) else [] if image is None else [image]
    by: dict[str, object] = {"id": _text(id), "key": key, "url": url}
    by |= {"embedding": None if embedding is None else [float(number) for number in embedding]}
    by |= {"like": [str(one) for one in like] or None, "unlike": [str(one) for one in unlike] or None}
    wanted = {"k": k, "min_score": min_score, "where": where, "accurate": accurate, "box": box, "unique": unique}
    return _asked(below(collection, "search"), shaped(SearchAnswer), images, by | wanted)


def check(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    image: "Picture | None" = None,
    *,
    id: int | str | None = None,  # noqa: A002
    key: str | None = None,
    url: str | None = None,
    threshold: float | None = None,
    accurate: bool | None = None,
) -> Call[CheckAnswer]:
    """Return whether a picture is new to the collection, an exact copy or a near copy; nothing is stored.

    image, url: as of `search`, but one picture. id, key: ask the same of a stored image and the others. threshold:
    least cosine of a near copy, by default as of `dedup`. accurate: also turned, mirrored and in parts.

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    wanted = {"id": _text(id), "key": key, "url": url, "threshold": threshold, "accurate": accurate}
    return _asked(below(collection, "check"), shaped(CheckAnswer), [] if image is None else [image], wanted)


def explain(collection: str, image: "Picture", id: int | str, *, box: str | None = None) -> Call[dict[str, object]]:  # noqa: A002
    """Return why a picture and a stored image are the same picture or not (docs/http.md names the fields).

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    return _asked(below(collection, "images", id, "explain"), facts, [image], {"box": box})


def explanation(collection: str, image: "Picture", id: int | str, *, box: str | None = None) -> Call[bytes]:  # noqa: A002
    """Return the same as a PNG that shows both pictures and what agrees in them.

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    path, accept = below(collection, "images", id, "explain"), {"Accept": "image/png"}
    return _asked(path, content, [image], {"box": box}, accept)


def _asked(
    path: str,
    read: Callable[[Response], T],
    images: "Sequence[Picture]",
    fields: Mapping[str, object],
    headers: Mapping[str, str] | None = None,
) -> Call[T]:
    """Return a request that changes nothing: a form where a picture is sent, else JSON."""
    parts = [picture_part(image) for image in images]
    return Call("POST", path, read, fields=fields, parts=parts, headers=headers or {})


def _text(id: int | str | None) -> str | None:  # noqa: A002
    return None if id is None else str(id)
