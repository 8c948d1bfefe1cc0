"""The job `import`: many pictures by their addresses.

Folders, files and archives of this machine are indexed as `lookalike index` does it; addresses of the internet, and
whatever a manifest says something of, are taken in one by one.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any, Final

from api.console import Session
from api.http.allowed_sources import AllowedSources
from api.http.ingest_requests import fetched, sent_of
from api.http.problems import document_of
from api.http.safe_fetch import FetchNothing, SafeFetch
from api.indexing import IndexRequest, Note, run_index
from api.ingesting import OTHER_LABELS, Ingest, Ingested, Sent
from api.jobs.progress import Meter
from api.jobs.task import Task
from api.progress import Total
from api.shapes.imports import ImportBody
from api.workspace import Workspace
from indexer.jobs.outcomes import Counts
from indexer.jobs.progress import Progress
from indexer.sources.manifest_tables import is_manifest
from indexer.sources.sources import Source
from search.errors import BadImage, UsageError
from search.records import Collection
from search.storing.image_rows import NewImage

AT_ONCE: Final = 4
NAMED: Final = 1_000  # rejected pictures that the result tells of
WEB: Final = ("http://", "https://")


def run_import(task: Task) -> Mapping[str, object]:
    """Return what became of the pictures: `index` as of the command, and `outcomes` of those taken in one by one.

    `notes` are sentences on what was asked for and did not count.

    Raises:
        LookalikeError: by name, whatever stopped it; what was acknowledged until then stays.
    """
    body = ImportBody.model_validate(task.request)
    sources = AllowedSources(task.roots, SafeFetch() if task.allow_url else FetchNothing())
    notes: list[str] = []
    result: dict[str, object] = {"notes": notes}
    local = local_sources(sources, body)
    if local:
        result["index"] = _indexed(task, local, notes.append)
    single = [sent_of(one) for one in body.manifest] + [
        Sent(b"", one, uri=one) for one in body.sources if one.startswith(WEB)
    ]
    return result | asyncio.run(_taken(task, sources, single, body, notes.append))


def local_sources(sources: AllowedSources, body: ImportBody) -> list[str]:
    """Return the paths of what lies on this machine.

    Raises:
        UsageError: one of them may not be asked for, or is a manifest, whose rows could name anything.
    """
    paths = [str(sources.allowed(one)) for one in body.sources if not one.startswith(WEB)]
    for path in paths:
        if is_manifest(path):
            raise UsageError(f"{path} is a manifest, whose rows could name any file: send its rows as `manifest`")
    return paths


def _indexed(task: Task, paths: Sequence[str], note: Note) -> Mapping[str, object]:
    session = Session(task.root, task.collection, json=True, progress="none")
    request = IndexRequest(list(paths), weights=task.weights, device=task.device, workers=2)
    summary, _ = run_index(session, request, lambda sources: _told(task.meter, sources), note)
    return summary.as_json()


async def _taken(
    task: Task, sources: AllowedSources, single: Sequence[Sent], body: ImportBody, note: Note
) -> dict[str, object]:
    outcomes: Counter[str] = Counter()
    labelled: list[str] = []
    rejected: list[dict[str, Any]] = []
    if single:
        with (
            Workspace(task.root, device=task.device, weights=task.weights, children=2, lasting=True) as workspace,
            closing(Ingest(workspace)) as ingest,
        ):
            target = workspace.collection(task.collection)
            slots = asyncio.Semaphore(AT_ONCE)

            async def take(sent: Sent) -> None:
                async with slots:
                    done = await _one(ingest, target, sources, sent, body)
                outcomes[done.outcome] += 1
                task.meter.advance("taken in", outcomes.total(), len(single))
                if done.has_other_labels(sent):
                    labelled.append(sent.key or sent.uri or sent.name)
                if done.error is not None and len(rejected) < NAMED:
                    rejected.append({"uri": sent.uri, "problem": document_of(done.error).model_dump(exclude_none=True)})

            await asyncio.gather(*map(take, single))
    if labelled:
        more = f" and {len(labelled) - 1:,} more" if len(labelled) > 1 else ""
        note(f"{labelled[0]}{more}: {OTHER_LABELS}")
    return {"outcomes": dict(outcomes), "rejected": rejected}


async def _one(ingest: Ingest, target: Collection, sources: AllowedSources, sent: Sent, body: ImportBody) -> Ingested:
    try:
        got = await fetched(sent, sources)
    except (BadImage, UsageError) as error:
        return Ingested("rejected", None, error)
    return await asyncio.to_thread(ingest.add, target, got, body.keep, body.on_duplicate)


class _Told:
    """Tells a meter how an index job goes."""

    def __init__(self, meter: Meter, total: Total) -> None:
        self._meter = meter
        self._total = total

    def update(self, counts: Counts) -> None:
        total = max(self._total.files, counts.seen) if self._total.known else None
        self._meter.advance("indexed", counts.seen, total)

    def acknowledged(self, images: Sequence[NewImage]) -> None:
        pass

    def publishing(self, done: int, total: int) -> None:
        self._meter.advance("building the search index", done, total)


@contextmanager
def _told(meter: Meter, sources: Sequence[Source]) -> Iterator[Progress]:
    total = Total(sources)
    try:
        yield _Told(meter, total)
    finally:
        total.stop()
