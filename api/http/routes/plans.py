"""The handlers of plans: what dedup jobs wrote down, and the jobs that act on it and take it back."""

import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as PathParameter

from api.http.access import needs
from api.http.exact_numbers import Number
from api.http.job_requests import start_job
from api.http.repeats import SAME_REQUEST, OnceRoute, names_itself
from api.http.request_parts import Cursor, Limit, Target, Work
from api.jobs.plan_jobs import listed, wanted
from api.shapes.base import Page, Shape
from api.shapes.jobs import Job
from api.shapes.plans import (
    Action,
    ApplyBody,
    Plan,
    PlannedKeeper,
    PlannedMember,
    PlanPage,
    Preview,
    PurgeBody,
    UndoBody,
)
from api.workspace import Workspace
from search.errors import LookalikeError, PlanNotFound
from search.plans.apply_plan import ApplyJob
from search.plans.choosing import Excess
from search.plans.durations import seconds_of
from search.plans.history import Place
from search.plans.plan import Plan as Planned
from search.plans.plan import PlannedGroup as Group
from search.plans.plan import iso
from search.plans.plan_files import PlanFiles
from search.plans.plan_states import became, places, plan_ids
from search.plans.previewing import preview
from search.records import Collection, shown_path

log = logging.getLogger(__name__)
router = APIRouter(route_class=OnceRoute)
PlanId = Annotated[str, PathParameter(pattern=r"^\d{8}-[0-9a-f]{8}$", examples=["20261123-0a1b2c3d"])]


@router.get("/collections/{collection}/plans", summary="Plans, newest first")
@needs("read")
def plans(workspace: Work, target: Target, limit: Limit = 100, cursor: Cursor = None) -> Page[Plan]:
    """List the plans of a collection and what became of each."""
    files = PlanFiles(workspace.store.root)
    ids, at = plan_ids(files), int(cursor or 0)
    items: list[Plan] = []
    while at < len(ids) and len(items) < limit:
        told = _told(files, target, ids[at])
        at += 1
        items += [] if told is None else [told]
    return Page(items=items, next_cursor=str(at) if at < len(ids) else None)


@router.get("/collections/{collection}/plans/{plan_id}", summary="A plan and its groups, a page at a time")
@needs("read")
def plan(workspace: Work, target: Target, plan_id: PlanId, limit: Limit = 100, cursor: Cursor = None) -> PlanPage:
    """Return a plan, what became of it, and what it may do."""
    files = PlanFiles(workspace.store.root)
    found = _of(workspace, target, plan_id)
    start = int(cursor or 0)
    groups = found.groups[start : start + limit]
    more = str(start + limit) if start + limit < len(found.groups) else None
    now = places(files, found)
    whole = {"items": [_group(one, now) for one in groups], "next_cursor": more}
    return PlanPage.model_validate(whole | _summary(files, found))


@router.get(
    "/collections/{collection}/plans/{plan_id}/preview",
    summary="What a plan would do",
    responses={409: {"description": "it has expired, was edited, or is of another store"}},
)
@needs("read")
def plan_preview(  # noqa: PLR0913, PLR0917 -- the parts of a request
    workspace: Work,
    target: Target,
    plan_id: PlanId,
    action: Action = "quarantine",
    include: Annotated[
        list[Literal["near"]] | None, Query(max_length=1, description="also what nobody confirmed")
    ] = None,
    max_fraction: Annotated[Number | None, Query(gt=0, le=1, description="of an indexed folder's images")] = None,
) -> Preview:
    """Tell what `apply` would do with the same words, by what is written down; no file is looked at."""
    asked = wanted(ApplyBody(action=action, include=include or [], max_fraction=max_fraction))
    found = preview(workspace.store, _of(workspace, target, plan_id), asked)
    over = None if found.over is None else _over(found.over)
    counts = {"groups": found.choice.groups, "files": found.choice.files, "bytes": found.choice.size_bytes}
    return Preview.model_validate(counts | {"left": dict(found.choice.left), "over": over})


