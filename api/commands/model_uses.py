"""`embed`, `classify` and `feature-maps`: what one model is good for, without a store."""

import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from api.commands.options import image_size_of, mode_for
from api.console import Session, counted, out, print_json, print_table, say, table
from api.exits import LEDGER
from api.named_pictures import require_pictures
from search.errors import UsageError
from search.records import Embeddings, Label, displayable

if TYPE_CHECKING:
    from api.picture_answers import Answered, BadPicture
    from indexer.backbones.feature_maps import FeatureMap
    from indexer.backbones.prepared_backbone import PreparedBackbone
    from indexer.backbones.timm_models import ImageSize, LoadedNetwork
    from indexer.decoding.preparation import Preparation

DEFAULT_CLASSIFIER = "eca_nfnet_l0"
MAX_LABELS = 100

Pictures = Annotated[list[Path], typer.Argument(help="Pictures, in the order of the answers.", metavar="IMAGE")]
BackboneName = Annotated[str, typer.Option(help="A timm model, or one of your own.")]
Weights = Annotated[Path | None, typer.Option(help="Weights as a safetensors file instead of the hub's.")]
Preprocess = Annotated[
    str | None, typer.Option(help="card: as on the model card (default); full: the whole frame.", metavar="card|full")
]
ImageSizeOption = Annotated[
    str | None,
    typer.Option("--image-size", help="Pixels a side, or `test` for the card's test size.", metavar="N|test"),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
BatchSize = Annotated[int | None, typer.Option(min=1, max=1024, help="Pictures per call of the backbone.")]
Consent = Annotated[
    str | None,
    typer.Option(
        "--accept-license",
        help="Agree to the licence of the weights, such as cc-by-nc-4.0.",
        envvar="LOOKALIKE_ACCEPT_LICENSE",
    ),
]


@dataclass(frozen=True, slots=True)
class ModelRequest:
    """Which model, and how it sees pictures."""

    backbone: str
    weights: Path | None
    mode: Literal["full", "card"]
    size: "ImageSize"
    device: str
    accept_license: str | None


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(embed)
    app.command()(classify)
    app.command("feature-maps")(feature_maps)


def embed(
    context: typer.Context,
    images: Pictures,
    output: Annotated[Path, typer.Option("-o", "--output", help="File for the (N, D) float32 array (.npy).")],
    backbone: Annotated[str, typer.Option(help="builtin, a timm model, or one of your own.")] = "builtin",
    weights: Weights = None,
    preprocess: Preprocess = None,
    image_size: ImageSizeOption = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave bad pictures out instead of writing nothing.")
    ] = False,
    accept_license: Consent = None,
) -> None:
    """Write the raw pooled embeddings of pictures to a file; needs no store."""
    from api.picture_answers import Pace, answer_pictures

    session: Session = context.obj
    require_pictures(images)
    _require_writable(output, [*images, weights])
    loaded = _load_backbone(_request(backbone, weights, preprocess, image_size, device, accept_license))
    pace = Pace(batch_size or loaded.batch_size, session.progress, all_or_nothing=not skip_bad)
    found = answer_pictures(images, loaded.preparation, lambda pixels: _finite_rows(loaded.embed(pixels)), pace)
    if found.bad and not (skip_bad and found.answers):
        raise found.error("; nothing was written" + ("" if skip_bad else ", --skip-bad leaves out bad pictures"))
    rows = _stacked([row for _, row in found.answers])
    _write(output, _npy(rows))
    if session.json:
        skipped = [one.as_json() for one in found.bad]
        shape = {"output": str(output), "rows": len(rows), "dims": rows.shape[1], "backbone": loaded.space.backbone}
        print_json(shape | {"skipped": skipped})
    else:
        _name_bad(found.bad)
        embeddings = counted(len(rows), "embedding", "embeddings")
        out().print(f"{output}: {embeddings} of {rows.shape[1]} dims by {loaded.space.backbone}")


