"""What can be asked of a collection by a picture."""

import json
import reprlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from inspect import signature
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from httpx2 import Response

from api.client.calls import LINES, Call, Lines, below, content, given, nothing, shaped
from api.client.pictures import picture_part
from api.python_arguments import box_of, embedding_of
from api.shapes.checks import CheckAnswer
from api.shapes.classification import ClassifyAnswer
from api.shapes.explanations import Explanation
from api.shapes.searches import BatchLine, SearchAnswer
from search.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from api.picture_bytes import Picture

    Part: TypeAlias = str | Sequence[float] | None

T = TypeVar("T")
# The server reads a batch to its end before it answers: this many searches wait for their answers at a time.
BATCH_LINES: Final = 1_000
BATCH_BYTES: Final = 4 << 20
SHOWN_LETTERS: Final = 100


def search(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    image: "Picture | list[Picture] | tuple[Picture, ...] | None" = None,
    *,
    id: int | str | None = None,  # noqa: A002
    key: str | None = None,
    url: str | None = None,
    embedding: "Sequence[float] | NDArray[Any] | None" = None,
    like: Sequence[int | str] | int | str = (),
    unlike: Sequence[int | str] | int | str = (),
    k: int | None = None,
    min_score: float | None = None,
    where: str | None = None,
    accurate: bool | None = None,
    box: "Part" = None,
    unique: bool | None = None,
) -> Call[SearchAnswer]:
    """Return the images closest to a picture, best first.

    image: a path, the bytes of a file, a PIL image, or an array of pixels; or a list of them, to be like all. id, key:
    of a stored image instead; url: of a picture, where the server has --allow-url; embedding: of the collection's
    space. like, unlike: ids of images, in place of a picture or beside it. k: how many, 10 where nobody says.
    min_score: least cosine. where: what they must fulfil, such as 'width >= 1000'. accurate: also turned, mirrored and
    in parts. box: the part of the picture to search by, (x, y, width, height) in pixels. unique: each duplicate group
    of the last dedup once.

    Raises:
        UsageError: a picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    images = list(image) if isinstance(image, list | tuple) else [] if image is None else [image]
    by: dict[str, object] = {"id": _text(id), "key": key, "url": url}
    by |= {"embedding": None if (numbers := embedding_of(embedding)) is None else [*numbers]}
    by |= {"like": _texts(like), "unlike": _texts(unlike)}
    wanted = {
        "k": k,
        "min_score": min_score,
        "where": where,
        "accurate": accurate,
        "box": box_of(box),
        "unique": unique,
    }
    return _asked(below(collection, "search"), shaped(SearchAnswer), images, by | wanted)


def batch_search(collection: str, queries: Iterable[Mapping[str, object]]) -> Iterator[Lines[BatchLine]]:
    """Return the answers to many searches in their order, as they come: each with its `line`, from 1.

    queries: each the arguments of `search` by name, such as {"id": 17, "k": 5}, but for `image` and `url`; they are
    taken as they are needed, 1,000 at a time. A line has its `answer`, or the `problem` of a search that is wrong,
    which stops no other.

    Raises:
        RemoteError: by name (api/client/errors.py); what was answered until then counts.
    """
    lines: list[bytes] = []
    first, held = 1, 0
    for query in queries:
        lines.append(_query_line(collection, query))
        held += len(lines[-1])
        if len(lines) == BATCH_LINES or held >= BATCH_BYTES:
            yield _batch(collection, first, lines)
            first, lines, held = first + len(lines), [], 0
    if lines:
        yield _batch(collection, first, lines)


def _query_line(collection: str, query: object) -> bytes:
    """Return a line of a batch. What no search knows and what no line holds is sent for the server to name."""
    if not isinstance(query, Mapping):
        return _line(query)
    known = {name: value for name, value in query.items() if name in _ARGUMENTS}
    # A picture is no part of a line: that one is there will do for the server.
    strange = {str(name): _brief(value) for name, value in query.items() if name not in _ARGUMENTS}
    try:
        fields = dict(search(collection, **known).fields or {})
    except (TypeError, ValueError, UsageError):
        fields = dict(known)
    return _line(given(fields) | strange)


def _line(query: object) -> bytes:
    try:
        text = json.dumps(query, default=_brief)
    except (TypeError, ValueError, RecursionError):  # as of what holds itself
        text = json.dumps(repr(query)[:SHOWN_LETTERS])
    return text.encode() + b"\n"


def _brief(value: object) -> str:
    """Return what is shown of something that a line cannot hold."""
    return value if isinstance(value, str) else reprlib.repr(value)


def classify(collection: str, images: "Sequence[Picture]", *, k: int | None = None) -> Call[ClassifyAnswer]:
    """Return what pictures show, by the classifier that the collection's backbone comes with: labels of each.

    images: up to 16, as of `search`. k: labels of each, 1 to 5. A picture that cannot be used is in `failed`.

    Raises:
        UsageError: a picture cannot be read.
        Refused: the backbone has no classifier, as `builtin`.
        RemoteError: by name (api/client/errors.py).
    """
    return _asked("/v1/classify", shaped(ClassifyAnswer), images, {"collection": collection, "k": k})


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


def explain(collection: str, image: "Picture", id: int | str, *, box: "Part" = None) -> Call[Explanation]:  # noqa: A002
    """Return why a picture and a stored image are the same picture or not.

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    return _asked(below(collection, "images", id, "explain"), shaped(Explanation), [image], {"box": box_of(box)})


def explanation(collection: str, image: "Picture", id: int | str, *, box: "Part" = None) -> Call[bytes]:  # noqa: A002
    """Return the same as a PNG that shows both pictures and what agrees in them.

    Raises:
        UsageError: the picture cannot be read.
        RemoteError: by name (api/client/errors.py).
    """
    path, accept = below(collection, "images", id, "explain"), {"Accept": "image/png"}
    return _asked(path, content, [image], {"box": box_of(box)}, accept)


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


def _batch(collection: str, first: int, lines: Sequence[bytes]) -> Lines[BatchLine]:
    """Return the request for some lines. first: the number of the first of them, among all."""

    def answered(line: bytes) -> BatchLine:
        found = BatchLine.model_validate_json(line, extra="ignore")
        found.line += first - 1
        return found

    headers = {"Content-Type": LINES, "Accept": LINES}
    path = below(collection, "batch-search")
    return Lines(Call("POST", path, nothing, body=b"".join(lines), headers=headers), answered)


_ARGUMENTS: Final = frozenset(signature(search).parameters) - {"collection", "image"}


def _texts(ids: Sequence[int | str] | int | str) -> list[str] | None:
    """Return ids as texts, None where there are none; a single one may stand alone."""
    return [str(one) for one in ([ids] if isinstance(ids, int | str) else ids)] or None


def _text(id: int | str | None) -> str | None:  # noqa: A002
    return None if id is None else str(id)
