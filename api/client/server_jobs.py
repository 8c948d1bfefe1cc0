"""Jobs of a server: what starts them, and shows them."""

from collections.abc import Mapping, Sequence

from api.client.calls import Call, Listing, below, named, shaped, step
from api.client.ingest import Keep, OnDuplicate
from api.shapes.base import Page
from api.shapes.groups import Report
from api.shapes.jobs import Job
from search.records import JobState


def jobs(
    _collection: str,
    *,
    state: JobState | Sequence[JobState] | None = None,
    collection: str | None = None,
    page_size: int | None = 100,
) -> Listing[Job]:
    """Return the jobs that the key is for, newest first.

    state: only in it, or in one of these. collection: only of it. page_size: as of `images`.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    states: list[str] | None = None if state is None else [state] if isinstance(state, str) else [*state]
    return Listing("/v1/jobs", Page[Job], {"state": states, "collection": collection, "limit": page_size})


def job(_collection: str, id: int | str) -> Call[Job]:  # noqa: A002
    """Return a job of the server, which can be waited for.

    Raises:
        NotFound: there is none.
        RemoteError: by name (api/client/errors.py).
    """
    return Call("GET", f"/v1/jobs/{step(id)}", shaped(Job))


def cancel(_collection: str, id: int | str) -> Call[Job]:  # noqa: A002
    """Ask for the end of a job; what it did until then stays."""
    return Call("POST", f"/v1/jobs/{step(id)}/cancel", shaped(Job))


def send_webhook(_collection: str, id: int | str) -> Call[Job]:  # noqa: A002
    """Let the job's webhook be called again, whatever came of that before."""
    return Call("POST", f"/v1/jobs/{step(id)}/webhook", shaped(Job))


def start_import(  # noqa: PLR0913 -- a caller wants options, not an object of them
    collection: str,
    sources: Sequence[str] = (),
    *,
    manifest: Sequence[Mapping[str, object]] = (),
    on_duplicate: OnDuplicate | None = None,
    keep: Keep | None = None,
    webhook: str | None = None,
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start taking many pictures in that the server fetches or has; both can be repeated to find what is new.

    sources: folders, files and archives below its --allow-root, and addresses where it has --allow-url. manifest: rows
    of {"uri", "key", "metadata", "labels"}, of which only the uri must be there. on_duplicate, keep: as of `add`, for
    those taken in one by one. webhook, idempotency_key: as of `dedup`.

    Raises:
        Refused: one of them may not be asked for.
        RemoteError: by name (api/client/errors.py).
    """
    fields: dict[str, object] = {"sources": list(sources) or None, "manifest": [dict(row) for row in manifest] or None}
    fields |= {"on_duplicate": on_duplicate, "keep": keep, "webhook": webhook}
    return Call("POST", below(collection, "imports"), shaped(Job), fields=fields, headers=named(idempotency_key))


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
    idempotency_key: str | None = None,
) -> Call[Job]:
    """Start looking for duplicates; the job's result names the plan that is written, and counts. Nothing is moved.

    precision: share of the near copies that are right, calibrating first where nobody has; threshold: least cosine of
    a near copy instead. within, protect, prefer: folders of the server. between: another collection, which holds the
    keepers. keep: keeper rules. expires: how long the plan may be applied. webhook: address that is told of the job's
    end, where the server has --allow-webhook. idempotency_key: names this request, so that one job is started however
    often it is sent, for 7 days; without one, a retry of this call still starts no second one.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    fields: dict[str, object] = {"precision": precision, "threshold": threshold, "calibrate": calibrate}
    fields |= {"within": within, "between": between, "protect": _list(protect), "prefer": _list(prefer)}
    fields |= {"keep": _list(keep), "expires": expires, "webhook": webhook}
    return Call("POST", below(collection, "dedup"), shaped(Job), fields=fields, headers=named(idempotency_key))


def reports(collection: str) -> Listing[Report]:
    """Return the reports of dedup jobs that are kept, newest first.

    Raises:
        RemoteError: by name (api/client/errors.py).
    """
    return Listing(below(collection, "dedup"), Page[Report])


def _list(texts: Sequence[str] | None) -> list[str] | None:
    return None if texts is None else list(texts)
