"""`calibrate`, `verdicts`: what scores mean, and what people say about pairs."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from api.console import Session, counted, out, print_json, print_table, table
from api.work_progress import work_progress
from api.workspace import Workspace
from search.calibration.calibration import AUTOMATIC, PREVALENCE, REVIEW, SAMPLES, Calibration, Operating
from search.errors import UsageError
from search.storing.store import Store
from search.storing.verdicts import Verdict, Verdicts, verdict_on

COLUMNS = ("first", "second", "verdict", "made_at")
MINUTE_S = 60

verdicts = typer.Typer(help="What people say about two pictures; `calibrate` believes them.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(calibrate)
    for command in (import_, export, list_):
        verdicts.command(command.__name__.rstrip("_"))(command)
    app.add_typer(verdicts, name="verdicts")


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
        with (
            work_progress(session.progress, "asked for, and in edited copies", "images") as asking,
            work_progress(session.progress, "compared by their pixels", "pairs") as comparing,
        ):
            found = calibrated(workspace, target, request, Told(asking, comparing, _estimated(session)))
    if session.json:
        print_json({"collection": session.collection, **found.as_json()})
    else:
        _print(session.collection, found)


def _estimated(session: Session) -> Callable[[float], None]:
    def tell(seconds: float) -> None:
        session.tell(f"this takes about {counted(round(seconds / MINUTE_S) or 1, 'minute', 'minutes')}")

    return tell


def _print(name: str, found: Calibration) -> None:
    counts = found.evidence
    out().print(
        f"{name}: {counts['copies']:,} edited copies of {counts['images']:,} images; of the pairs found "
        f"{counts['right']:,} are the same picture, {counts['wrong']:,} are not, {counts['left_out']:,} nobody can tell"
    )
    for what, point in (("automatic", found.automatic), ("review", found.review)):
        out().print(f"  {what:<9}  {point.explanation}{_more(point)}")
    if found.verified is not None:
        out().print(f"  verified   {verified_sentence(found.verified)}")
    if found.automatic.score is None:
        out().print(
            "more --samples, a larger collection whose files can be read, or verdicts (`lookalike verdicts`) would help"
        )


def verified_sentence(share: float) -> str:
    """Return in a sentence what a `yes` of accurate searches is worth here. share: the lower bound of its precision."""
    shown = f"of the matches that --accurate verifies, {100 * share:.1f} % or more are the same picture"
    if share >= REVIEW:
        return f"{shown}; they get that probability"
    return f"{shown}, as far as these images show; too little to give them a probability ({100 * REVIEW:g} %)"


def _more(point: Operating) -> str:
    if point.score is None:
        return ""
    found = ", ".join(f"{100 * share:.0f} % of {stratum}" for stratum, share in point.recall.items())
    return f"; finds {found} edits"


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="CSV with the columns first, second, verdict (same or different).")],
) -> None:
    """Take over verdicts: two sha256 and what they are, a line each; the last on a pair counts."""
    session: Session = context.obj
    said = _read(file)
    with Store(session.store) as store:
        taken = Verdicts(store.database).say(said)
    if session.json:
        print_json({"imported": taken})
    else:
        out().print(f"{counted(taken, 'verdict', 'verdicts')} taken over; `lookalike calibrate` makes use of them")


def export(context: typer.Context, file: Annotated[Path, typer.Argument(help="The CSV to write.")]) -> None:
    """Write all verdicts as CSV."""
    session: Session = context.obj
    with Store(session.store) as store:
        said = Verdicts(store.database).all()
    try:
        with file.open("w", newline="", encoding="utf-8") as opened:
            rows = csv.DictWriter(opened, COLUMNS)
            rows.writeheader()
            rows.writerows(one.as_json() for one in said)
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}; name another file") from error
    if session.json:
        print_json({"exported": len(said), "file": str(file)})
    else:
        out().print(f"{counted(len(said), 'verdict', 'verdicts')} written to {file}")


def list_(context: typer.Context) -> None:
    """Show all verdicts."""
    session: Session = context.obj
    with Store(session.store) as store:
        said = Verdicts(store.database).all()
    if session.json:
        print_json({"items": [one.as_json() for one in said]})
        return
    rows = table("verdict", "first", "second")
    for one in said:
        rows.add_row(one.said, one.first.hex(), one.second.hex())
    if said:
        print_table(rows)
    else:
        out().print("no verdicts")


def _read(file: Path) -> list[Verdict]:
    """Return the verdicts in a CSV.

    Raises:
        UsageError: it cannot be read, lacks a column, or a line is no verdict.
    """
    try:
        with file.open(newline="", encoding="utf-8") as opened:
            rows = csv.DictReader(opened)
            missing = {"first", "second", "verdict"} - set(rows.fieldnames or ())
            if missing:
                raise UsageError(f"{file} has no column {', '.join(sorted(missing))}")
            return [_verdict(file, rows.line_num, row) for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"cannot read {file}: {error}") from error


def _verdict(file: Path, line: int, row: dict[str, str | None]) -> Verdict:
    made_at = row.get("made_at")
    try:
        moment = float(made_at) if made_at else None
        return verdict_on(row["first"] or "", row["second"] or "", row["verdict"] or "", moment)
    except (UsageError, ValueError) as error:
        raise UsageError(f"{file}, line {line}: {error}") from error
