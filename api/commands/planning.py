"""`apply`, `undo` and `purge`: acting on what `dedup` planned, and taking it back."""

import sys
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Final, cast

import typer

from api.acting import acting_on, undo_named
from api.console import Session, counted, out, print_json, say, size_text
from api.exits import ELSE, LEDGER
from api.plan_texts import SHARED, apply_lines, left_lines, purge_lines, shown, undo_lines
from api.work_progress import work_progress
from search.errors import GuardRefused, UsageError
from search.plans.apply_plan import ApplyJob, require_valid
from search.plans.choosing import Choice, Wanted, choose
from search.plans.durations import days_text, seconds_of
from search.plans.history import ACTIONS, Action, History
from search.plans.plan import Plan
from search.plans.plan_files import PlanFiles
from search.plans.purge_quarantine import old_files, purge
from search.storing.store import Store
from search.storing.verdicts import Verdicts, opinions

LIST: Final = "list"
# From more files on, a person types how many there are instead of y.
TYPED_FROM: Final = 100
LARGEST: Final = 3

PlanName = Annotated[str, typer.Argument(metavar="PLAN", help="Id of a plan, or the path of its file.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check every file, tell what would be done, change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask, however many files they are.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("apply")(apply)
    app.command("undo")(undo_plan)
    app.command("purge")(purge_old)


def apply(
    context: typer.Context,
    plan: PlanName,
    action: Annotated[str, typer.Option(help="quarantine, hardlink, reflink or list.")] = "quarantine",
    include: Annotated[str | None, typer.Option(help="near: also what nobody confirmed, and large groups.")] = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    max_fraction: Annotated[
        float | None, typer.Option(help="Share of an indexed folder's images that may go at once, 0 to 1.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", "-o", help="Where `list` writes keep.parquet and drop.parquet.")
    ] = None,
) -> None:
    """Move the copies of a plan into a quarantine, or link them to what is kept. Deletes nothing; `undo` reverts it."""
    session: Session = context.obj
    if include not in (None, "near"):
        raise UsageError(f"--include {include!r} is not near, the one thing there is to include")
    if action not in (*ACTIONS, LIST):
        raise UsageError(f"--action {action!r} is not one of {', '.join(ACTIONS)}, {LIST}")
    wanted = Wanted(None if action == LIST else cast(Action, action), include == "near", max_fraction)
    if session.remote is not None:
        return _apply_remotely(context, session, plan, wanted, dry_run=dry_run, yes=yes)
    if (folder is not None) != (action == LIST):
        raise UsageError("--action list and -o FOLDER belong together: the lists are written there")
    with Store(session.store) as store:
        found = PlanFiles(store.root).load(plan)
        if folder is not None:
            _list(session, store, found, wanted, folder, dry_run=dry_run)
        else:
            _apply(session, store, found, wanted, dry_run=dry_run, yes=yes)
    return None


def _apply(session: Session, store: Store, plan: Plan, wanted: Wanted, *, dry_run: bool, yes: bool) -> None:
    with acting_on(PlanFiles(store.root)):
        job = ApplyJob(store, plan, wanted)
        if job.choice.files and not dry_run:
            _ask_to_apply(session, job.choice, wanted, yes=yes)
        with work_progress(session.progress, "checked", "bytes") as progress:
            report = job.run(dry_run=dry_run, progress=progress)
    _tell(session, report.as_json(), apply_lines(report, session.call), report.stopped, report.skipped)


def _apply_remotely(
    context: typer.Context, session: Session, plan: str, wanted: Wanted, *, dry_run: bool, yes: bool
) -> None:
    from api.remote.acting import apply_there, listed_there
    from api.remote.connecting import connected, require_only

    require_only(context, "plan", "action", "include", "dry_run", "yes", "max_fraction")
    with connected(session) as client:
        if wanted.action is None:
            told = listed_there(session, client, plan, wanted)
            lines = [f"group {one['group']}: {one['key']} would go, image {one['keep']} stays" for one in told["drop"]]
            total = f"{counted(told['files'], 'copy', 'copies')} would go; no file was touched"
            return _tell(session, told, [*lines, total, *left_lines(told["left"])])
        ask = None if yes else partial(_ask, session, yes=False)
        report = apply_there(session, client, plan, wanted, dry_run=dry_run, ask=ask)
    return _tell(session, report.as_json(), apply_lines(report, session.call), report.stopped, report.skipped)


def _list(session: Session, store: Store, plan: Plan, wanted: Wanted, folder: Path, *, dry_run: bool) -> None:
    from search.plans.keep_lists import free_places, write_lists

    require_valid(store, plan)
    choice = choose(plan, History(), wanted, opinions(Verdicts(store.database).all()))
    keep, drop = free_places(folder) if dry_run else write_lists(plan, choice, folder)
    if session.json:
        shape = {"plan": plan.id, "action": LIST, "dry_run": dry_run, "groups": choice.groups, "files": choice.files}
        print_json(
            shape | {"bytes": choice.size_bytes, "left": dict(choice.left), "keep": str(keep), "drop": str(drop)}
        )
        return
    kept, dropped = counted(len(choice.chosen), "image", "images"), counted(choice.files, "copy", "copies")
    told = "nothing was written" if dry_run else "no file was touched"
    _print([f"{kept} to keep in {keep}, {dropped} to drop in {drop}; {told}", *left_lines(choice.left)])


def undo_plan(context: typer.Context, plan: PlanName, dry_run: DryRun = False) -> None:
    """Bring back what was moved by a plan, to its place, with its mode and times. Never overwrites, never expires."""
    session: Session = context.obj
    if session.remote is not None:
        from api.remote.acting import undo_there
        from api.remote.connecting import connected, require_only

        require_only(context, "plan", "dry_run")
        with connected(session) as client:
            report = undo_there(session, client, plan, dry_run=dry_run)
    else:
        with Store(session.store) as store:
            report = undo_named(store, plan, session.progress, dry_run=dry_run)
    _tell(session, report.as_json(), undo_lines(report), report.stopped, report.skipped)


def purge_old(
    context: typer.Context,
    plan: Annotated[str | None, typer.Argument(metavar="[PLAN]", help="Only what this plan has moved.")] = None,
    older_than: Annotated[str, typer.Option(help="How long ago it was moved: 12h, 30d or 2w.")] = "30d",
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Delete for good what has been in quarantine for long, if what is kept for it is still what it was."""
    session: Session = context.obj
    age_s = seconds_of(older_than, "--older-than", least_s=0)
    if session.remote is not None:
        from api.remote.acting import purge_there
        from api.remote.connecting import connected, require_only

        require_only(context, "plan", "older_than", "dry_run", "yes")
        with connected(session) as client:
            ask = None if yes else partial(_ask, session, yes=False)
            report = purge_there(session, client, plan, older_than, dry_run=dry_run, ask=ask)
        return _tell(session, report.as_json(), purge_lines(report, age_s), report.stopped, report.kept)
    with Store(session.store) as store:
        files = PlanFiles(store.root)
        ids = None if plan is None else [files.id_of(plan)]
        with acting_on(files):
            old = old_files(store, ids, age_s)
            number, size = sum(len(one.files) for one in old), sum(one.size_bytes for one in old)
            if number and not dry_run:
                what = f"delete {counted(number, 'file', 'files')} ({size_text(size)}) for good"
                _ask(
                    session,
                    f"{what}, moved more than {days_text(age_s)} ago; nothing brings them back",
                    number,
                    yes=yes,
                )
            with work_progress(session.progress, "checked", "bytes") as progress:
                report = purge(store, ids, age_s, dry_run=dry_run, progress=progress)
    return _tell(session, report.as_json(), purge_lines(report, age_s), report.stopped, report.kept)


def _ask_to_apply(session: Session, choice: Choice, wanted: Wanted, *, yes: bool) -> None:
    files, groups = counted(choice.files, "copy", "copies"), counted(choice.groups, "group", "groups")
    verb = "move" if wanted.action == "quarantine" else f"replace by {wanted.action}s"
    if not yes and not session.json and sys.stdin.isatty():
        for one in choice.largest(LARGEST):
            say(f"  {counted(len(one.members), 'copy', 'copies')} of {shown(one.group.keeper.path)}")
    tail = "; `lookalike undo` brings them back" if wanted.action == "quarantine" else ""
    if wanted.action == "hardlink":
        tail = f": {SHARED}"
    _ask(session, f"{verb} {files} of {groups} ({size_text(choice.size_bytes)}){tail}", choice.files, yes=yes)


def _ask(session: Session, what: str, files: int, *, yes: bool) -> None:
    """Raises:
    GuardRefused: the answer is no, or there is nobody to ask.
    """
    if yes or not files:
        return
    if session.json or not sys.stdin.isatty():
        raise GuardRefused(f"this would {what}; add --yes to do it, or --dry-run to see what would happen")
    wanted = str(files) if files > TYPED_FROM else "y"
    say(f"{what}?" + (f" Type {wanted} to go on." if files > TYPED_FROM else " [y/N]"))
    answer = sys.stdin.readline().strip().lower()
    if answer not in ({wanted} if files > TYPED_FROM else {"y", "yes"}):
        raise GuardRefused("nothing was changed")


def _tell(
    session: Session, shape: Mapping[str, object], lines: list[str], stopped: str | None = None, skipped: object = ()
) -> None:
    """Print what was done, and end with the exit code that it has. skipped: what was not done."""
    if session.json:
        print_json(shape)
    else:
        _print(lines)
    if stopped:
        say(f"lookalike: stopped at the first error: {stopped}")
        raise typer.Exit(ELSE)
    if skipped:
        raise typer.Exit(LEDGER)


def _print(lines: list[str]) -> None:
    for line in lines:
        out().print(line)
