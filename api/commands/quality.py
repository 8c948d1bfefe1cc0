"""`quality`: how well copies are found, measured on the user's own photographs."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.model_uses import Consent, Device
from api.commands.options import image_size_of, pooling_of
from api.console import Session, out, print_json
from search.errors import UsageError
from search.records import AVERAGE

if TYPE_CHECKING:
    from api.quality.running import MeasuredBackbone

DEFAULT_DISTRACTORS = 5000
MOST_DISTRACTORS = 1_000_000
HUB = "hub"  # instead of a weights file, where a later one has one
TRAINED_SIZE = "train"  # instead of a size, where a later one has one


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(quality)


def quality(
    context: typer.Context,
    folder: Annotated[
        Path | None,
        typer.Argument(help="Photographs; default: those that scikit-image, scikit-learn and matplotlib bring along."),
    ] = None,
    backbone: Annotated[
        list[str] | None, typer.Option(help="Measure a timm model, or one of your own, too; repeat it for more.")
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(help="Weights of the backbone at the same place: a safetensors file, hub, or random."),
    ] = None,
    pool: Annotated[
        list[str] | None, typer.Option(help="Pooling of the backbone at the same place: avg, gem3, gem4.")
    ] = None,
    image_size: Annotated[
        list[str] | None, typer.Option(help="Size of the backbone at the same place: pixels a side, test, or train.")
    ] = None,
    queries: Annotated[
        int | None, typer.Option(min=10, help="A sample of about so many edited queries; default: all.")
    ] = None,
    distractors: Annotated[
        int, typer.Option(min=0, max=MOST_DISTRACTORS, help="Pictures to hide the right ones among.")
    ] = DEFAULT_DISTRACTORS,
    strata: Annotated[str | None, typer.Option(help="Only these: light,medium,heavy.")] = None,
    edits: Annotated[str | None, typer.Option(help="Only these kinds, separated by commas.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the split, the edits and the distractors.")] = 0,
    tune: Annotated[
        bool, typer.Option("--tune", help="Compare the transforms of embeddings, too, on photographs kept for it.")
    ] = False,
    regions: Annotated[
        bool, typer.Option("--regions", help="Measure each backbone with `index --regions`, too.")
    ] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with curves and the worst misses.")] = None,
    keep: Annotated[
        Path | None,
        typer.Option(help="Folder for the edited pictures; the next run with the same options goes on there."),
    ] = None,
    device: Device = "auto",
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Decoding processes; default: one per core.")
    ] = None,
    accept_license: Consent = None,
) -> None:
    """Measure how well edited copies of photographs are found, beside perceptual hashes."""
    from api.quality.page import write_page
    from api.quality.running import QualityRequest, measured_quality
    from api.quality.tables import print_report
    from indexer.quality.collection import BenchOptions, kinds_named

    session: Session = context.obj
    _require_writable(html)
    kinds = kinds_named(_listed("--strata", strata), _listed("--edits", edits))
    request = QualityRequest(
        None if folder is None else folder.expanduser(),
        BenchOptions(seed=seed, distractors=distractors, queries=queries, kinds=kinds),
        _with_regions(_backbones(backbone or (), weights or (), pool or (), image_size or ()), regions=regions),
        keep=None if keep is None else keep.expanduser(),
        device=device,
        workers=workers,
        accept_license=accept_license,
        tune=tune,
    )
    with measured_quality(session, request) as measured:
        if html is not None:
            write_page(measured.report, measured.bench, html)
        if session.json:
            print_json(measured.report.as_json())
            return
        print_report(measured.report)
    if html is not None:
        out().print(f"\nwritten: {html}")


def _listed(option: str, text: str | None) -> list[str]:
    """Return the names that an option lists, none where it is not given.

    Raises:
        UsageError: it is given and lists none.
    """
    names = [name for part in (text or "").split(",") if (name := part.strip())]
    if text is not None and not names:
        raise UsageError(f"{option} {text!r} names nothing: separate names with commas, or leave {option} out")
    return names


def _backbones(
    names: Sequence[str], weights: Sequence[str], pools: Sequence[str], sizes: Sequence[str]
) -> "tuple[MeasuredBackbone, ...]":
    """Return the built-in backbone, and those named with the weights, the pooling and the size at the same place.

    Raises:
        UsageError: there are more of these than backbones, or one is none.
    """
    from api.quality.running import MeasuredBackbone

    for option, values in (("--weights", weights), ("--pool", pools), ("--image-size", sizes)):
        if len(values) > len(names):
            raise UsageError(
                f"{option} is given {len(values)} times, --backbone {len(names)}: name a backbone for each"
            )
    own = (
        MeasuredBackbone(
            name,
            None if file == HUB else file,
            pooling_of(pool) or AVERAGE,
            image_size_of(None if size == TRAINED_SIZE else size),
        )
        for name, file, pool, size in zip_longest(names, weights, pools, sizes)
    )
    return (MeasuredBackbone(), *(one for one in own if one != MeasuredBackbone()))


def _with_regions(backbones: "tuple[MeasuredBackbone, ...]", *, regions: bool) -> "tuple[MeasuredBackbone, ...]":
    """Return each backbone, and after it the same with regions if these are asked for."""
    ways = (False, True) if regions else (False,)
    return tuple(replace(one, regions=way) for one in backbones for way in ways)


def _require_writable(html: Path | None) -> None:
    """Refuse a place for the page before minutes are spent on what it shows.

    Raises:
        UsageError: nothing can be written there.
    """
    if html is None:
        return
    if html.is_dir() or not html.absolute().parent.is_dir():
        raise UsageError(f"--html {html}: name a file in a folder that is there")
