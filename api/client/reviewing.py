"""What can be asked about duplicates, and said of them."""

from collections.abc import Iterable, Sequence

from api.client.calls import Call, Listing, below, content, nothing, shaped
from api.shapes.base import Page
from api.shapes.groups import Group, Groups
from api.shapes.verdicts import Verdict
from search.duplicates.groups import DuplicateKind
from search.records import Said

Kinds = DuplicateKind | Sequence[DuplicateKind]


def groups(
    collection: str, *, threshold: float | None = None, kind: Kinds | None = None, page_size: int | None = 100
) -> Listing[Group]:
    """Return the duplicate groups of the last report, largest first.

    threshold: of the last one that somebody chose it for. kind: only such copies, one or several kinds. page_size: as
    of `images`.

    Raises:
        NotFound: there is no report; `dedup` makes one.
        RemoteError: by name (api/client/errors.py).
    """
    params = {"threshold": threshold, "kind": _kinds(kind), "limit": page_size}
    return Listing(below(collection, "groups"), Groups, params)


def groups_page(
    collection: str,
    *,
    threshold: float | None = None,
    kind: Kinds | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Call[Groups]:
    """Return one page of duplicate groups with the totals of the whole report. cursor: `next_cursor` of the last.

    Raises:
        NotFound: there is no report; `dedup` makes one.
        RemoteError: by name (api/client/errors.py).
    """
    params = {"threshold": threshold, "kind": _kinds(kind), "limit": limit, "cursor": cursor}
    return Call("GET", below(collection, "groups"), shaped(Groups), params)


def difference(collection: str, id: int | str, keeper: int | str) -> Call[bytes]:  # noqa: A002
    """Return a JPEG of the image `keeper`, pale, glowing where the image `id` shows something else.

    Raises:
        NotFound: one of the images is not there, or its file.
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", below(collection, "images", id, "difference"), content, {"keeper": str(keeper)})


def verdicts(collection: str, *, page_size: int | None = 100) -> Listing[Verdict]:
    """Return what people said about pairs of contents. page_size: as of `images`.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Listing(below(collection, "verdicts"), Page[Verdict], {"limit": page_size})


def say(collection: str, first: str, second: str, verdict: Said) -> Call[Page[Verdict]]:
    """Say what two pictures are to each other, each named by key, id or sha256; the last word on a pair counts.

    Raises:
        NotFound: a picture is not there.
        RemoteError: by name (api/client/errors.py).
    """
    fields = {"first": first, "second": second, "verdict": verdict}
    return Call("POST", below(collection, "verdicts"), shaped(Page[Verdict]), fields=fields)


def say_all(collection: str, said: Iterable[tuple[str, str, Said]]) -> Call[Page[Verdict]]:
    """Say what each two pictures are, all or none; at most 1,000 at once.

    Raises:
        NotFound: a picture is not there.
        RemoteError: by name (api/client/errors.py).
    """
    items = [{"first": first, "second": second, "verdict": word} for first, second, word in said]
    return Call("POST", below(collection, "verdicts"), shaped(Page[Verdict]), fields={"items": items})


def forget(collection: str, first: str, second: str) -> Call[None]:
    """Take back what was said of two contents, named by their sha256 in either order.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Call("DELETE", below(collection, "verdicts", first, second), nothing)


def _kinds(kind: Kinds | None) -> list[str] | None:
    return None if kind is None else [kind] if isinstance(kind, str) else [*kind]
