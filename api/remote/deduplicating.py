"""`dedup` of a server: what the report of its job says."""

from typing import Any

from api.client import Client
from api.remote.records import group
from api.shapes.jobs import Job
from search.duplicates.groups import DuplicateGroup

PAGE = 100
Groups = list[tuple[dict[str, object], DuplicateGroup]]


def found_groups(client: Client) -> Groups:
    """Return the groups of the last report, as JSON and as records."""
    groups = client.groups(page_size=PAGE)
    return [(one.model_dump(mode="json", exclude_unset=True), group(one)) for one in groups]


def report_shape(job: Job, groups: Groups, most: int) -> dict[str, Any]:
    """Return what `dedup --json` prints; what servers do not tell is null. most: groups that are shown."""
    result: dict[str, Any] = job.result or {}
    shown = [shape for shape, _ in groups[:most]]
    return {
        "plan": result["plan"],
        "threshold": result["threshold"],
        "threshold_source": result["threshold_source"],
        "pair_recall": None,
        "looked_from": None,
        "pairs_looked_at": None,
        "pairs_known": None,
        "images": result["images"],
        "groups_total": result["groups"],
        "groups_for_review": sum(one.review for _, one in groups),
        "bytes_reclaimable": result["bytes"],
        "truncated": result["groups"] != len(shown),
        "groups": shown,
        "similar_total": None,
        "similar": [],
        "between": job.request.get("between"),
        "notes": result["notes"],
        "plan_path": None,
    }
