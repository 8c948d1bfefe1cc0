"""`backbones`: which models there are, and what their cards say."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands import model_uses
from api.console import Session, out, print_json, print_table, table
from search.errors import BackboneNotFound, UsageError

if TYPE_CHECKING:
    from indexer.backbones.feature_maps import MapShape
    from indexer.backbones.model_facts import Accuracy, ModelFacts, SizeFacts

MILLION, BILLION = 1e6, 1e9
SHOWN_NAMES = 60  # found by --search; all of them with --json


def register(app: typer.Typer) -> None:
    """Add the commands of this module, and those that use a model."""
    app.command()(backbones)
    model_uses.register(app)


def backbones(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(help="One backbone; default: the built-in, the tested and yours.")
    ] = None,
    search: Annotated[
        str | None, typer.Option(metavar="TEXT", help="Names of timm models that contain a text.")
    ] = None,
) -> None:
    """Show backbones and what their cards say; any timm model works by its name."""
    from indexer.backbones.model_facts import facts_of, names_containing, shown_names

    session: Session = context.obj
    if search is not None:
        if name is not None:
            raise UsageError("give one of: a NAME, --search TEXT")
        _show_names(session, search, names_containing(search))
        return
    facts = [facts_of(one) for one in ([name] if name is not None else shown_names())]
    if session.json:
        print_json({"backbones": [one.as_json() for one in facts]})
    elif name is not None:
        _print_card(facts[0])
    else:
        _print_backbones(facts)


def _show_names(session: Session, wanted: str, names: Sequence[str]) -> None:
    if session.json:
        print_json({"names": list(names)})
        return
    if not names:
        raise BackboneNotFound(f"no timm model with weights has {wanted!r} in its name; try a shorter text")
    for one in names[:SHOWN_NAMES]:
        out().print(one)
    if len(names) > SHOWN_NAMES:
        out().print(f"and {len(names) - SHOWN_NAMES} more: ask for a longer text, or with --json")


def _print_backbones(facts: "Sequence[ModelFacts]") -> None:
    rows = table("backbone", ">dims", ">params", ">GMACs", ">pixels", ">top-1", "licence")
    for one in facts:
        rows.add_row(
            one.name,
            str(one.dims or "-"),
            f"{one.parameters / MILLION:.1f}M",
            _gmacs(one.train),
            f"{one.train.width}/{one.test.width}" if _tests_otherwise(one) else str(one.train.width),
            f"{one.accuracy[-1].top1:.1f}" if one.accuracy else "",
            one.licence or "unknown",
        )
    print_table(rows)
    out().print("\npixels: at training / at test; GMACs: at training; top-1: per cent of ImageNet at test")
    out().print("any other timm model works by its name: `lookalike backbones --search dinov2` finds some")


def _print_card(one: "ModelFacts") -> None:
    lines = [
        ("name", one.name),
        *_named("also written", _other_names(one)),
        ("licence", one.licence or "unknown"),
        ("dims", str(one.dims) if one.dims else "no pooled output: makes no embeddings"),
        ("parameters", _parameters(one)),
        ("at train size" if _tests_otherwise(one) else "at its size", _size(one.train)),
        *([("at test size", _size(one.test))] if _tests_otherwise(one) else []),
        ("interpolation", one.preparation.interpolation + _crop_note(one)),
        ("mean, std", f"{_numbers(one.preparation.mean)}, {_numbers(one.preparation.std)}"),
        *_named("feature maps", [_level(level) for level in one.feature_maps]),
        *_named("top-1, top-5", [_accuracy(row) for row in one.accuracy]),
    ]
    width = max(len(label) for label, _ in lines) + 2
    for label, text in lines:
        out().print(f"{label:{width}}{text}")


def _named(label: str, texts: Sequence[str]) -> list[tuple[str, str]]:
    """Return a line for each text, the first with the label."""
    return [(label if number == 0 else "", text) for number, text in enumerate(texts)]


def _accuracy(row: "Accuracy") -> str:
    return f"{row.top1:.2f} %, {row.top5:.2f} % of ImageNet-1k at {row.size} pixels"


def _other_names(one: "ModelFacts") -> list[str]:
    hub = [f"hf_hub:{one.hub_id}"] if one.hub_id else []
    return [*([one.short_name] if one.short_name else []), *hub, *one.legacy_names]


def _parameters(one: "ModelFacts") -> str:
    own = f"{one.parameters / MILLION:.2f} M"
    if one.parameters_with_classifier == one.parameters:
        return own
    return f"{own}, {one.parameters_with_classifier / MILLION:.2f} M with the classifier ({one.classes} outputs)"


def _size(size: "SizeFacts") -> str:
    cost = f", {size.costs.gmacs:.2f} GMACs, {size.costs.mega_activations:.2f} M activations" if size.costs else ""
    return f"{size.width} x {size.height}, crop {size.crop_pct}{cost}"


def _gmacs(size: "SizeFacts") -> str:
    return f"{size.costs.macs / BILLION:.1f}" if size.costs else "-"


def _tests_otherwise(one: "ModelFacts") -> bool:
    return (one.test.width, one.test.crop_pct) != (one.train.width, one.train.crop_pct)


def _crop_note(one: "ModelFacts") -> str:
    return "" if one.crop_mode == "center" else f", crop mode {one.crop_mode} (needs --preprocess full)"


def _numbers(values: Sequence[float]) -> str:
    """Return one number where all channels have the same."""
    shown = [f"{value:g}" for value in values]
    return shown[0] if len(set(shown)) == 1 else " ".join(shown)


def _level(level: "MapShape") -> str:
    return f"{level.channels} x {level.height} x {level.width}, stride {level.stride}"
