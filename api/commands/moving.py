"""`backup`, `restore`, `export`, `neighbours` and `import`."""

import time
from pathlib import Path
from typing import Annotated

import typer

from api.console import Session, counted, out, print_json, say, size_text
from api.exits import LEDGER
from api.work_progress import work_progress
from search.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(backup)
    app.command()(restore)
    app.command()(export)
    app.command()(neighbours)
    app.command("import")(import_embeddings)


def backup(
    context: typer.Context,
    place: Annotated[Path, typer.Argument(help="A folder that is not there yet, or a file NAME.tar.", metavar="DEST")],
) -> None:
    """Copy the store, whole and checked, also while others index and search."""
    from search.moving.backup import back_up
    from search.storing.store import Store
    from search.storing.uploads import FOLDER as UPLOADS

    session: Session = context.obj
    with Store(session.store) as store, work_progress(session.progress, "copied", "bytes") as advance:
        report = back_up(store, place.expanduser().absolute(), advance)
    shape = report.as_json()
    if session.json:
        print_json(shape)
        return
    size = sum(file.bytes for file in report.manifest.files)
    out().print(
        f"backed up {_collections(shape)}: {counted(len(report.manifest.files), 'file', 'files')}, "
        f"{size_text(size)} in {report.place}"
    )
    for name in report.left_out:
        changed = "it was changed since `apply` wrote it, and no `undo` goes by it"
        say(f"{name} is not in it: {'it is gone or damaged' if name.startswith(UPLOADS) else changed}")


def restore(
    context: typer.Context,
    backup_place: Annotated[Path, typer.Argument(help="What `backup` wrote.", metavar="SOURCE")],
    into: Annotated[
        Path | None, typer.Option(help="The store's new folder, empty or not there; default: --store.")
    ] = None,
    catalogue: Annotated[str | None, typer.Option(help="postgresql://user@host/name; default: SQLite inside.")] = None,
    blobs: Annotated[str | None, typer.Option(help="Folder of segments and indexes; default: inside.")] = None,
) -> None:
    """Make a store of a backup, in an empty place; every byte is checked."""
    from search.moving.restore import restore as restore_store

    session: Session = context.obj
    root = (into.expanduser() if into is not None else session.store).absolute()
    with work_progress(session.progress, "restored", "bytes") as advance:
        report = restore_store(
            backup_place.expanduser().absolute(), root, catalogue=catalogue, blobs=blobs, progress=advance
        )
    shape = report.as_json()
    if session.json:
        print_json(shape)
        return
    out().print(f"restored {_collections(shape)} of {report.manifest.made_at} into {root}")
    if report.unpublished is not None:
        out().print(f"everything is searchable, but slower until `lookalike rebuild` succeeds: {report.unpublished}")


def export(
    context: typer.Context,
    place: Annotated[Path, typer.Argument(help="A folder that is not there yet.", metavar="DEST")],
    where: Annotated[str | None, typer.Option(help="Only the images that fulfil this, as in `search`.")] = None,
    dtype: Annotated[str, typer.Option(help="float16: the embeddings as stored; float32: of unit length.")] = "float16",
) -> None:
    """Write the images of a collection as Parquet, and their embeddings as .npy."""
    from search.conditions.where import parse
    from search.moving.export_rows import Dtype, export_rows
    from search.storing.store import Store

    session: Session = context.obj
    kinds: dict[str, Dtype] = {"float16": "float16", "float32": "float32"}
    if dtype not in kinds:
        raise UsageError(f"--dtype {dtype!r} is not one of float16, float32")
    condition = None if where is None else parse(where)
    with Store(session.store) as store, work_progress(session.progress, "exported", "images") as advance:
        target = store.catalogue.collection(session.collection)
        chosen = place.expanduser().absolute()
        report = export_rows(store, target, chosen, where=condition, dtype=kinds[dtype], progress=advance)
    if session.json:
        print_json(report.as_json())
    else:
        out().print(f"{session.collection}: {counted(report.rows, 'image', 'images')} of {report.dims} dims in {place}")


