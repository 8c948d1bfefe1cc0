"""`verdicts`: what people say about pairs."""

import csv
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from api.console import Session, counted, out, print_json, print_table, table
from api.saying import say, with_first
from search.errors import GuardRefused, UsageError
from search.records import SAID
from search.storing.store import Store
from search.storing.verdicts import Verdict, Verdicts, content_name, verdict_on, word_named

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
    """Take pictures out of the group of the first: none is a duplicate of it; of the same bytes: all are kept."""
    _here_alone(context.obj, "split")
    _say(context.obj, with_first(pictures), "not_duplicate", of_itself="keep_both")


def _say(session: Session, pairs: list[tuple[str, str]], word: str, *, of_itself: str | None = None) -> None:
    if session.remote is not None:
        return _say_remotely(session, pairs, word)
    with Store(session.store) as store:
        target = store.catalogue.collection(session.collection)
        said = say(store, target, [(one, other, word) for one, other in pairs], of_itself=of_itself)
    if session.json:
        print_json({"items": [one.as_json() for one in said]})
        return None
    words = ", ".join(sorted({one.said for one in said}))
    out().print(f"{counted(len(said), 'verdict', 'verdicts')} written down: {words}")
    if any(one.keeps_all for one in said):
        out().print("every file with the bytes of such a picture is kept from now on, until duplicate is said of it")
    return None


def _say_remotely(session: Session, pairs: list[tuple[str, str]], word: str) -> None:
    from api.remote.connecting import connected

    chosen = word_named(word)
    with connected(session) as client:
        said = client.say_all([(one, other, chosen) for one, other in pairs]).items
    if session.json:
        print_json({"items": [one.model_dump() for one in said]})
    else:
        words = ", ".join(sorted({one.verdict for one in said}))
        out().print(f"{counted(len(said), 'verdict', 'verdicts')} written down: {words}")


def _here_alone(session: Session, command: str) -> None:
    """Raises:
    UsageError: a server is asked for what it does not do.
    """
    if session.remote is not None:
        raise UsageError(f"`verdicts {command}` works on a store: run it without --remote on the store's machine")


def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help=f"CSV with the columns first, second, verdict ({', '.join(SAID)}).")],
) -> None:
    """Take over verdicts: two sha256 and what they are, a line each; the last on a pair counts."""
    session: Session = context.obj
    _here_alone(session, "import")
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
    _here_alone(session, "export")
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
    items: list[dict[str, object]]
    if session.remote is not None:
        from api.remote.connecting import connected

        with connected(session) as client:
            items = [one.model_dump() for one in client.verdicts(page_size=1000)]
    else:
        with Store(session.store) as store:
            items = [one.as_json() for one in Verdicts(store.database).all()]
    if session.json:
        print_json({"items": items})
        return
    rows = table("verdict", "first", "second")
    for one in items:
        rows.add_row(str(one["verdict"]), str(one["first"]), str(one["second"]))
    if items:
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
    """Return the verdict of a line.

    Raises:
        UsageError: naming the line, and the column whose value is wrong.
    """
    checks: dict[str, Callable[[str], object]] = {
        "first": content_name,
        "second": content_name,
        "verdict": word_named,
        "made_at": moment_of,
    }
    for column, check in checks.items():
        try:
            check(row.get(column) or "")
        except UsageError as error:
            raise UsageError(f"{file}, line {line}, column {column}: {error}") from error
    try:
        made_at = moment_of(row.get("made_at") or "")
        return verdict_on(row["first"] or "", row["second"] or "", row["verdict"] or "", made_at)
    except UsageError as error:  # each column is right by itself
        raise UsageError(f"{file}, line {line}: {error}") from error


def moment_of(text: str) -> float | None:
    """Return a moment in seconds since 1970, None where nobody says. Without a time zone it is in UTC.

    Raises:
        UsageError: it is none.
    """
    said = text.strip()
    if not said:
        return None
    try:
        moment = datetime.fromtimestamp(float(said), UTC)  # as earlier releases and the page of a report write it
    except (ValueError, OverflowError, OSError):
        try:
            moment = datetime.fromisoformat(said)
        except ValueError as error:
            raise UsageError(
                f"{text!r} is no moment; write it like 2026-11-23T07:00:00Z, in seconds since 1970, or leave it empty"
            ) from error
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
