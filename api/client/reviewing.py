"""What can be asked about duplicates, and said of them."""

from collections.abc import Iterable

from api.client.calls import Call, Listing, below, nothing, shaped
from api.shapes.base import Page
from api.shapes.groups import Group, Groups
from api.shapes.verdicts import Verdict
from search.duplicates.groups import DuplicateKind
from search.records import Said


def groups(
    collection: str, *, threshold: float | None = None, kind: DuplicateKind | None = None, page_size: int = 100
) -> Listing[Group]:
    """Return the duplicate groups, largest first. threshold: least cosine of a near copy. kind: only such copies."""
    return Listing(below(collection, "groups"), Groups, {"threshold": threshold, "kind": kind, "limit": page_size})


def groups_page(
    collection: str,
    *,
    threshold: float | None = None,
    kind: DuplicateKind | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> Call[Groups]:
    """Return one page of duplicate groups with the totals of the whole report. cursor: `next_cursor` of the last."""
    params = {"threshold": threshold, "kind": kind, "limit": limit, "cursor": cursor}
    return Call("GET", below(collection, "groups"), shaped(Groups), params)


def verdicts(collection: str, *, page_size: int = 100) -> Listing[Verdict]:
    """Return what people said about pairs of contents."""
    return Listing(below(collection, "verdicts"), Page[Verdict], {"limit": page_size})


def say(collection: str, first: str, second: str, verdict: Said) -> Call[Page[Verdict]]:
    """Say what two pictures are to each other, each named by key, id or sha256; the last word on a pair counts."""
    return say_all(collection, [(first, second, verdict)])


def say_all(collection: str, said: Iterable[tuple[str, str, Said]]) -> Call[Page[Verdict]]:
    """Say what each two pictures are, all or none; at most 1,000 at once."""
    items = [{"first": first, "second": second, "verdict": word} for first, second, word in said]
    return Call("POST", below(collection, "verdicts"), shaped(Page[Verdict]), fields={"items": items})


def forget(collection: str, first: str, second: str) -> Call[None]:
    """Take back what was said of two contents, named by their sha256 in either order."""
    return Call("DELETE", below(collection, "verdicts", first, second), nothing)
