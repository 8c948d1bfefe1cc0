"""`verdicts`: what people say about pairs."""

import csv
import os
from pathlib import Path
from typing import Annotated

import typer

from api.console import Session, counted, out, print_json, print_table, table
from api.saying import say, with_first
from search.errors import GuardRefused, UsageError
from search.storing.store import Store
from search.storing.verdicts import SAID, Verdict, Verdicts, verdict_on

COLUMNS = ("first", "second", "verdict", "made_at")

verdicts = typer.Typer(
    help="What people say about two pictures; `dedup` and `calibrate` believe them.", no_args_is_help=True
)

Named = Annotated[list[str], typer.Argument(help="The keeper, then the others: path, key, id or sha256.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (say_, merge, split, import_, export, list_):
        verdicts.command(command.__name__.rstrip("_"))(command)
    app.add_typer(verdicts, name="verdicts")


def say_(
    context: typer.Context,
    one: Annotated[str, typer.Argument(help="A picture: path, key, id or sha256.")],
    other: Annotated[str, typer.Argument(help="Another one.")],
    verdict: Annotated[str, typer.Argument(help=f"One of {', '.join(SAID)}.")],
) -> None:
    """Say what two pictures are to each other; the last word on a pair counts."""
    _say(context.obj, [(one, other)], verdict)


def merge(context: typer.Context, pictures: Named) -> None:
    """Put pictures into one group of duplicates: each is a duplicate of the first."""
    _say(context.obj, with_first(pictures), "duplicate")


def split(context: typer.Context, pictures: Named) -> None:
    """Take pictures out of the group of the first: none of them is a duplicate of it."""
    _say(context.obj, with_first(pictures), "not_duplicate")


def _say(session: Session, pairs: list[tuple[str, str]], word: str) -> None:
    with Store(session.store) as store:
        target = store.catalogue.collection(session.collection)
        said = say(store, target, [(one, other, word) for one, other in pairs])
    if session.json:
        print_json({"items": [one.as_json() for one in said]})
    else:
        out().print(f"{counted(len(said), 'verdict', 'verdicts')} written down: {said[0].said}")


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help=f"CSV with the columns first, second, verdict ({', '.join(SAID)}).")],
) -> None:
    """Take over verdicts: two sha256 and what they are, a line each; the last on a pair counts."""
    session: Session = context.obj
    said = _read(file)
    with Store(session.store) as store:
        taken = Verdicts(store.database).say(said)
    if session.json:
        print_json({"imported": taken})
    else:
        out().print(f"{counted(taken, 'verdict', 'verdicts')} taken over; `dedup` and `calibrate` make use of them")


def export(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="The CSV to write.")],
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file where it is there.")] = False,
) -> None:
    """Write all verdicts as CSV."""
    session: Session = context.obj
    if file.exists() and not force:
        raise GuardRefused(f"{file} is there already; name another file, or overwrite it with --force")
    with Store(session.store) as store:
        said = Verdicts(store.database).all()
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    try:
        with partial.open("w", newline="", encoding="utf-8") as opened:
            rows = csv.DictWriter(opened, COLUMNS)
            rows.writeheader()
            rows.writerows(one.as_json() for one in said)
        partial.replace(file)
    except OSError as error:
        partial.unlink(missing_ok=True)
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
        with file.open(newline="", encoding="utf-8-sig") as opened:
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
