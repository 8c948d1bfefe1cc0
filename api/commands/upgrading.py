"""`reembed`, `promote` and `rollback`."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from api.commands.options import image_size_of, mode_for, pooling_of
from api.console import Session, counted, out, print_json, print_table, say, shown_uri, table
from api.exits import LEDGER
from search.errors import GuardRefused
from search.records import AVERAGE, Collection
from search.spaces.space_upgrade import SpaceUpgrade
from search.storing.store import Store

SHOWN_FAILURES = 10


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (reembed, promote, rollback):
        app.command()(command)


def reembed(
    context: typer.Context,
    backbone: Annotated[str, typer.Option(help="The new backbone: builtin, or any timm model.")],
    weights: Annotated[Path | None, typer.Option(help="Weights as a safetensors file instead of the hub's.")] = None,
    preprocess: Annotated[
        str | None, typer.Option(help="full: the whole frame (default); card: as on the model card.")
    ] = None,
    image_size: Annotated[str | None, typer.Option(help="Pixels a side, or test: timm's test size.")] = None,
    pool: Annotated[
        str | None, typer.Option(help="How the last map of a timm model is pooled: avg (default), gem3, gem4.")
    ] = None,
    dims: Annotated[
        int | None, typer.Option(min=1, help="Fewer dims than the backbone makes, by a fixed projection.")
    ] = None,
    dct_scaling: Annotated[
        bool, typer.Option("--dct-scaling/--no-dct-scaling", help="Decode large JPEGs at a fraction of their size.")
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    batch_size: Annotated[int | None, typer.Option(min=1, max=1024, help="Pictures per call of the backbone.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Decoding processes; default: one per core.")
    ] = None,
    accept_license: Annotated[
        str | None, typer.Option(help="Agree to the licence of the weights, such as cc-by-nc-4.0.")
    ] = None,
    samples: Annotated[int, typer.Option(min=1, max=10_000, help="Stored images to compare both spaces by.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Which images those are.")] = 0,
) -> None:
    """Embed a collection in another space while searches go on in its own; `promote` then switches."""
    from api.upgrading import ReembedRequest, run_reembed

    session: Session = context.obj
    request = ReembedRequest(
        backbone=backbone,
        weights=weights,
        mode=mode_for(backbone, preprocess, "full"),
        size=image_size_of(image_size),
        pooling=pooling_of(pool) or AVERAGE,
        dims=dims,
        dct_scaling=dct_scaling,
        device=device,
        batch_size=batch_size,
        workers=workers,
        accept_license=accept_license,
        samples=samples,
        seed=seed,
    )
    shape = run_reembed(session, request)
    if session.json:
        print_json(shape)
    else:
        _print_report(shape)
    if shape["missing"]:
        raise typer.Exit(LEDGER)


def _print_report(shape: dict[str, Any]) -> None:
    console = out()
    console.print(f"{shape['collection']}: {shape['embedded']} pictures embedded in {shape['space']}")
    for one in shape["failures"][:SHOWN_FAILURES]:
        console.print(f"not embedded: {one['reason']}: {shown_uri(one['uri'])}: {one['detail']}")
    if shape["missing"]:
        console.print(f"{counted(shape['missing'], 'image is', 'images are')} missing from it")
    compared = shape["comparison"]
    if compared is None:
        return
    pairs = compared["pairs"]
    rows = table("compared", ">value", "means")
    overlap = "-" if compared["overlap_at_k"] is None else f"{compared['overlap_at_k']:.3f}"
    rows.add_row("overlap@10", overlap, f"of the 10 nearest of {compared['queries']} images, the share both name")
    rows.add_row("pairs kept", str(pairs["kept"]), "near copies in both spaces")
    rows.add_row("pairs lost", str(pairs["lost"]), f"only in the old one, from {pairs['old_threshold']} on")
    rows.add_row("pairs gained", str(pairs["gained"]), f"only in the new one, from {pairs['new_threshold']} on")
    print_table(rows)
    console.print("searches use the old space until `lookalike promote`")


@dataclass(frozen=True, slots=True)
class Switch:
    """A way from the collection's space to another. goal: looks where it would lead, and changes nothing."""

    word: str
    goal: Callable[..., Collection]
    do: Callable[..., tuple[Collection, int]]


PROMOTE = Switch("promote", SpaceUpgrade.after_promote, SpaceUpgrade.promote)
ROLLBACK = Switch("roll back", SpaceUpgrade.after_rollback, SpaceUpgrade.rollback)

Yes = Annotated[bool, typer.Option("--yes", help="Do not ask.")]
AllowMissing = Annotated[bool, typer.Option("--allow-missing", help="Also when searches would not find some images.")]


def promote(context: typer.Context, yes: Yes = False, allow_missing: AllowMissing = False) -> None:
    """Search the space that `reembed` filled from now on, at once and in every process."""
    _switch(context.obj, PROMOTE, yes=yes, allow_missing=allow_missing)


def rollback(context: typer.Context, yes: Yes = False, allow_missing: AllowMissing = False) -> None:
    """Search the space from before `promote` again."""
    _switch(context.obj, ROLLBACK, yes=yes, allow_missing=allow_missing)


def _switch(session: Session, switch: Switch, *, yes: bool, allow_missing: bool) -> None:
    with Store(session.store) as store:
        target = store.catalogue.collection(session.collection)
        upgrade = SpaceUpgrade(store, target)
        if not yes:
            # Nobody is asked about what cannot be done anyway.
            goal = switch.goal(upgrade, allow_missing=allow_missing)
            _ask(f"{switch.word} the collection {target.name!r} from {target.space.name} to {goal.space.name}?")
        found, missing = switch.do(upgrade, allow_missing=allow_missing)
    shape = {
        "collection": found.name,
        "from": target.space.name,
        "space": found.space.name,
        "backbone": found.space.backbone,
        "missing": missing,
    }
    if session.json:
        print_json(shape)
        return
    out().print(f"{found.name}: from {target.space.name} to {found.space.name}")
    if missing:
        out().print(f"{counted(missing, 'image', 'images')} cannot be found by search; `lookalike reembed` embeds them")
    if found.labels_from is not None:
        out().print("labels stay those of before; `index --labels` makes new ones, where the new backbone can")


def _ask(question: str) -> None:
    """Raises:
    GuardRefused: the answer is no, or there is nobody to ask.
    """
    if not sys.stdin.isatty():
        raise GuardRefused(f"{question} Nothing was changed: there is nobody to ask here, say --yes")
    say(f"{question} [y/N]")
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise GuardRefused("nothing was changed")
