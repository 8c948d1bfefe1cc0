"""`index` of a server: files of this machine are sent, each under its address here as its key."""

import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import islice

from api.client import AccessRefused, Client, NotFound, Refused
from api.console import Session, say, shown_uri
from api.shapes.collections import Collection
from api.work_progress import work_progress
from indexer.sources.found import Found, FoundFile, IgnoredFile, UnreadableFile
from indexer.sources.sources import read_file, resolve, walk
from search.errors import BadImage, UsageError

AT_ONCE = 4
MOST_BYTES = 31 << 20  # what a server takes, less the form around it


@dataclass(slots=True)
class Sent:
    """What became of the files. reasons: of those that the server, or this machine, could not use."""

    seen: int = 0
    ignored: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


def send(session: Session, client: Client, sources: Sequence[str], exclude: Sequence[str]) -> dict[str, object]:
    """Send the pictures of folders, files and globs; return what `index` prints.

    Raises:
        UsageError: a source names nothing that exists, or is none of plain files.
        RemoteError: by name (api/client/errors.py); what was acknowledged stays.
    """
    began = time.perf_counter()
    collection = _collection(client)  # before anything is read: it must be there
    resolved = resolve(list(sources), tuple(exclude))
    for source in resolved:
        if source.kind not in ("folder", "file"):
            raise UsageError(
                f"{source.path} is no folder or picture: archives, manifests and addresses are indexed on the server's "
                "machine, or by an import (docs/http.md)"
            )
    sent = Sent()
    with work_progress(session.progress, "sent", "images") as advance, ThreadPoolExecutor(AT_ONCE) as threads:
        found = walk(resolved)
        # A few at a time: a tree may be larger than the memory.
        while batch := list(islice(found, 16 * AT_ONCE)):
            for one, (outcome, reason) in zip(batch, threads.map(lambda one: _put(client, one), batch), strict=True):
                _count(sent, one, outcome, reason)
            advance(sent.seen, sent.seen)
    seconds = time.perf_counter() - began
    indexed = sent.outcomes["added"] + sent.outcomes["replaced"] + sent.outcomes["linked"]
    return {
        "collection": collection.name,
        "space": collection.space,
        "backbone": collection.backbone,
        "seen": sent.seen,
        "indexed": indexed,
        "unchanged": sent.outcomes["exists"],
        "moved": 0,
        "vanished": 0,
        "removed": 0,
        "ignored": sent.ignored,
        "failed": sum(sent.reasons.values()),
        "failures_by_reason": dict(sent.reasons),
        "seconds": round(seconds, 3),
        "images_per_second": round(sent.seen / seconds, 2) if seconds else 0.0,
        "bound_by": "server",
    }


def _collection(client: Client) -> Collection:
    """Return the collection, begun where there is none.

    Raises:
        UsageError: there is none, and the key may not begin one.
    """
    try:
        return client.status()
    except NotFound as missing:
        if missing.kind != "CollectionNotFound":
            raise
    try:
        return client.create_collection()
    except AccessRefused as refused:
        raise UsageError(
            f"there is no collection {client.collection!r} on the server yet, and only a key of role admin begins one "
            f"({refused}); whoever has one runs this command first, or `create_collection()` of the client"
        ) from refused


def _put(client: Client, found: Found) -> tuple[str, str]:
    """Return what became of a file: an outcome of the server, "ignored" or "failed"; and the reason of a failure."""
    if isinstance(found, IgnoredFile):
        return "ignored", ""
    if not isinstance(found, FoundFile):
        reason = found.reason if isinstance(found, UnreadableFile) else "read_error"
        say(f"not sent: {shown_uri(found.uri)}: {found.detail if isinstance(found, UnreadableFile) else reason}")
        return "failed", reason
    try:
        data = read_file(found, MOST_BYTES)
        return client.put(found.uri, data).outcome, ""
    except BadImage as error:
        say(f"not sent: {shown_uri(found.uri)}: {error}")
        return "failed", error.reason
    except AccessRefused:
        raise
    except Refused as error:
        if error.reason is None:
            raise
        say(f"not indexed: {shown_uri(found.uri)}: {error}")
        return "failed", error.reason


def _count(sent: Sent, _found: Found, outcome: str, reason: str) -> None:
    if outcome == "ignored":
        sent.ignored += 1
        return
    sent.seen += 1
    if outcome == "failed":
        sent.reasons[reason] += 1
    else:
        sent.outcomes[outcome] += 1
