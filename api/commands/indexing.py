"""`init` and `index`."""

from pathlib import Path
from typing import Annotated

import typer

from api.commands.options import image_size_of, pooling_of, preparation_mode
from api.console import Session, counted, out, print_json, say, shown_uri
from api.exits import GUARD, LEDGER

SHOWN_FAILURES = 10


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(init)
    app.command()(index)


def init(
    context: typer.Context,
    catalogue: Annotated[str | None, typer.Option(help="postgresql://user@host/name; default: SQLite inside.")] = None,
    blobs: Annotated[
        str | None, typer.Option(help="Folder of segments and indexes, or s3://bucket/prefix; default: inside.")
    ] = None,
    accept_license: Annotated[
        str | None, typer.Option(help="Agree to the licence of weights, such as cc-by-nc-4.0, for this store.")
    ] = None,
) -> None:
    """Make a store; `index` does it too, with the defaults."""
    from indexer.backbones.licences import require_known
    from search.storing.store import Store

    session: Session = context.obj
    require_known(accept_license)
    with Store.create(session.store, catalogue=catalogue, blobs=blobs, accept_license=accept_license):
        pass
    if session.json:
        print_json({"store": str(session.store)})
    else:
        out().print(f"store ready: {session.store}")


def index(
    context: typer.Context,
    sources: Annotated[
        list[str],
        typer.Argument(help="Folders, files, globs, tars, manifests (CSV, Parquet), URLs.", metavar="SOURCE..."),
    ],
    backbone: Annotated[
        str | None, typer.Option(help="builtin, or any timm model; default: the collection's own.")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="Weights as a safetensors file instead of the hub's.")] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="full: the whole frame (default); card: as on the model card.")
    ] = None,
    image_size: Annotated[
        str | None, typer.Option(help="Pixels a side, or test: timm's test size; default: the training size.")
    ] = None,
    pool: Annotated[
        str | None, typer.Option(help="How the last map of a timm model is pooled: avg (default), gem3, gem4.")
    ] = None,
    dims: Annotated[
        int | None, typer.Option(min=1, help="Fewer dims than the backbone makes, by a fixed projection.")
    ] = None,
    dct_scaling: Annotated[
        bool | None,
        typer.Option("--dct-scaling/--no-dct-scaling", help="Decode large JPEGs at a fraction of their size."),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, max=1024, help="Pictures per call of the backbone.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Decoding processes; default: one per core.")
    ] = None,
    labels: Annotated[
        bool | None,
        typer.Option("--labels/--no-labels", help="Store the backbone's labels; the collection remembers."),
    ] = None,
    regions: Annotated[
        bool | None,
        typer.Option("--regions/--no-regions", help="Also search in parts of each image; the collection remembers."),
    ] = None,
    local: Annotated[
        bool | None,
        typer.Option("--local/--no-local", help="Keep local features: accurate searches find small parts."),
    ] = None,
    accept_license: Annotated[
        str | None, typer.Option(help="Agree to the licence of the weights, such as cc-by-nc-4.0.")
    ] = None,
    decode: Annotated[str, typer.Option(help="Where JPEGs are decoded: cpu, or gpu (trusted files only).")] = "cpu",
    exclude: Annotated[
        list[str] | None, typer.Option(help="Glob of files or folders to pass over; repeat it for more.")
    ] = None,
    prune: Annotated[bool, typer.Option("--prune", help="Remove images whose file is gone; guarded.")] = False,
    max_fraction: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of images that --prune may remove; default 5 %, at most 1,000."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Go on with what changes in local folders.")] = False,
    max_failed: Annotated[int, typer.Option(min=0, help="Files in the ledger before the exit code says so.")] = 0,
) -> None:
    """Index images: new and changed files are embedded, moved ones recognised, the rest left alone."""
    from api.indexing import IndexRequest, run_index

    session: Session = context.obj
    if session.remote is not None:
        return _send(context, session, sources, exclude or [], max_failed)
    request = IndexRequest(
        sources=sources,
        backbone=backbone,
        weights=weights,
        mode=preparation_mode(preprocess),
        size=image_size_of(image_size),
        pooling=pooling_of(pool),
        dims=dims,
        dct_scaling=dct_scaling,
        device=device,
        batch_size=batch_size,
        workers=workers,
        labels=labels,
        regions=regions,
        local=local,
        accept_license=accept_license,
        decode=decode,
        exclude=tuple(exclude or ()),
        prune=prune,
        max_fraction=max_fraction,
        watch=watch,
    )
    summary, created = run_index(session, request)
    shape = summary.as_json()
    if session.json:
        print_json(shape)
    else:
        _print_summary(session, shape, created)
        for uri, samples in list(summary.apart.items())[:SHOWN_FAILURES]:
            lost = counted(samples, "sample keeps its", "samples keep their")
            remedy = "make it with `tar --sort=name`, or keep it as a plain .tar on this machine"
            say(f"{shown_uri(uri)}: {lost} metadata apart from the picture, where it was passed over; {remedy}")
    if summary.refused is not None:
        say(f"lookalike: {summary.refused}")
        raise typer.Exit(GUARD)
    if summary.counts.failed > max_failed:
        raise typer.Exit(LEDGER)
    return None


def _send(context: typer.Context, session: Session, sources: list[str], exclude: list[str], max_failed: int) -> None:
    """Send pictures to a server."""
    from api.remote.connecting import connected, require_only
    from api.remote.indexing import send

    require_only(context, "sources", "exclude", "max_failed")
    with connected(session) as client:
        shape = send(session, client, sources, exclude)
    if session.json:
        print_json(shape)
    else:
        # Refused pictures are nobody's but the sender's: the server's ledger holds none of them.
        _print_summary(session, shape, created=False, named_by="the lines above name the files")
    if int(str(shape["failed"])) > max_failed:
        raise typer.Exit(LEDGER)


def _print_summary(
    session: Session,
    shape: dict[str, object],
    created: bool,
    named_by: str = "`lookalike failures` names the files",
) -> None:
    """Print what was done. named_by: where people find which files failed."""
    console = out()
    if created:
        console.print(f"made the store {session.store}")
    names = (
        "indexed",
        "unchanged",
        "moved",
        "vanished",
        "removed",
        "ignored",
        "failed",
        "labelled",
        "with_regions",
        "local",
    )
    parts = [f"{shape[name]} {name.replace('_', ' ')}" for name in names if shape.get(name) or name == "indexed"]
    console.print(f"{session.collection}: {', '.join(parts)}")
    if not shape["seen"]:
        console.print("no images found there")
        return
    seconds, rate = shape["seconds"], shape["images_per_second"]
    console.print(f"{seconds} s, {rate} images/s, bound by {shape['bound_by']}")
    if shape["failed"]:
        reasons = shape["failures_by_reason"]
        listed = ", ".join(f"{reason} {number}" for reason, number in dict(reasons).items())  # type: ignore[call-overload]
        console.print(f"not indexed: {listed}; {named_by}")
