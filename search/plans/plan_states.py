"""What became of a plan: told from its journal, without touching a file that it names."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from search.plans.history import Action, Place, history
from search.plans.journal import read_journal
from search.plans.plan import Plan
from search.plans.plan_files import ID, PLAN, PlanFiles

# planned: nothing was done by it. expired: nor can be any more. applied: something of it lies in quarantine. purged:
# all of that was deleted. undone: all is back.
PlanState = Literal["planned", "expired", "applied", "purged", "undone"]


@dataclass(frozen=True, slots=True)
class Became:
    """quarantined, purged: how many images are so now. action: what was done last, None where nothing was; acted_at:
    when something was last moved by it, there or back, in seconds since 1970.
    """

    state: PlanState
    quarantined: int
    purged: int
    action: Action | None = None
    acted_at: float | None = None


def became(files: PlanFiles, plan: Plan) -> Became:
    """Return what became of a plan.

    Raises:
        CorruptFile: its journal was changed.
    """
    place = files.journal(plan.id)
    known = history(read_journal(place))

    def images(place: Place) -> int:
        return sum(1 for one in known.at(place) if one.move.sidecar_of is None)

    hidden, purged = images("quarantine"), images("purged")
    state: PlanState = "expired" if time.time() > plan.expires_at else "planned"
    if not known.files:
        return Became(state, hidden, purged)
    moved = list(known.files.values())
    state = "applied" if hidden else "purged" if purged else "undone"
    return Became(state, hidden, purged, moved[-1].move.action, max(one.since for one in moved) or None)


def places(files: PlanFiles, plan: Plan) -> Mapping[str, Place]:
    """Return by uri where each file is that something was ever done with.

    Raises:
        CorruptFile: the journal was changed.
    """
    known = history(read_journal(files.journal(plan.id)))
    return {uri: one.place or one.before or "home" for uri, one in known.files.items()}


def plan_ids(files: PlanFiles) -> list[str]:
    """Return the ids of all plans of a store, newest first."""
    found = {path.stem: path.stat().st_mtime_ns for path in files.folder.glob(f"*{PLAN}") if ID.fullmatch(path.stem)}
    return sorted(found, key=lambda one: (found[one], one), reverse=True)
