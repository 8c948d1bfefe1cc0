"""`dedup`."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, TimeRemainingColumn

from api.console import Session, counted, group_lines, out, print_json, print_table, size_text, table
from api.queries import ThresholdSource
from api.workspace import Workspace
from search.duplicates.find_duplicates import DuplicateReport
from search.index.pair_finder import Progress as DedupProgress
from search.plans.durations import seconds_of
from search.plans.plan import Plan, iso
from search.plans.plan_files import PlanFiles
from search.plans.planning import PlanOptions, write_plan

SHOWN_GROUPS = 1000


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(dedup)


def dedup(
    context: typer.Context,
    threshold: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help="Least cosine of a near copy; default: calibrated, else by backbone."),
    ] = None,
    expires: Annotated[str, typer.Option(help="How long the plan may be applied: 12h, 30d or 2w.")] = "30d",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for a page, CSV, JSON and Parquet of all groups.", metavar="DIR"),
    ] = None,
) -> None:
    """Report exact and near copies as groups around the image to keep, and write a plan for `apply`. Moves nothing."""
    session: Session = context.obj
    options = PlanOptions(seconds_of(expires, "--expires"))
    with Workspace(session.store) as workspace:
        target = workspace.collection(session.collection)
        chosen = workspace.dedup_threshold(target, threshold)
        with _bar(session) as progress:
            report = workspace.find_duplicates(target, chosen.score, progress)
        plan = write_plan(workspace.store, target, report, chosen.source, options) if report.groups else None
        page = None if output is None else _write(session, workspace, report, chosen.source, output)
    if session.json:
        place = None if plan is None else str(PlanFiles(session.store).path(plan.id))
        shape = report_json(report, chosen.source) | {"plan": None if plan is None else plan.id, "plan_path": place}
        print_json(shape if page is None else shape | {"report": str(page)})
        return
    _print_report(report)
    if page is not None:
        out().print(f"the report is {page}")
    if plan is not None:
        _print_plan(session, plan)


def _write(
    session: Session, workspace: Workspace, report: DuplicateReport, source: ThresholdSource, folder: Path
) -> Path:
    from api.duplicate_report.pictures import StoredGroupPictures
    from api.duplicate_report.writing import write_report
    from api.work_progress import work_progress

    pictures = StoredGroupPictures(workspace.accurate_searches().stored)
    with work_progress(session.progress, "shown", "groups") as advance:
        return write_report(report, session.collection, source, pictures, folder.absolute(), advance)


def report_json(report: DuplicateReport, source: ThresholdSource) -> dict[str, object]:
    """Return the object of `dedup`; source: "none" where nobody has calibrated or chosen."""
    return {
        "plan": None,
        "threshold": report.threshold,
        "threshold_source": source,
        "pair_recall": report.pair_recall,
        "images": report.images,
        "groups_total": len(report.groups),
        "bytes_reclaimable": report.bytes_reclaimable,
        "truncated": len(report.groups) > SHOWN_GROUPS,
        "groups": [group.as_json() for group in report.groups[:SHOWN_GROUPS]],
    }


def _print_plan(session: Session, plan: Plan) -> None:
    out().print(f"plan {plan.id}, until {iso(plan.expires_at)}: {PlanFiles(session.store).path(plan.id)}")
    out().print(f"next: lookalike apply {plan.id} --dry-run")


@contextmanager
def _bar(session: Session) -> Iterator[DedupProgress]:
    if session.progress != "auto" or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    columns = (*Progress.get_default_columns()[:-1], TimeRemainingColumn(elapsed_when_finished=True))
    with Progress(*columns, console=Console(stderr=True), transient=True, speed_estimate_period=120) as bar:
        task = bar.add_task("comparing", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print_report(report: DuplicateReport) -> None:
    console = out()
    if not report.groups:
        console.print(f"no duplicates among {report.images} images (near copies from {report.threshold:.2f})")
        return
    rows = table(">group", ">score", "size", "image")
    for number, group in enumerate(report.groups[:SHOWN_GROUPS], start=1):
        for row in group_lines(number, group):
            rows.add_row(*row)
    print_table(rows)
    copies = sum(len(group.members) for group in report.groups)
    found = f"{counted(len(report.groups), 'group', 'groups')} with {counted(copies, 'copy', 'copies')}"
    among = f"({size_text(report.bytes_reclaimable)}) among {counted(report.images, 'image', 'images')}"
    console.print(f"\n{found} {among}; near copies from a score of {report.threshold:.2f}. Nothing was changed.")
    if len(report.groups) > SHOWN_GROUPS:
        console.print(f"the first {SHOWN_GROUPS} groups are shown")
