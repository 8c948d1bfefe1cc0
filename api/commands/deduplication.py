"""`dedup`."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from api.console import Session, counted, group_lines, out, print_json, print_table, say, size_text, table
from api.deduplicating import DedupOptions, Told, deduplicate, require_folders
from api.queries import ThresholdSource
from api.work_progress import work_progress
from api.workspace import Workspace
from search.calibration.calibration import AUTOMATIC
from search.duplicates.groups import REVIEW_MEMBERS
from search.duplicates.keeper_rules import RULES, KeeperRules, rules_named
from search.duplicates.report import DuplicateReport
from search.errors import UsageError
from search.folders import absolute
from search.plans.durations import seconds_of
from search.plans.plan import Plan, iso
from search.plans.plan_files import PlanFiles
from search.plans.planning import PlanOptions, write_plan

SHOWN_GROUPS = 1000
SHOWN_SIMILAR = 1000
MINUTE_S = 60


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(dedup)


def dedup(  # noqa: PLR0913, PLR0917 -- the options of a command
    context: typer.Context,
    precision: Annotated[
        float, typer.Option(help="Share of the near copies that are right; calibrates first where nobody has.")
    ] = AUTOMATIC,
    threshold: Annotated[
        float | None, typer.Option(min=-1, max=1, help="Least cosine of a near copy, instead of --precision.")
    ] = None,
    calibrate: Annotated[
        bool, typer.Option(help="Calibrate first where nobody has; else only sure pairs count.")
    ] = True,
    within: Annotated[Path | None, typer.Option(help="Only images below this folder.")] = None,
    between: Annotated[
        str | None, typer.Option(help="Only pairs with this other collection, which holds the keepers.")
    ] = None,
    protect: Annotated[list[Path] | None, typer.Option(help="Folder whose files are always kept; repeatable.")] = None,
    prefer: Annotated[
        list[Path] | None, typer.Option(help="Folder whose files are kept before others; repeatable, best first.")
    ] = None,
    keep: Annotated[str, typer.Option(help="Keeper rules, most important first.")] = ",".join(RULES),
    expires: Annotated[str, typer.Option(help="How long the plan may be applied: 12h, 30d or 2w.")] = "30d",
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", help="Folder for a page, CSV, JSON and Parquet of all groups.", metavar="DIR"),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the report that is in -o DIR.")] = False,
) -> None:
    """Report exact and near copies as groups around the image to keep, and write a plan for `apply`. Moves nothing."""
    session: Session = context.obj
    if session.remote is not None:
        return _remotely(context, session)
    for name, named in (("--within", [within] if within else []), ("--protect", protect), ("--prefer", prefer)):
        require_folders(name, named or [])
    _require_free(output, overwrite=overwrite)
    folders = KeeperRules(rules_named(keep.split(",")), _absolute(protect), _absolute(prefer))
    place = None if within is None else _absolute([within])[0]
    options = DedupOptions(threshold, precision, calibrate, folders, place, between)
    planned = _plan_options(expires, folders.protected)
    with Workspace(session.store) as workspace:
        target = workspace.collection(session.collection)
        # Before anything that takes long: a name that is mistyped is said at once.
        other = None if between is None else workspace.collection(between)
        found = deduplicate(workspace, target, options, _told(session))
        plan = None
        if found.report.groups:
            planned = replace(planned, keepers_in=other)
            plan = write_plan(workspace.store, target, found.report, found.source, planned)
        page = None if output is None else _write(session, workspace, found.report, found.source, output)
    if session.json:
        shape = report_json(found.report, found.source) | {"between": between, "notes": list(found.notes)}
        shape |= {"plan": None if plan is None else plan.id, "plan_path": _plan_path(session, plan)}
        print_json(shape if page is None else shape | {"report": str(page)})
        return None
    for note in found.notes:
        say(note)
    _print_report(found.report, found.source)
    if page is not None:
        out().print(f"the report is {page}")
    if plan is not None:
        out().print(f"plan {plan.id}, until {iso(plan.expires_at)}: {_plan_path(session, plan)}")
        out().print(f"next: {session.call} apply {plan.id} --dry-run")
    return None


def _remotely(context: typer.Context, session: Session) -> None:
    """Let a server look for duplicates; folders are those of its machine."""
    from api.remote.connecting import connected, given_options
    from api.remote.deduplicating import found_groups, report_shape
    from api.remote.waiting import waited_for

    options = ("precision", "threshold", "calibrate", "within", "between", "protect", "prefer", "keep", "expires")
    given = given_options(context, *options)
    for name in ("protect", "prefer"):
        if name in given:
            given[name] = [str(folder) for folder in given[name]]
    if "within" in given:
        given["within"] = str(given["within"])
    if "keep" in given:
        given["keep"] = given["keep"].split(",")
    with connected(session) as client:
        job = waited_for(session, client.dedup(**given))
        groups = found_groups(client)
    shape = report_shape(job, groups, SHOWN_GROUPS)
    if session.json:
        print_json(shape)
        return
    for note in shape["notes"]:
        say(note)
    report = DuplicateReport(shape["images"], shape["threshold"], tuple(group for _, group in groups))
    _print_report(report, shape["threshold_source"])
    if shape["plan"] is not None:
        out().print(f"plan {shape['plan']} is on the server")
        out().print(f"next: {session.call} apply {shape['plan']} --dry-run")


def _plan_options(expires: str, protected: Sequence[Path]) -> PlanOptions:
    return PlanOptions(seconds_of(expires, "--expires"), protected)


def _plan_path(session: Session, plan: Plan | None) -> str | None:
    return None if plan is None else str(PlanFiles(session.store).path(plan.id))


def _write(
    session: Session, workspace: Workspace, report: DuplicateReport, source: ThresholdSource, folder: Path
) -> Path:
    from api.duplicate_report.pictures import StoredGroupPictures
    from api.duplicate_report.writing import write_report

    pictures = StoredGroupPictures(workspace.accurate_searches().stored)
    with work_progress(session.progress, "shown", "groups") as advance:
        return write_report(report, session.collection, source, pictures, folder.absolute(), advance)


def report_json(report: DuplicateReport, source: ThresholdSource) -> dict[str, object]:
    """Return the object of `dedup`; source: "none" where scores alone do not count."""
    return {
        "plan": None,
        "threshold": report.threshold,
        "threshold_source": source,
        "pair_recall": report.pair_recall,
        "looked_from": report.floor,
        "pairs_looked_at": report.looked_at,
        "pairs_known": report.known,
        "images": report.images,
        "groups_total": len(report.groups),
        "groups_for_review": sum(group.review for group in report.groups),
        "bytes_reclaimable": report.bytes_reclaimable,
        "truncated": len(report.groups) > SHOWN_GROUPS,
        "groups": [group.as_json() for group in report.groups[:SHOWN_GROUPS]],
        "similar_total": len(report.similar),
        "similar": [shots.as_json() for shots in report.similar[:SHOWN_SIMILAR]],
    }


def _require_free(output: Path | None, *, overwrite: bool) -> None:
    """Refuse before anything is compared, which may take long."""
    if output is None and overwrite:
        raise UsageError("--overwrite replaces the report in -o DIR, and there is no -o")
    if output is not None and not overwrite:
        from api.duplicate_report.writing import require_free

        require_free(output)


def _absolute(folders: list[Path] | None) -> tuple[Path, ...]:
    return tuple(absolute(folder) for folder in folders or ())


def _told(session: Session) -> Told:
    def say_to_people(text: str) -> None:
        if session.progress in ("auto", "plain"):
            say(text)

    def estimated(seconds: float) -> None:
        say_to_people(f"calibrating takes about {counted(round(seconds / MINUTE_S) or 1, 'minute', 'minutes')}")

    return Told(partial(work_progress, session.progress), say_to_people, estimated)


def _print_report(report: DuplicateReport, source: ThresholdSource) -> None:
    console = out()
    rule = f"near copies from a score of {report.threshold:.2f}"
    if source == "none":
        rule = f"near copies are what the pixels show of pairs from a score of {report.threshold:.2f}"
    if not report.groups:
        console.print(f"no duplicates among {counted(report.images, 'image', 'images')} ({rule})")
    else:
        _print_groups(report, rule)
    if report.known:
        new = counted(report.looked_at, "new pair was", "new pairs were")
        console.print(f"{new} looked at, {report.known} known from earlier runs")
    if report.similar:
        shots = sum(len(one.images) for one in report.similar)
        console.print(
            f"{counted(len(report.similar), 'set', 'sets')} of similar shots ({shots} images: bursts, other shots of a "
            "scene, RAW and JPEG) are no duplicates; --json lists them"
        )


def _print_groups(report: DuplicateReport, rule: str) -> None:
    console = out()
    rows = table(">group", ">score", "kind", "size", "image")
    for number, group in enumerate(report.groups[:SHOWN_GROUPS], start=1):
        for row in group_lines(number, group):
            rows.add_row(*row)
    print_table(rows)
    copies = sum(len(group.members) for group in report.groups)
    found = f"{counted(len(report.groups), 'group', 'groups')} with {counted(copies, 'copy', 'copies')}"
    among = f"({size_text(report.bytes_reclaimable)}) among {counted(report.images, 'image', 'images')}"
    console.print(f"\n{found} {among}; {rule}. Nothing was changed.")
    large = sum(group.review for group in report.groups)
    if large:
        console.print(f"{counted(large, 'group has', 'groups have')} more than {REVIEW_MEMBERS} copies: look at them")
    if len(report.groups) > SHOWN_GROUPS:
        console.print(f"the first {SHOWN_GROUPS} groups are shown")
