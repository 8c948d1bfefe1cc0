"""Plans of dedup jobs: what they say, and the jobs that act on them and take it back."""

from typing import Literal

from api.client.calls import Call, Listing, below, named, shaped
from api.shapes.base import Page
from api.shapes.jobs import Job
from api.shapes.plans import Plan, PlannedGroup, PlanPage, Preview

Act = Literal["quarantine", "hardlink", "reflink", "list"]


def plans(collection: str, *, page_size: int | None = 100) -> Listing[Plan]:
    """Return the plans of the collection and what became of each, newest first. page_size: as of `images`.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Listing(below(collection, "plans"), Page[Plan], {"limit": page_size})


def plan(collection: str, plan: str, *, limit: int = 100, cursor: str | None = None) -> Call[PlanPage]:
    """Return a plan, what became of it, and a page of its groups. cursor: `next_cursor` of the last.

    Raises:
        NotFound: the collection has no such plan.
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", below(collection, "plans", plan), shaped(PlanPage), {"limit": limit, "cursor": cursor})


def plan_groups(collection: str, plan: str, *, page_size: int | None = 100) -> Listing[PlannedGroup]:
    """Return the groups of a plan: what each keeps, and the copies that may go. page_size: as of `images`.

    Raises:
        NotFound: the collection has no such plan.
        RemoteError: by name (api/client/errors.py).
    """
    return Listing(below(collection, "plans", plan), PlanPage, {"limit": page_size})


def plan_preview(
    collection: str,
    plan: str,
    *,
    action: Act = "quarantine",
    near: bool = False,
    max_fraction: float | None = None,
) -> Call[Preview]:
    """Return what `apply` would do by what is written down; no file is looked at. Arguments as of `apply`.

    Raises:
        Conflict: the plan has expired, was edited, or is of another store.
        NotFound: the collection has no such plan.
        RemoteError: by name (api/client/errors.py).
    """
    params = {"action": action, "include": ["near"] if near else None, "max_fraction": max_fraction}
    return Call("GET", below(collection, "plans", plan, "preview"), shaped(Preview), params)


def apply(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    plan: str,
    *,
    action: Act = "quarantine",
    near: bool = False,
    max_fraction: float | None = None,
    dry_run: bool | None = None,
    webhook: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start moving the copies of a plan into a quarantine, or linking them to what is kept; `undo` reverts it.

    action: quarantine, hardlink, reflink, or list, which only tells what would go. near: also near copies that nobody
    confirmed, and large groups. max_fraction: of a folder's images that may go at once; default: a fifth. dry_run:
    check every file, change nothing. webhook, idempotency_key: as of `dedup`. The job's result is the object of the
    command `apply`.

    Raises:
        Conflict: a guard refused: the plan has expired, was edited, or takes too much at once.
        RemoteError: by name (api/client/errors.py).
    """
    fields: dict[str, object] = {"action": action, "include": ["near"] if near else None}
    fields |= {"max_fraction": max_fraction, "dry_run": dry_run, "webhook": webhook}
    return _job(collection, plan, "apply", fields, idempotency_key)


def undo(
    collection: str,
    plan: str,
    *,
    dry_run: bool | None = None,
    webhook: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start bringing back what was moved by a plan, however long ago; it overwrites nothing.

    webhook, idempotency_key: as of `dedup`.

    Raises:
        NotFound: the collection has no such plan.
        RemoteError: by name (api/client/errors.py).
    """
    return _job(collection, plan, "undo", {"dry_run": dry_run, "webhook": webhook}, idempotency_key)


def purge(
    collection: str,
    plan: str,
    *,
    older_than: str | None = None,
    dry_run: bool | None = None,
    webhook: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start deleting for good what a plan has moved long ago.

    older_than: how long, as 12h, 2w; default: 30d. webhook, idempotency_key: as of `dedup`.

    Raises:
        NotFound: the collection has no such plan.
        RemoteError: by name (api/client/errors.py).
    """
    fields: dict[str, object] = {"older_than": older_than, "dry_run": dry_run, "webhook": webhook}
    return _job(collection, plan, "purge", fields, idempotency_key)


def _job(collection: str, plan: str, act: str, fields: dict[str, object], key: str | None) -> Call[Job]:
    return Call("POST", below(collection, "plans", plan, act), shaped(Job), fields=fields, headers=named(key))