@router.post(
    "/collections/{collection}/plans/{plan_id}/apply",
    status_code=HTTPStatus.ACCEPTED,
    summary="Do what a plan says",
    dependencies=[names_itself],
    responses=SAME_REQUEST,
)
@needs("dedup")
def apply(
    request: Request, response: Response, workspace: Work, target: Target, plan_id: PlanId, body: ApplyBody
) -> Job:
    """Start a job that moves the copies of a plan into quarantine, or links them; `undo` brings them back."""
    found, asked = _of(workspace, target, plan_id), wanted(body)
    # What a guard refuses is refused now, and not by the job.
    if asked.action is None:
        listed(workspace.store, found, asked)
    else:
        ApplyJob(workspace.store, found, asked)
    return start_job(request, response, "apply", target, body, plan=plan_id)


@router.post(
    "/collections/{collection}/plans/{plan_id}/undo",
    status_code=HTTPStatus.ACCEPTED,
    summary="Take it back",
    dependencies=[names_itself],
    responses=SAME_REQUEST,
)
@needs("dedup")
def undo(request: Request, response: Response, workspace: Work, target: Target, plan_id: PlanId, body: UndoBody) -> Job:
    """Start a job that brings back what was moved by a plan, however long ago; it overwrites nothing."""
    _of(workspace, target, plan_id)
    return start_job(request, response, "undo", target, body, plan=plan_id)


@router.post(
    "/collections/{collection}/plans/{plan_id}/purge",
    status_code=HTTPStatus.ACCEPTED,
    summary="Delete what it moved",
    dependencies=[names_itself],
    responses=SAME_REQUEST,
)
@needs("dedup")
def purge(
    request: Request, response: Response, workspace: Work, target: Target, plan_id: PlanId, body: PurgeBody
) -> Job:
    """Start a job that deletes for good what a plan has moved long ago, if what is kept for it is what it was."""
    _of(workspace, target, plan_id)
    seconds_of(body.older_than, "older_than", least_s=0)
    return start_job(request, response, "purge", target, body, plan=plan_id)


def _of(workspace: Workspace, target: Collection, plan_id: str) -> Planned:
    """Return a plan of a collection.

    Raises:
        PlanNotFound: it has no such plan.
        GuardRefused: it was edited.
    """
    files = PlanFiles(workspace.store.root)
    found = files.load(plan_id) if files.path(plan_id).exists() else None
    if found is None or found.collection != target.name:
        raise PlanNotFound(f"there is no plan {plan_id} of this collection; `dedup` makes one")
    return found


def _told(files: PlanFiles, target: Collection, plan_id: str) -> Plan | None:
    """Return what a list says of a plan, None where it is of another collection, or nobody can read it."""
    try:
        found = files.load(plan_id)
        return Plan.model_validate(_summary(files, found)) if found.collection == target.name else None
    except LookalikeError as error:
        log.warning("the plan %s is left out of the list: %s", plan_id, error)
        return None


def _summary(files: PlanFiles, found: Planned) -> dict[str, Any]:
    now = became(files, found)
    return {
        "id": found.id,
        "state": now.state,
        "made_at": iso(found.made_at),
        "expires_at": iso(found.expires_at),
        "threshold": found.threshold,
        "threshold_source": found.threshold_source,
        "groups": len(found.groups),
        "files": found.files,
        "bytes": found.bytes_reclaimable,
        "quarantined": now.quarantined,
        "purged": now.purged,
        "action": now.action,
        "acted_at": None if now.acted_at is None else iso(now.acted_at),
    }


def _over(found: Excess) -> dict[str, object]:
    folder = shown_path(found.root) or found.root
    return {"folder": folder, "images": found.images, "going": found.going, "max_fraction": found.enough}


def _group(group: Group, now: Mapping[str, Place]) -> dict[str, Any]:
    keeper = group.keeper.as_json() | {"reason": group.reason}
    placed = [member.as_json() | {"place": now.get(member.file.uri, "home")} for member in group.members]
    members = [_only(member, PlannedMember) for member in placed]
    return {"group": group.number, "keeper": _only(keeper, PlannedKeeper), "members": members}


def _only(values: Mapping[str, object], shape: type[Shape]) -> dict[str, object]:
    return {name: values[name] for name in shape.model_fields}
