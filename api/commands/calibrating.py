"""`calibrate`: what scores mean."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from api.console import Session, counted, out, print_json
from api.work_progress import work_progress
from api.workspace import Workspace
from search.calibration.calibration import AUTOMATIC, PREVALENCE, REVIEW, SAMPLES, Calibration, Operating

MINUTE_S = 60
FEWEST_IMAGES = 55  # without a mistake, so many show REVIEW at a prevalence of one half


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(calibrate)


def calibrate(
    context: typer.Context,
    samples: Annotated[int, typer.Option(min=1, help="Images of the collection to make edited copies of.")] = SAMPLES,
    seed: Annotated[int, typer.Option(min=0, help="Of the sample and the edits.")] = 0,
    precision: Annotated[float, typer.Option(help="Of the automatic threshold, 0.90 to less than 1.")] = AUTOMATIC,
    prevalence: Annotated[
        float, typer.Option(help="Share of the queries whose picture is in the collection.")
    ] = PREVALENCE,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    weights: Annotated[Path | None, typer.Option(help="Where the backbone's weights file is now.")] = None,
) -> None:
    """Find out what scores mean in this collection, with edited copies of its own images."""
    from api.calibrating import CalibrationRequest, Told
    from api.calibrating import calibrate as calibrated

    session: Session = context.obj
    request = CalibrationRequest(samples, seed, precision, prevalence)
    with Workspace(session.store, device=device, weights=weights) as workspace:
        target = workspace.collection(session.collection)
        before = workspace.calibration(workspace.snapshot(target))
        with (
            work_progress(session.progress, "asked for, and in edited copies", "images") as asking,
            work_progress(session.progress, "compared by their pixels", "pairs") as comparing,
        ):
            found = calibrated(workspace, target, request, Told(asking, comparing, _estimated(session)))
    replaced = before if before is not None and found.is_less_than(before) else None
    if session.json:
        lost = None if replaced is None else _as_json(replaced)
        print_json({"collection": session.collection, **found.as_json(), "replaced": lost})
        return
    _print(session.collection, found)
    if replaced is not None:
        out().print(_replaced_sentence(replaced))


def _estimated(session: Session) -> Callable[[float], None]:
    def tell(seconds: float) -> None:
        session.tell(f"this takes about {counted(round(seconds / MINUTE_S) or 1, 'minute', 'minutes')}")

    return tell


def _print(name: str, found: Calibration) -> None:
    counts = found.evidence
    copies = counted(counts["copies"], "edited copy", "edited copies")
    out().print(
        f"{name}: {copies} of {counted(counts['images'], 'image', 'images')}; of the pairs found "
        f"{counts['right']:,} are the same picture, {counts['wrong']:,} are not, {counts['left_out']:,} nobody can tell"
    )
    for what, point in (("automatic", found.automatic), ("review", found.review)):
        out().print(f"  {what:<9}  {point.explanation}{_more(point)}")
    if found.verified is not None:
        out().print(f"  verified   {verified_sentence(found.verified, found.sampled, counts['verified_mistakes'])}")
    if found.automatic.score is None:
        out().print(
            "more --samples, a larger collection whose files can be read, or verdicts (`lookalike verdicts`) would help"
        )


def verified_sentence(share: float, images: int, mistakes: int) -> str:
    """Return in a sentence what a `yes` of accurate searches is worth here.

    share: the lower bound of its precision. images: of so many, with so many mistakes.
    """
    shown = f"of the matches that --accurate verifies, {100 * share:.1f} % or more are the same picture"
    if share >= REVIEW:
        return f"{shown}; they get that probability"
    if not mistakes and images < FEWEST_IMAGES:
        return f"too few images ({images}) to say what a match is worth that --accurate verifies; no mistake was seen"
    return f"{shown}, as far as these images show; too little to give them a probability ({100 * REVIEW:g} %)"


def _replaced_sentence(before: Calibration) -> str:
    """Return in a sentence which calibration counts no more, and how to get its evidence again."""
    images, again = counted(before.sampled, "image", "images"), f"--samples {before.samples}"
    return (
        f"this replaces the calibration of {before.date[:10]} with more evidence ({images}): "
        f"`lookalike calibrate {again}` looks for it again"
    )


def _as_json(before: Calibration) -> dict[str, object]:
    return {
        "made_at": before.date,
        "samples": before.samples,
        "seed": before.seed,
        "images": before.sampled,
        "automatic": before.automatic.score,
        "review": before.review.score,
    }


def _more(point: Operating) -> str:
    if point.score is None:
        return ""
    found = ", ".join(f"{100 * share:.0f} % of {stratum}" for stratum, share in point.recall.items())
    return f"; finds {found} edits"