def classify(
    context: typer.Context,
    images: Pictures,
    backbone: BackboneName = DEFAULT_CLASSIFIER,
    weights: Weights = None,
    k: Annotated[int, typer.Option("-k", min=1, max=MAX_LABELS, help="How many labels for each picture.")] = 5,
    classes: Annotated[
        Path | None, typer.Option(help="Text file with the names of the classes, one a line.", metavar="FILE")
    ] = None,
    preprocess: Preprocess = None,
    image_size: ImageSizeOption = None,
    device: Device = "auto",
    batch_size: BatchSize = None,
    accept_license: Consent = None,
) -> None:
    """Name what pictures show, with probabilities; needs no store."""
    from api.picture_answers import Pace, answer_pictures
    from indexer.backbones.class_names import class_names, read_class_names
    from indexer.backbones.classification import classifier_engine, top_labels
    from indexer.devices import choose_device

    session: Session = context.obj
    require_pictures(images)
    loaded, preparation = _load(_request(backbone, weights, preprocess, image_size, device, accept_license), "classify")
    names = read_class_names(classes, loaded.classes) if classes is not None else class_names(loaded)
    engine = classifier_engine(loaded, preparation, choose_device(device))
    pace = Pace(batch_size or engine.batch_size, session.progress)
    found = answer_pictures(
        images, preparation, lambda pixels: [row or None for row in top_labels(engine.run(pixels), names, k)], pace
    )
    if not found.answers:
        raise found.error()
    if session.json:
        print_json(_labels_json(found))
    else:
        _print_labels(found.answers)
    _name_bad(found.bad)
    if found.bad:
        raise typer.Exit(LEDGER)


def feature_maps(
    context: typer.Context,
    image: Annotated[Path, typer.Argument(help="A picture.", metavar="IMAGE")],
    output: Annotated[
        Path, typer.Option("-o", "--output", help=".npz for the numbers, .png for a picture of them.", metavar="FILE")
    ],
    backbone: BackboneName = DEFAULT_CLASSIFIER,
    weights: Weights = None,
    preprocess: Preprocess = None,
    image_size: ImageSizeOption = None,
    device: Device = "auto",
    accept_license: Consent = None,
) -> None:
    """Write what a backbone sees in a picture, stage by stage; needs no store."""
    from api.picture_answers import decode_one
    from indexer.backbones.feature_maps import as_npz
    from indexer.backbones.feature_maps import feature_maps as maps_of
    from indexer.backbones.feature_pictures import as_png
    from indexer.devices import choose_device

    session: Session = context.obj
    require_pictures([image])
    kind = output.suffix.lower()
    if kind not in (".npz", ".png"):
        raise UsageError(f"{output}: feature maps are written as .npz (numbers) or .png (a picture); name one of them")
    _require_writable(output, [image, weights])
    loaded, preparation = _load(_request(backbone, weights, preprocess, image_size, device, accept_license), "features")
    pixels = decode_one(image, preparation)
    maps = maps_of(loaded, preparation, pixels, choose_device(device))
    shown = displayable(image)
    if kind == ".npz":
        facts = {"backbone": loaded.name, "licence": loaded.licence, "weights": loaded.weights}
        _write(output, as_npz(maps, pixels, facts | {"preparation": preparation.as_dict(), "image": shown}))
    else:
        _write(output, as_png(maps, pixels, f"{displayable(Path(image.name))} through {loaded.name}"))
    if session.json:
        levels = [one.shape.as_json() for one in maps]
        print_json({"output": str(output), "backbone": loaded.name, "levels": levels})
    else:
        _print_maps(output, loaded.name, maps)


def _request(
    backbone: str,
    weights: Path | None,
    preprocess: str | None,
    image_size: str | None,
    device: str,
    accept_license: str | None,
) -> ModelRequest:
    mode = mode_for(backbone, preprocess, "card")
    return ModelRequest(backbone, weights, mode, image_size_of(image_size), device, accept_license)


