"""Jobs of a server: what starts them, and shows them."""

from collections.abc import Sequence

from api.client.calls import Call, Listing, below, shaped
from api.shapes.base import Page
from api.shapes.groups import Report
from api.shapes.jobs import Job
from search.records import JobState


def jobs(
    _collection: str, *, state: JobState | None = None, collection: str | None = None, page_size: int = 100
) -> Listing[Job]:
    """Return the jobs that the key is for, newest first. state, collection: only those of it."""
    return Listing("/v1/jobs", Page[Job], {"state": state, "collection": collection, "limit": page_size})


def job(_collection: str, id: int | str) -> Call[Job]:  # noqa: A002
    """Return a job of the server, which can be waited for."""
    return Call("GET", f"/v1/jobs/{id}", shaped(Job))


def cancel(_collection: str, id: int | str) -> Call[Job]:  # noqa: A002
    """Ask for the end of a job; what it did until then stays."""
    return Call("POST", f"/v1/jobs/{id}/cancel", shaped(Job))


def dedup(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    *,
    precision: float | None = None,
    threshold: float | None = None,
    calibrate: bool | None = None,
    within: str | None = None,
    between: str | None = None,
    protect: Sequence[str] | None = None,
    prefer: Sequence[str] | None = None,
    keep: Sequence[str] | None = None,
    expires: str | None = None,
    webhook: str | None = None,
) -> Call[Job]:
    """Start looking for duplicates; the job's result names the plan that is written, and counts. Nothing is moved.

    precision: share of the near copies that are right, calibrating first where nobody has; threshold: least cosine of
    a near copy instead. within, protect, prefer: folders of the server. between: another collection, which holds the
    keepers. keep: keeper rules. expires: how long the plan may be applied. webhook: address that is told of the job's
    end, where the server has --allow-webhook.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    fields: dict[str, object] = {"precision": precision, "threshold": threshold, "calibrate": calibrate}
    fields |= {"within": within, "between": between, "protect": _list(protect), "prefer": _list(prefer)}
    fields |= {"keep": _list(keep), "expires": expires, "webhook": webhook}
    # Sent once: a second one would be a second job.
    return Call("POST", below(collection, "dedup"), shaped(Job), fields=fields, repeatable=False)


def reports(collection: str) -> Listing[Report]:
    """Return the reports of dedup jobs that are kept, newest first."""
    return Listing(below(collection, "dedup"), Page[Report])


def _list(texts: Sequence[str] | None) -> list[str] | None:
    return None if texts is None else list(texts)
