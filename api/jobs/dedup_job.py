"""The job `dedup`: a report that is kept, and a plan. Moves nothing."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from api.deduplicating import DedupOptions, Told, deduplicate
from api.jobs.task import Task
from api.shapes.dedup import DedupBody
from api.workspace import Workspace
from search.calibration.calibration import AUTOMATIC
from search.duplicates.keeper_rules import RULES, KeeperRules, rules_named
from search.duplicates.kept_reports import KeptReports, facts_of
from search.errors import UsageError
from search.plans.durations import seconds_of
from search.plans.planning import PlanOptions, write_plan
from search.storing.folders import holds_images_below
from search.storing.store import Store

log = logging.getLogger(__name__)


def run_dedup(task: Task) -> Mapping[str, object]:
    """Return the plan and the counts of a dedup job (docs/http.md).

    Raises:
        LookalikeError: by name, whatever stopped it.
    """
    body = DedupBody.model_validate(task.request)
    with Workspace(task.root, device=task.device, weights=task.weights, children=2) as workspace:
        options, planned = wanted(workspace.store, body)
        target = workspace.collection(task.collection)
        found = deduplicate(workspace, target, options, Told(task.meter.bar, log.info))
        report, plan = found.report, None
        if report.groups:
            other = None if body.between is None else workspace.collection(body.between)
            plan = write_plan(workspace.store, target, report, found.source, replace(planned, keepers_in=other))
        task.meter.advance("kept", 0, None)
        facts = facts_of(
            target,
            report,
            found.source,
            plan=None if plan is None else plan.id,
            between=body.between,
            within=body.within,
        )
        KeptReports(workspace.store.database).keep(target, report, facts)
    return {
        "plan": facts.plan,
        "groups": facts.groups_total,
        "members": facts.copies_total,
        "bytes": facts.bytes_reclaimable,
        "images": facts.images,
        "threshold": facts.threshold,
        "threshold_source": facts.threshold_source,
        "notes": list(found.notes),
    }


def wanted(store: Store, body: DedupBody) -> tuple[DedupOptions, PlanOptions]:
    """Return what a body asks for.

    Raises:
        UsageError: it asks for what cannot be, or names a folder without images.
        CollectionNotFound: it names another collection that is not there.
    """
    if body.between is not None:
        store.catalogue.collection(body.between)
    within = None if body.within is None else _folder(store, "within", body.within)
    protected = tuple(_folder(store, "protect", one) for one in body.protect)
    preferred = tuple(_folder(store, "prefer", one) for one in body.prefer)
    rules = KeeperRules(RULES if body.keep is None else rules_named(body.keep), protected, preferred)
    options = DedupOptions(body.threshold, body.precision or AUTOMATIC, body.calibrate, rules, within, body.between)
    return options, PlanOptions(seconds_of(body.expires, "expires"), protected)


def _folder(store: Store, name: str, text: str) -> Path:
    """Return a folder that a body names: one with images, since a mistyped one would protect nothing.

    The catalogue is asked and not the disk, so that nobody learns which folders this machine has.
    """
    folder = Path(text)
    if not folder.is_absolute() or not holds_images_below(store.catalogue, folder):
        raise UsageError(f"{name} is {text!r}, below which no image of this store lies; nothing was compared")
    return folder
