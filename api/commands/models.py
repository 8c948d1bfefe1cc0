"""`backbones` and `embed`: the models themselves, without a store."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from api.commands.options import preparation_mode
from api.commands.searching import read_picture
from api.console import Session, out, print_json, print_table, table
from search.errors import UsageError

if TYPE_CHECKING:
    from indexer.model_facts import ModelFacts


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(backbones)
    app.command()(embed)


def backbones(
    context: typer.Context,
    name: Annotated[str | None, typer.Argument(help="One backbone; default: the built-in and the tested ones.")] = None,
) -> None:
    """Show backbones: any timm model works by its name."""
    from indexer.model_facts import facts_of, shown_names

    session: Session = context.obj
    facts = [facts_of(name)] if name is not None else [facts_of(one) for one in shown_names()]
    if session.json:
        print_json({"backbones": [one.as_json() for one in facts]})
        return
    _print_backbones(facts)
    if name is None:
        out().print("\nany other timm model works by its name, such as vit_small_patch14_dinov2.lvd142m")


def embed(
    context: typer.Context,
    images: Annotated[list[Path], typer.Argument(help="Pictures, in the order of the rows.", metavar="IMAGE...")],
    output: Annotated[Path, typer.Option("-o", "--output", help="File for the (N, D) float32 array (.npy).")],
    backbone: Annotated[str, typer.Option(help="builtin, or any timm model.")] = "builtin",
    weights: Annotated[Path | None, typer.Option(help="Weights as a safetensors file.")] = None,
    preprocess: Annotated[str, typer.Option(help="card: as on the model card; full: the whole frame.")] = "card",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
) -> None:
    """Write the raw pooled embeddings of pictures to a file; needs no store."""
    import numpy as np

    from indexer.backbones import load_backbone
    from indexer.decoder_pool import DecoderPool
    from indexer.query_embedder import QueryEmbedder

    session: Session = context.obj
    loaded = load_backbone(backbone, weights=weights, mode=preparation_mode(preprocess) or "card", device=device)
    with DecoderPool(loaded.preparation, children=1) as pool:
        embedder = QueryEmbedder(loaded, pool)
        rows = [embedder.embed(read_picture(path), str(path)).raw[0] for path in images]
    array = np.stack(rows)
    try:
        with output.open("wb") as file:
            np.save(file, array)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error
    if session.json:
        shape = {
            "output": str(output),
            "rows": array.shape[0],
            "dims": array.shape[1],
            "backbone": loaded.space.backbone,
        }
        print_json(shape)
    else:
        out().print(f"{output}: {array.shape[0]} embeddings of {array.shape[1]} dims by {loaded.space.backbone}")


def _print_backbones(facts: "Sequence[ModelFacts]") -> None:
    rows = table("backbone", ">dims", ">parameters", ">pixels", "card transform", "licence")
    for one in facts:
        card = f"{one.preparation.interpolation}, crop {one.preparation.crop_pct:g}"
        pixels = f"{one.preparation.width}x{one.preparation.height}"
        millions = f"{one.parameters / 1e6:.2f} M"
        rows.add_row(one.name, str(one.dims), millions, pixels, card, one.licence or "unknown")
    print_table(rows)
