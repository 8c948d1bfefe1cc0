"""`finetune`."""

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.model_uses import Consent, Device, ImageSizeOption, Preprocess, Weights
from api.commands.options import image_size_of, mode_for
from api.console import Session, counted, out, print_json, print_table, say, table
from search.records import displayable

if TYPE_CHECKING:
    from indexer.finetuning.confusion import Confusion
    from indexer.finetuning.finetune import FinetuneRequest, FinetuneSummary
    from indexer.finetuning.labelled_folders import Skipped

DEFAULT_BACKBONE = "eca_nfnet_l0"
SHOWN_CLASSES = 20
SHOWN_MISTAKES = 10
SHOWN_SKIPPED = 10
MAX_WORKERS = 256


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(finetune)


def finetune(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="FOLDER/<class>/<pictures>.", metavar="FOLDER")],
    name: Annotated[
        str | None, typer.Option(help="Name of the new backbone; default: FOLDER's and BACKBONE's.")
    ] = None,
    backbone: Annotated[str, typer.Option(help="A timm model, or one of your own.")] = DEFAULT_BACKBONE,
    weights: Weights = None,
    preprocess: Preprocess = None,
    image_size: ImageSizeOption = None,
    device: Device = "auto",
    whole: Annotated[bool, typer.Option("--whole", help="Train the whole network, not only the new head.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Passes over the pictures; default 10, with --whole 20.")] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate; default 2, with --whole 0.01.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Pictures per update; default 32.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Default 0.0001, with --whole 0.00002.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Before the new head; default 0.2.")] = None,
    stochastic_depth: Annotated[float | None, typer.Option(help="With --whole; default 0.1.")] = None,
    randaugment: Annotated[
        str | None, typer.Option(help="In timm's words, or none; default rand-m6-mstd0.5, with --whole m9.")
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Default 0.1.")] = None,
    agc: Annotated[
        float | None, typer.Option(help="Adaptive gradient clipping, with --whole; default 0.015, 0 is off.")
    ] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of all updates; default 0.1.")] = None,
    smallest_crop: Annotated[
        float | None, typer.Option(help="Least share of a picture that is shown to learn from; default 0.35.")
    ] = None,
    flip: Annotated[bool, typer.Option("--flip/--no-flip", help="Mirror half of the pictures.")] = True,
    augment: Annotated[
        bool, typer.Option("--augment/--no-augment", help="Show pictures differently each time; without: fast heads.")
    ] = True,
    val_fraction: Annotated[
        float, typer.Option(help="Share of each class kept for checking, without FOLDER/train and FOLDER/val.")
    ] = 0.2,
    seed: Annotated[int | None, typer.Option(help="Of the split, the order and all that is random; default 0.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=0, max=MAX_WORKERS, help="Processes that prepare pictures; 0: none.")
    ] = None,
    run: Annotated[Path | None, typer.Option(help="Folder for checkpoints and reports.")] = None,
    restart: Annotated[bool, typer.Option("--restart", help="Begin anew where an interrupted run lies.")] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a backbone of your own with this name.")] = False,
    accept_license: Consent = None,
) -> None:
    """Teach a backbone your own classes: a new head on labelled folders, registered as a backbone of its own."""
    from indexer.finetuning.finetune import FinetuneRequest
    from indexer.finetuning.recipe import recipe_for

    recipe = recipe_for(
        whole=whole,
        changes={
            "epochs": epochs,
            "lr": lr,
            "batch_size": batch_size,
            "weight_decay": weight_decay,
            "dropout": dropout,
            "stochastic_depth": stochastic_depth,
            "randaugment": randaugment,
            "label_smoothing": label_smoothing,
            "agc": agc,
            "warmup": warmup,
            "smallest_crop": smallest_crop,
            "flip": flip,
            "augment": augment,
            "seed": seed,
        },
    )
    request = FinetuneRequest(
        folder=folder,
        name=name or default_name(folder, backbone),
        backbone=backbone,
        recipe=recipe,
        weights=weights,
        mode=mode_for(backbone, preprocess, "card"),
        size=image_size_of(image_size),
        device=device,
        val_fraction=val_fraction,
        workers=_workers(device) if workers is None else workers,
        checkers=os.cpu_count() or 1,
        run_folder=run.absolute() if run is not None else None,
        accepted=accept_license,
        replacing=replace,
        restart=restart,
    )
    _run(context.obj, request)


def default_name(folder: Path, backbone: str) -> str:
    """Return a name for what comes of a folder and a backbone, of letters that a name may have."""
    short = backbone.rsplit("/", maxsplit=1)[-1].split(".", maxsplit=1)[0]
    return re.sub(r"[^A-Za-z0-9._]+", "-", f"{folder.absolute().name}-{short}").strip("-._")


def _workers(device: str) -> int:
    """Return how many processes prepare pictures: all a GPU can use, one beside a network on the CPU."""
    from indexer.devices import CPU, choose_device

    return 1 if choose_device(device) == CPU else os.cpu_count() or 1


def _run(session: Session, request: "FinetuneRequest") -> None:
    import torch

    from api.training_progress import training_progress
    from indexer.finetuning.finetune import finetune as run_finetune

    torch.set_num_threads(os.cpu_count() or 1)
    with training_progress(session.progress, request.recipe.epochs) as progress:
        try:
            summary = run_finetune(request, progress)
        except KeyboardInterrupt:
            say(f"finished epochs stay in {displayable(request.place)}; --restart would begin anew")
            raise
    _name_skipped(summary.skipped)
    if session.json:
        print_json(summary.as_json())
    else:
        _print_summary(summary)


def _name_skipped(skipped: "tuple[Skipped, ...]") -> None:
    for one in skipped[:SHOWN_SKIPPED]:
        say(f"left out: {one.path}: {one.reason}: {one.detail}")
    if len(skipped) > SHOWN_SKIPPED:
        say(f"and {len(skipped) - SHOWN_SKIPPED} more: the run's report.json names all")


def _print_summary(summary: "FinetuneSummary") -> None:
    console, model = out(), summary.model
    _print_classes(summary.confusion)
    _print_mistakes(summary.confusion)
    checked = counted(int(summary.confusion.counts.sum()), "picture", "pictures")
    best = summary.state.best
    epoch = f", after epoch {best.epoch}" if best is not None else ""
    console.print(f"\n{summary.confusion.accuracy:.1%} of {checked} kept for checking recognised{epoch}")
    console.print(f"reports: {displayable(summary.run_folder)}")
    console.print(f"the backbone {model.name} is ready ({model.licence or 'licence unknown'}):")
    how = f"--backbone {model.name} --preprocess {model.preparation.mode}"
    console.print(f"  lookalike classify PICTURE {how}")
    console.print(f"  lookalike index FOLDER --collection {model.name} {how}")


def _print_classes(confusion: "Confusion") -> None:
    reports = confusion.by_class()
    shown = sorted(reports, key=lambda report: report.f1)[:SHOWN_CLASSES] if len(reports) > SHOWN_CLASSES else reports
    rows = table("class", ">pictures", ">precision", ">recall", ">F1")
    for one in shown:
        rows.add_row(one.name, str(one.pictures), f"{one.precision:.3f}", f"{one.recall:.3f}", f"{one.f1:.3f}")
    print_table(rows)
    if len(shown) < len(reports):
        out().print(f"the {len(shown)} worst of {len(reports)} classes; confusion.json has all")


def _print_mistakes(confusion: "Confusion") -> None:
    mistakes = confusion.mistakes(SHOWN_MISTAKES)
    if not mistakes:
        return
    out().print("")
    if len(confusion.classes) <= SHOWN_CLASSES:
        rows = table("actual \\ predicted", *(f">{name}" for name in confusion.classes))
        for name, row in zip(confusion.classes, confusion.counts.tolist(), strict=True):
            rows.add_row(name, *(str(count) if count else "." for count in row))
    else:
        rows = table("actual", "taken for", ">pictures")
        for mistake in mistakes:
            rows.add_row(mistake.actual, mistake.predicted, str(mistake.pictures))
    print_table(rows)
