"""`apply`, `undo` and `purge` of a server: jobs that are waited for, and their results as reports."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from api.client import Client, JobFailed, RunningJob
from api.console import Session, counted, size_text
from api.remote.waiting import waited_for
from api.shapes.jobs import Job
from search.errors import UsageError
from search.plans.apply_plan import ApplyReport, Skipped
from search.plans.choosing import Wanted
from search.plans.purge_quarantine import PurgeReport
from search.plans.undo_plan import NotRestored, UndoReport

PLAN = re.compile(r"\d{8}-[0-9a-f]{8}")
Result = dict[str, Any]
Ask = Callable[[str, int], None]  # what would be done, to how many files: raises GuardRefused where it may not be


def apply_there(
    session: Session, client: Client, plan: str, wanted: Wanted, *, dry_run: bool, ask: Ask | None
) -> ApplyReport:
    """Let a server do what a plan says; return what it did. ask: None does it without asking.

    Raises:
        UsageError: this is no id of a plan.
        GuardRefused: the answer was no.
        RemoteError: by name (api/client/errors.py).
    """
    named, action = plan_id(plan), wanted.action or "list"
    if ask is not None and not dry_run:
        would = client.plan_preview(named, action=action, near=wanted.near, max_fraction=wanted.max_fraction)
        if would.over is None:  # else the server refuses it, and says why
            verb = "move" if action == "quarantine" else f"replace by {action}s"
            files, groups = counted(would.files, "copy", "copies"), counted(would.groups, "group", "groups")
            tail = "; `undo` brings them back" if action == "quarantine" else ""
            ask(f"{verb} {files} of {groups} ({size_text(would.bytes)}){tail}", would.files)
    started = client.apply(named, action=action, near=wanted.near, max_fraction=wanted.max_fraction, dry_run=dry_run)
    return _applied(_result(session, started))


def listed_there(session: Session, client: Client, plan: str, wanted: Wanted) -> Result:
    """Return which copies of a plan would go, as the server tells it: the first 1,000 as `drop`.

    Raises:
        UsageError: this is no id of a plan.
        RemoteError: by name (api/client/errors.py).
    """
    job = client.apply(plan_id(plan), action="list", near=wanted.near, max_fraction=wanted.max_fraction)
    return _result(session, job)


def undo_there(session: Session, client: Client, plan: str, *, dry_run: bool) -> UndoReport:
    """Let a server bring back what was moved by a plan; return what it did.

    Raises:
        UsageError: this is no id of a plan.
        RemoteError: by name (api/client/errors.py).
    """
    told = _result(session, client.undo(plan_id(plan), dry_run=dry_run))
    names = ("plan", "dry_run", "files", "sidecars", "bytes", "purged", "recalled", "to_index", "stopped")
    return UndoReport(**{name: told[name] for name in names}, skipped=_kept(told["skipped"]))


def purge_there(
    session: Session, client: Client, plan: str | None, older_than: str, *, dry_run: bool, ask: Ask | None
) -> PurgeReport:
    """Let a server delete what a plan has moved long ago, or all plans of the collection; return what it did.

    ask: None does it without asking.

    Raises:
        UsageError: this is no id of a plan.
        GuardRefused: the answer was no.
        RemoteError: by name (api/client/errors.py).
    """
    plans = [one.id for one in client.plans() if one.quarantined] if plan is None else [plan_id(plan)]

    def act(*, dry: bool) -> PurgeReport:
        jobs = (client.purge(one, older_than=older_than, dry_run=dry) for one in plans)
        return _purged([_result(session, job) for job in jobs], dry_run=dry)

    if ask is not None and not dry_run:
        would = act(dry=True)
        size = size_text(would.bytes)
        ask(
            f"delete {counted(would.files, 'file', 'files')} ({size}) for good, moved more than {older_than} ago; "
            "nothing brings them back",
            would.files,
        )
    return act(dry=dry_run)


def plan_id(plan: str) -> str:
    """Return the id of a plan.

    Raises:
        UsageError: it is something else, such as the path of a file of this machine.
    """
    if PLAN.fullmatch(plan) is None:
        raise UsageError(
            f"{plan!r} is no id of a plan; with --remote give one that `dedup` has named, such as 20261123-0a1b2c3d"
        )
    return plan


def _result(session: Session, job: RunningJob) -> Result:
    """Return what a job did; also where a disk ended it on the way.

    Raises:
        RemoteError: it did nothing, and its problem says why.
    """
    try:
        done: Job = waited_for(session, job)
    except JobFailed as failed:
        if failed.kind != "Stopped" or failed.job.result is None:
            raise
        done = failed.job
    return dict(done.result or {})


def _applied(told: Mapping[str, Any]) -> ApplyReport:
    names = ("plan", "action", "dry_run", "left", "files", "sidecars", "bytes", "forgotten", "notes", "stopped")
    skipped = [Skipped(one["group"], Path(one["path"]), one["reason"]) for one in told["skipped"]]
    return ApplyReport(
        **{name: told[name] for name in names},
        numbers=set(range(told["groups"])),  # which groups they were is not told, only how many
        skipped=skipped,
        quarantines=[Path(one) for one in told["quarantines"]],
    )


def _purged(told: Sequence[Mapping[str, Any]], *, dry_run: bool) -> PurgeReport:
    whole = PurgeReport(dry_run)
    for one in told:
        whole.plans += one["plans"]
        whole.files += one["files"]
        whole.bytes += one["bytes"]
        whole.young += one["young"]
        whole.kept += _kept(one["kept"])
        whole.stopped = whole.stopped or one["stopped"]
    return whole


def _kept(told: Sequence[Mapping[str, str]]) -> list[NotRestored]:
    return [NotRestored(Path(one["path"]), one["reason"]) for one in told]
