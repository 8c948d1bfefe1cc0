"""What became of a plan: told from its journal, without touching a file that it names."""

import time
from dataclasses import dataclass
from typing import Literal

from search.plans.history import Place, history
from search.plans.journal import read_journal
from search.plans.plan import Plan
from search.plans.plan_files import ID, PLAN, PlanFiles

# planned: nothing was done by it. expired: nor can be any more. applied: something of it lies in quarantine. purged:
# all of that was deleted. undone: all is back.
PlanState = Literal["planned", "expired", "applied", "purged", "undone"]


@dataclass(frozen=True, slots=True)
class Became:
    """quarantined, purged: how many images are so now."""

    state: PlanState
    quarantined: int
    purged: int


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
    if known.files:
        state = "applied" if hidden else "purged" if purged else "undone"
    return Became(state, hidden, purged)


def plan_ids(files: PlanFiles) -> list[str]:
    """Return the ids of all plans of a store, newest first."""
    found = {path.stem: path.stat().st_mtime_ns for path in files.folder.glob(f"*{PLAN}") if ID.fullmatch(path.stem)}
    return sorted(found, key=lambda one: (found[one], one), reverse=True)
