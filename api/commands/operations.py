"""`status`, `failures`, `verify`, `rebuild`, `migrate`."""

from dataclasses import replace
from textwrap import TextWrapper, wrap
from typing import TYPE_CHECKING, Annotated

import typer

from api.console import Session, counted, out, print_json, print_table, say, shown_uri, table
from api.exits import ELSE
from api.workspace import Workspace
from search.blobs.checksums import VERIFY_TELLS
from search.database import schema
from search.database.database import Database
from search.errors import UsageError
from search.finding.generations import Generations
from search.local.published import LocalIndexes
from search.records import NO_TRANSFORM, Fault, LedgerEntry
from search.settings import is_sealed, read_settings, seal_settings
from search.storing.store import Store
from search.upkeep.status import CollectionStatus
from search.upkeep.verification import unnamed_files
from search.upkeep.verification import verify as find_faults

if TYPE_CHECKING:
    from api.shapes.views import Failure


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (status, failures, verify, rebuild, migrate):
        app.command()(command)


def status(context: typer.Context) -> None:
    """Show what a store holds, and whether everything in it can be found; with --collection only of that one."""
    session: Session = context.obj
    if session.remote is not None:
        return _remote_status(session, session.remote)
    with Workspace(session.store) as workspace:
        found = workspace.status(session.collection if session.named else None)
    if session.json:
        print_json({"store": str(session.store), "collections": [one.as_json() for one in found]})
        return None
    console = out()
    console.print(f"store {session.store}")
    if not found:
        console.print("no collections yet; `lookalike index FOLDER` makes one")
        return None
    for one in found:
        for line in _lines(one):
            console.print(line)
    return None


def _remote_status(session: Session, url: str) -> None:
    from api.remote.asking import status as ask
    from api.remote.asking import status_lines
    from api.remote.connecting import connected

    with connected(session) as client:
        shape = ask(client, url, session.collection if session.named else None)
    if session.json:
        print_json(shape)
        return
    for line in status_lines(shape):
        out().print(line)