def neighbours(
    context: typer.Context,
    place: Annotated[Path, typer.Argument(help="A file or folder that is not there yet.", metavar="DEST")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Most neighbours of an image.")] = 10,
    min_score: Annotated[float, typer.Option(min=-1, max=1, help="Leave out neighbours below this score.")] = -1.0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    form: Annotated[
        str, typer.Option("--format", help="parquet: a file; fiftyone: a folder that FiftyOne imports.")
    ] = "parquet",
) -> None:
    """Write the nearest images of every image, exactly, as Parquet or for FiftyOne."""
    from api.workspace import Workspace
    from search.moving.export_fiftyone import export_fiftyone
    from search.moving.export_neighbours import Neighbourhood, export_neighbours

    if form not in ("parquet", "fiftyone"):
        raise UsageError(f"--format {form!r} is not one of parquet, fiftyone")

    session: Session = context.obj
    chosen = place.expanduser().absolute()
    with (
        Workspace(session.store, device=device) as workspace,
        work_progress(session.progress, "compared", "images") as advance,
    ):
        target = workspace.collection(session.collection)
        wanted = Neighbourhood(k, min_score)
        if form == "fiftyone":
            dataset = workspace.export_neighbours(target, chosen, wanted, export_fiftyone, advance)
            shape = dataset.as_json()
            told = f"{counted(dataset.images, 'image', 'images')} with their neighbours in {place}"
            told += f"; {dataset.left_out} left out, whose files are not on this machine" if dataset.left_out else ""
        else:
            report = workspace.export_neighbours(target, chosen, wanted, export_neighbours, advance)
            shape = report.as_json()
            pairs = counted(report.rows, "neighbour", "neighbours")
            told = f"{pairs} of {counted(report.images, 'image', 'images')} in {place}"
    if session.json:
        print_json(shape)
    else:
        out().print(f"{session.collection}: {told}")


def import_embeddings(
    context: typer.Context,
    embeddings: Annotated[str, typer.Argument(help="A .npy file, or a folder or glob of them.", metavar="E.npy")],
    space_name: Annotated[str, typer.Option(help="What made them; embeddings of one name are comparable.")],
    meta: Annotated[
        str | None, typer.Option(help="Parquet files that describe the rows; default: those of a known layout.")
    ] = None,
    max_failed: Annotated[int, typer.Option(min=0, help="Rows in the ledger before the exit code says so.")] = 0,
) -> None:
    """Make embeddings that another program computed a collection."""
    from search.moving.embedding_shards import find_shards
    from search.moving.import_rows import import_rows, imported_space
    from search.storing.store import Store

    session: Session = context.obj
    # All that can be refused comes first: it must leave no store behind.
    shards = find_shards(embeddings, meta)
    space = imported_space(space_name, shards.dims)
    began = time.perf_counter()
    with Store.create(session.store) as store, work_progress(session.progress, "imported", "rows") as advance:
        target = store.open_collection(session.collection, space)
        counts = import_rows(store, target, shards, advance)
    shape = {"collection": target.name, "space": space.name, "dims": space.dims} | counts.as_json()
    shape |= {"seconds": round(time.perf_counter() - began, 3)}
    if session.json:
        print_json(shape)
    else:
        words = ("indexed", "updated", "unchanged", "failed")
        done = ", ".join(f"{shape[word]} {word}" for word in words if shape[word] or word == "indexed")
        out().print(f"{target.name}: {done} in {space.name}, {space.dims} dims; the store is {session.store}")
    if counts.failures.total() > max_failed:
        raise typer.Exit(LEDGER)


def _collections(shape: dict[str, object]) -> str:
    found: list[dict[str, object]] = shape["collections"]  # type: ignore[assignment]
    return ", ".join(f"{one['name']} ({one['images']} images)" for one in found) or "a store without collections"
