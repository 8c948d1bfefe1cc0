"""`status`, `failures`, `verify`, `rebuild`, `migrate`."""

from typing import Annotated

import typer

from api.console import Session, counted, out, print_json, print_table, say, shown_uri, table
from api.exits import ELSE
from api.workspace import Workspace
from search import schema
from search.database import Database
from search.generations import Generations
from search.settings import read_settings
from search.status import CollectionStatus
from search.store import Store
from search.verification import verify as find_faults


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (status, failures, verify, rebuild, migrate):
        app.command()(command)


def status(context: typer.Context) -> None:
    """Show what a store holds, and whether everything in it can be found."""
    session: Session = context.obj
    with Workspace(session.store) as workspace:
        found = workspace.status()
    if session.json:
        print_json({"store": str(session.store), "collections": [one.as_json() for one in found]})
        return
    console = out()
    console.print(f"store {session.store}")
    if not found:
        console.print("no collections yet; `lookalike index FOLDER` makes one")
        return
    rows = table("collection", "backbone", "licence", ">seen", ">images", ">searchable", ">failed", ">ignored", "index")
    for one in found:
        index = (
            f"{one.index_kind} {one.index_rows} + {one.delta_rows} new" if one.index_kind else f"{one.delta_rows} new"
        )
        counts = (one.seen, one.images, one.searchable, one.failed, one.ignored)
        space = one.collection.space
        rows.add_row(one.collection.name, space.backbone, _licence(one), *map(str, counts), index)
    print_table(rows)
    for one in found:
        way = one.upgrade
        if way is not None:
            missing = f", {way['missing']} images missing" if way["missing"] else ""
            console.print(
                f"{one.collection.name}: {way['state']}, from {way['from_space']} to {way['to_space']}{missing}"
            )
        if one.damage is not None:
            say(f"{one.collection.name}: {one.damage}")


def _licence(one: CollectionStatus) -> str:
    licence = one.collection.space.licence or "unknown"
    return licence if one.accepted_at is None else f"{licence} (accepted {one.accepted_at[:10]})"


def failures(context: typer.Context) -> None:
    """List the files that could not be indexed, and why."""
    session: Session = context.obj
    with Store(session.store) as store:
        entries = store.catalogue.failures(store.catalogue.collection(session.collection).id)
    if session.json:
        print_json({"items": [entry.as_json() for entry in entries]})
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
    deep: Annotated[bool, typer.Option("--deep", help="Also compare the sha256 of whole files.")] = False,
) -> None:
    """Check every count and checksum of the store; exit 1 when something is wrong."""
    session: Session = context.obj
    with Store(session.store) as store:
        faults = find_faults(store, deep=deep)
    if session.json:
        print_json({"ok": not faults, "faults": [fault.as_json() for fault in faults]})
    else:
        for fault in faults:
            out().print(f"{fault.kind}: {fault.where}: {fault.detail}")
        out().print("all well" if not faults else counted(len(faults), "fault", "faults"))
    if faults:
        raise typer.Exit(ELSE)


def rebuild(context: typer.Context) -> None:
    """Build the search index again from the stored embeddings; no backbone is needed."""
    session: Session = context.obj
    with Store(session.store) as store:
        target = store.catalogue.collection(session.collection)
        record = Generations(store.database, store.blobs, target).publish(target.sequence)
    rows = 0 if record is None else record.rows
    if session.json:
        print_json({"collection": session.collection, "rows": rows})
    else:
        out().print(f"{session.collection}: index of {rows} rows published")


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
        schema.refuse_empty(database)
        waiting = schema.pending(database)
        if waiting and not check:
            schema.upgrade(database)
    finally:
        database.close()
    if session.json:
        print_json({"pending" if check else "applied": waiting})
    else:
        word = "pending" if check else "applied"
        out().print(f"{word}: {', '.join(waiting)}" if waiting else "the catalogue is up to date")
    if check and waiting:
        raise typer.Exit(ELSE)