# Paths stay whole, so that they can be copied.
_WRAPPER = TextWrapper(78, initial_indent="- ", subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _lines(one: CollectionStatus) -> list[str]:
    """Return a block of lines about a collection; but for names of the user's own, they fit into 80 columns."""
    space = one.collection.space
    facts = [
        ("files seen", _equation(one)),
        ("ignored", f"{one.ignored:,}" if one.ignored else ""),
        ("embeddings", f"{one.embedded:,} in {counted(one.segments, 'segment', 'segments')}"),
        ("index", _index(one)),
        *(("", line) for line in wrap(one.index_explanation, 64)),
        *zip(("calibration", *[""] * 9), wrap(one.calibration_explained, 64), strict=False),
        ("tombstones", f"{one.tombstones:,}; `lookalike compact` purges them" if one.tombstones else ""),
        ("backbone", space.backbone),
        *zip(("regions", *[""] * 3), wrap(one.regions_explained, 64), strict=False),
        ("labels of", one.labels_of),
        *zip(("local", *[""] * 3), wrap(_local(one), 64), strict=False),
        ("licence", _licence(one)),
    ]
    head = f"\n{one.collection.name}: {'complete' if one.complete else 'not complete'}: {one.summary}"
    shown = [f"  {name:<11} {value}" for name, value in facts if value]
    missing = [part for text in one.missing for part in _WRAPPER.wrap(text)]
    way = one.upgrade
    if way is not None:
        left = f", {way['missing']} images missing" if way["missing"] else ""
        shown += [f"  {'space':<11} {way['state']}:", f"    {way['from_space']} to {way['to_space']}{left}"]
    return [head, *(f"  {line}" for line in missing), *shown]


def _local(one: CollectionStatus) -> str:
    if not one.local_images:
        return "" if one.collection.local else "no; `lookalike index --local` also finds a tenth of a picture"
    size = (
        f"; {one.local_bytes / 1000:.1f} kB each, {one.local_fixed_bytes / 1e6:.1f} MB once" if one.local_bytes else ""
    )
    none = "" if one.collection.local else "; new ones get none without --local"
    return f"{one.local_images:,} of {one.images:,} images have local features{size}{none}"


def _equation(one: CollectionStatus) -> str:
    sign = "=" if one.seen == one.images + one.ledger_only else "≠"
    return f"{one.seen:,} {sign} {one.images:,} indexed + {one.ledger_only:,} only in the ledger"


def _index(one: CollectionStatus) -> str:
    new = f"{one.delta_rows:,} new" if one.delta_rows else ""
    published = f"{one.index_kind}, {one.index_rows:,} rows" if one.index_kind else ""
    return " + ".join(part for part in (published, new) if part) or "none yet"


def _licence(one: CollectionStatus) -> str:
    licence = one.collection.space.licence or "unknown"
    return licence if one.accepted_at is None else f"{licence} (accepted {one.accepted_at[:10]})"


def failures(context: typer.Context) -> None:
    """List the files that could not be indexed, and why."""
    session: Session = context.obj
    entries: list[LedgerEntry | Failure]
    if session.remote is not None:
        from api.remote.connecting import connected

        with connected(session) as client:
            entries = list(client.failures(page_size=1000))
    else:
        with Store(session.store) as store:
            entries = list(store.catalogue.failures(store.catalogue.collection(session.collection).id))
    if session.json:
        print_json({"items": [one.as_json() if isinstance(one, LedgerEntry) else one.model_dump() for one in entries]})
        return
    rows = table("reason", ">tries", "file", "detail")
    for entry in entries:
        rows.add_row(entry.reason, str(entry.attempts), shown_uri(entry.uri), entry.detail)
    if entries:
        print_table(rows)
    else:
        out().print("no failures")


def verify(
    context: typer.Context,
    deep: Annotated[bool, typer.Option("--deep", help="Also compute everything again that can be.")] = False,
) -> None:
    """Check every count and checksum of the store; exit 1 when something is wrong."""
    session: Session = context.obj
    with Store(session.store) as store:
        faults = [in_place(fault) for fault in find_faults(store, deep=deep)]
        notes = unnamed_files(store)
    if session.json:
        shape = {"ok": not faults, "faults": [fault.as_json() for fault in faults]}
        print_json(shape | ({"notes": notes} if notes else {}))
    else:
        for name in notes:
            say(f"note: {name} is a leftover that nobody reads; `index` and `compact` remove it when it is an hour old")
        for fault in faults:
            out().print(f"{fault.kind}: {fault.where}: {fault.detail}")
        out().print("all well" if not faults else counted(len(faults), "fault", "faults"))
    if faults:
        raise typer.Exit(ELSE)


def in_place(fault: Fault) -> Fault:
    """Return a fault whose detail repeats neither where it is nor that `verify` tells more."""
    detail = fault.detail.replace(VERIFY_TELLS, "")
    if detail.startswith(fault.where):
        detail = detail.removeprefix(fault.where).removeprefix(":").strip()
    return replace(fault, detail=detail)


def rebuild(
    context: typer.Context,
    recall_target: Annotated[
        float | None,
        typer.Option(help="Share of the 10 nearest images to find, 0.5 to 0.9999; the collection remembers."),
    ] = None,
    transform: Annotated[
        str | None,
        typer.Option(
            help="What is done to embeddings before they are compared, fitted to them now: none, centre, whiten-0.25 "
            "or whiten-0.5; the collection remembers."
        ),
    ] = None,
) -> None:
    """Build the search index again from the stored embeddings; no backbone is needed."""
    from api.work_progress import work_progress

    session: Session = context.obj
    with Store(session.store) as store:
        target = store.catalogue.collection(session.collection)
        if recall_target is not None:
            target = store.set_recall_target(target, recall_target)
        with work_progress(session.progress, "in the search index", "rows") as advance:
            record = Generations(store.database, store.blobs, target).publish(
                target.sequence, advance, transform=transform
            )
        LocalIndexes(store.database, store.blobs, target).publish()
    rows = 0 if record is None else record.rows
    facts = {} if record is None else record.facts
    if session.json:
        measured = {"recall_target": facts.get("recall_target", 1.0), "recall_measured": facts.get("recall")}
        used = {"transform": facts.get("transform", NO_TRANSFORM)}
        print_json({"collection": session.collection, "rows": rows} | used | measured)
        return
    out().print(f"{session.collection}: index of {counted(rows, 'row', 'rows')} published")
    if "transform" in facts:
        out().print(f"scores are cosines after the transform {facts['transform']} now; they compare with no others")
    if "recall" in facts:
        out().print(
            f"it finds {100 * facts['recall']:.1f} % of the 10 nearest (target {100 * target.recall_target:g} %)"
        )


def migrate(
    context: typer.Context,
    check: Annotated[
        bool, typer.Option("--check", help="Only tell what is pending; exit 1 when something is.")
    ] = False,
) -> None:
    """Bring the catalogue of an older release to this one."""
    session: Session = context.obj
    database = Database(read_settings(session.store).catalogue)
    try:
        waiting = schema.pending(database)
        if waiting and not check:
            schema.upgrade(database)
    finally:
        database.close()
    if not check and not is_sealed(session.store):
        _seal(session)
    if session.json:
        print_json({"pending" if check else "applied": waiting})
    else:
        word = "pending" if check else "applied"
        out().print(f"{word}: {', '.join(waiting)}" if waiting else "the catalogue is up to date")
    if check and waiting:
        raise typer.Exit(ELSE)


def _seal(session: Session) -> None:
    """Add the sum of store.toml; where it lies read-only, the migration counts all the same."""
    try:
        seal_settings(session.store)
    except UsageError as error:
        say(str(error))
    else:
        say("store.toml has a checksum now")
