"""The jobs that act on plans: `apply`, `undo` and `purge`, as the commands of these names."""

import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Final

from api.acting import acting_on
from api.jobs.task import Task
from api.shapes.plans import ApplyBody, PurgeBody, UndoBody
from search.errors import Stopped, StoreUnavailable
from search.plans.apply_plan import ApplyJob, require_valid
from search.plans.choosing import Choice, Wanted, choose
from search.plans.durations import seconds_of
from search.plans.history import History
from search.plans.plan import Plan
from search.plans.plan_files import PlanFiles
from search.plans.progress import Progress
from search.plans.purge_quarantine import purge
from search.plans.undo_plan import undo
from search.storing.store import Store
from search.storing.verdicts import Verdicts, opinions

LOCK_S: Final = 60.0  # somebody at a command line may be acting, too
LOOK_S: Final = 0.5
LISTED: Final = 1_000  # files that `list` names


def run_apply(task: Task) -> Mapping[str, object]:
    """Do what a plan says; return the object of `apply`.

    Raises:
        Stopped: a disk ended it; the same again goes on from there.
        LookalikeError: by name, why nothing was done.
    """
    body = ApplyBody.model_validate(_options(task))
    with Store(task.root) as store:
        plan = PlanFiles(store.root).load(str(task.request["plan"]))
        if body.action == "list":
            return listed(store, plan, wanted(body))
        with _alone(PlanFiles(store.root)):
            job = ApplyJob(store, plan, wanted(body))
            report = job.run(dry_run=body.dry_run, progress=_progress(task, "checked"))
    return _whole(report.as_json(), report.stopped)


def run_undo(task: Task) -> Mapping[str, object]:
    """Bring back what was moved by a plan; return the object of `undo`.

    Raises:
        Stopped: a disk ended it; the same again goes on from there.
        LookalikeError: by name, why nothing was done.
    """
    body = UndoBody.model_validate(_options(task))
    with Store(task.root) as store, _alone(PlanFiles(store.root)):
        plan = str(task.request["plan"])
        report = undo(store, plan, dry_run=body.dry_run, progress=_progress(task, "restored"))
    return _whole(report.as_json(), report.stopped)


def run_purge(task: Task) -> Mapping[str, object]:
    """Delete for good what a plan has moved long ago; return the object of `purge`.

    Raises:
        Stopped: a disk ended it; the same again goes on from there.
        LookalikeError: by name, why nothing was done.
    """
    body = PurgeBody.model_validate(_options(task))
    age_s = seconds_of(body.older_than, "older_than", least_s=0)
    with Store(task.root) as store, _alone(PlanFiles(store.root)):
        plans = [str(task.request["plan"])]
        report = purge(store, plans, age_s, dry_run=body.dry_run, progress=_progress(task, "checked"))
    return _whole(report.as_json(), report.stopped)


def wanted(body: ApplyBody) -> Wanted:
    """Return what a body asks for."""
    return Wanted(None if body.action == "list" else body.action, "near" in body.include, body.max_fraction)


def listed(store: Store, plan: Plan, asked: Wanted) -> Mapping[str, object]:
    """Return what would go, with no file touched.

    Raises:
        GuardRefused: the plan has expired, or is of another store.
    """
    require_valid(store, plan)
    choice: Choice = choose(plan, History(), asked, opinions(Verdicts(store.database).all()))
    drop = [
        {"group": one.group.number, "keep": str(one.group.keeper.image_id), "id": str(file.image_id), "key": file.key}
        for one in choice.chosen
        for file in (member.file for member in one.members)
    ]
    shape: dict[str, object] = {"plan": plan.id, "action": "list", "groups": choice.groups, "files": choice.files}
    shape |= {"bytes": choice.size_bytes, "left": dict(choice.left)}
    return shape | {"drop": drop[:LISTED], "truncated": len(drop) > LISTED}


def _options(task: Task) -> Mapping[str, object]:
    """Return what a job is asked for beside its plan."""
    return {name: value for name, value in task.request.items() if name != "plan"}


@contextmanager
def _alone(files: PlanFiles) -> Iterator[None]:
    """Hold the lock of all plans, waiting for it a while."""
    with ExitStack() as stack:
        ends = time.monotonic() + LOCK_S
        while True:
            try:
                stack.enter_context(acting_on(files))
                break
            except StoreUnavailable:
                if time.monotonic() > ends:
                    raise
            time.sleep(LOOK_S)
        yield


def _progress(task: Task, stage: str) -> Progress:
    return lambda done, total: task.meter.advance(stage, done, total)


def _whole(report: Mapping[str, object], stopped: str | None) -> Mapping[str, object]:
    if stopped is not None:
        raise Stopped(f"stopped at the first error: {stopped}; start the same again, and it goes on from there", report)
    return report
