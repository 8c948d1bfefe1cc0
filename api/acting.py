"""Acting on the plans of a store, one at a time: what the command line and the Python module share."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from api.console import ProgressMode
from api.work_progress import work_progress
from search.duplicates.report import DuplicateReport
from search.errors import LookalikeError, UsageError
from search.plans.apply_plan import ApplyJob, ApplyReport
from search.plans.choosing import Wanted
from search.plans.durations import seconds_of
from search.plans.history import ACTIONS, Action
from search.plans.plan import Plan
from search.plans.plan_files import PlanFiles
from search.plans.planning import PlanOptions, write_plan
from search.plans.purge_quarantine import PurgeReport, purge
from search.plans.undo_plan import UndoReport, undo
from search.records import Collection
from search.storing.store import Store


@contextmanager
def acting_on(files: PlanFiles) -> Iterator[None]:
    """Hold the one lock of all plans, and give what the system refuses a name.

    Raises:
        StoreUnavailable: somebody else holds the lock.
        LookalikeError: the system refused something; what was done until then is in the journal.
    """
    try:
        with files.locked():
            yield
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        raise LookalikeError(
            f"{what}{error.strerror or error}; each file is at one known place, and the same command goes on from there"
        ) from error


@dataclass(frozen=True, slots=True)
class ReportOrigin:
    """What a plan has to know of the `dedup` that made its report. source: who says which scores count."""

    source: str = "user"
    protected: tuple[Path, ...] = ()
    between: str | None = None


def plan_report(
    store: Store,
    target: Collection,
    report: DuplicateReport,
    origin: ReportOrigin,
    *,
    protect: Sequence[Path],
    expires: str,
) -> Plan | None:
    """Write the plan of a report and return it, None where nothing is a copy. protect: folders beside those of `dedup`.

    Raises:
        UsageError: the report keeps an image of no collection that it is of, or `expires` is no length of time.
        StoreUnavailable: the store cannot be written.
    """
    other = None if origin.between is None else store.catalogue.collection(origin.between)
    kept, holding = {group.keeper.id for group in report.groups}, other or target
    if len(store.catalogue.images_by_id(holding.id, kept)) < len(kept):
        raise UsageError(
            f"the report keeps an image that the collection {holding.name} does not hold: it is older than the last "
            "one, or the image was removed; run `dedup` again and plan its report"
        )
    options = PlanOptions(seconds_of(expires, "expires"), (*origin.protected, *protect), keepers_in=other)
    return write_plan(store, target, report, origin.source, options) if report.groups else None


def apply_named(store: Store, plan: str, wanted: Wanted, mode: ProgressMode, *, dry_run: bool) -> ApplyReport:
    """Do what a plan says, named by its id or file, as `ApplyJob` does. Nobody is asked."""
    files = PlanFiles(store.root)
    with acting_on(files):
        job = ApplyJob(store, files.load(plan), wanted)
        with work_progress(mode, "checked", "bytes") as progress:
            return job.run(dry_run=dry_run, progress=progress)


def undo_named(store: Store, plan: str, mode: ProgressMode, *, dry_run: bool) -> UndoReport:
    """Bring back what was moved by a plan, named by its id or file, as `undo` does."""
    files = PlanFiles(store.root)
    plan_id = files.id_of(plan)
    with acting_on(files), work_progress(mode, "restored", "bytes") as progress:
        return undo(store, plan_id, dry_run=dry_run, progress=progress)


def purge_named(store: Store, plan: str | None, older_than: str, mode: ProgressMode, *, dry_run: bool) -> PurgeReport:
    """Delete what has been in quarantine for long, of one plan or of all, as `purge` does. Nobody is asked."""
    files = PlanFiles(store.root)
    age_s = seconds_of(older_than, "older_than", least_s=0)
    plan_ids = None if plan is None else [files.id_of(plan)]
    with acting_on(files), work_progress(mode, "checked", "bytes") as progress:
        return purge(store, plan_ids, age_s, dry_run=dry_run, progress=progress)


def action_named(name: str) -> Action:
    """Return a way to act on copies by its name.

    Raises:
        UsageError: there is none, or it is one that only the command line knows.
    """
    for action in ACTIONS:
        if name == action:
            return action
    raise UsageError(f"action {name!r} is not one of {', '.join(ACTIONS)}")