def _load_backbone(request: ModelRequest) -> "PreparedBackbone":
    from indexer.backbones.backbones import load_backbone
    from indexer.backbones.licences import licence_of, require_accepted

    require_accepted(licence_of(request.backbone), request.accept_license, request.backbone)
    return load_backbone(
        request.backbone, weights=request.weights, mode=request.mode, size=request.size, device=request.device
    )


def _load(request: ModelRequest, use: Literal["classify", "features"]) -> "tuple[LoadedNetwork, Preparation]":
    """Return a network with its weights, once its licence is settled, and how it sees pictures."""
    from indexer.backbones.builtin_facts import BUILTIN
    from indexer.backbones.feature_maps import map_shapes
    from indexer.backbones.licences import require_accepted
    from indexer.backbones.timm_models import load_network, model_card

    if request.backbone == BUILTIN:
        lack = "names no classes" if use == "classify" else "has no feature maps"
        raise UsageError(f"the built-in backbone {lack}: choose a timm model, such as --backbone {DEFAULT_CLASSIFIER}")
    card = model_card(request.backbone, request.mode, request.size)
    if use == "features":
        map_shapes(card.name, card.preparation)  # refuses before weights are fetched
    require_accepted(card.licence, request.accept_license, card.name)
    return load_network(card.name, request.weights, use=use, preparation=card.preparation), card.preparation


def _finite_rows(rows: "Embeddings") -> "list[Embeddings | None]":
    import numpy as np

    return [row if np.isfinite(row).all() else None for row in rows]


def _stacked(rows: "Sequence[Embeddings]") -> "Embeddings":
    import numpy as np

    return np.stack(rows).astype(np.float32, copy=False)


def _npy(rows: "Embeddings") -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.save(file, rows)
    return file.getvalue()


def _require_writable(output: Path, inputs: Sequence[Path | None]) -> None:
    """Find out before the work whether its result can be kept, and costs nothing that it is made of."""
    for given in inputs:
        if given is not None and output.exists() and given.exists() and output.samefile(given):
            raise UsageError(f"-o {output} would overwrite what it is made from; name another file")
    if output.is_dir():
        raise UsageError(f"{output} is a folder; name a file for -o")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"cannot write {output}: there is no folder {output.parent}; make it first")


def _write(output: Path, data: bytes) -> None:
    """Put a file in place whole, or leave what was there."""
    try:
        if output.exists() and not output.is_file():  # /dev/stdout and pipes
            output.write_bytes(data)
            return
        half = output.with_name(f".{output.name}.{os.getpid()}.part")
        try:
            half.write_bytes(data)
            half.replace(output)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error


def _name_bad(bad: "Sequence[BadPicture]") -> None:
    for one in bad:
        say(f"left out: {one}")


def _labels_json(found: "Answered[tuple[Label, ...]]") -> dict[str, object]:
    images = [
        {"path": displayable(path.absolute()), "labels": [label.as_json() for label in labels]}
        for path, labels in found.answers
    ]
    failed: dict[str, object] = {"failed": [one.as_json() for one in found.bad]} if found.bad else {}
    return {"images": images} | failed


def _print_labels(answers: "Sequence[tuple[Path, tuple[Label, ...]]]") -> None:
    for path, labels in answers:
        out().print(displayable(path))
        for label in labels:
            out().print(f"  {100 * label.probability:5.1f} %  {label.label}")


def _print_maps(output: Path, backbone: str, maps: "Sequence[FeatureMap]") -> None:
    rows = table("level", ">channels", ">size", ">lowest", ">highest", "taken after")
    for one in maps:
        shape = one.shape
        ends = (f"{one.values.min():.3g}", f"{one.values.max():.3g}")
        rows.add_row(shape.name, str(shape.channels), f"{shape.width}x{shape.height}", *ends, shape.module)
    print_table(rows)
    out().print(f"{output}: {counted(len(maps), 'feature map', 'feature maps')} by {backbone}")
