"""What `apply` would do by what is written down: of plan, journal and today's verdicts. No file is looked at."""

from dataclasses import dataclass

from search.plans.apply_plan import require_valid
from search.plans.choosing import Choice, Excess, Wanted, choose, excess
from search.plans.history import history
from search.plans.journal import read_journal
from search.plans.plan import Plan
from search.plans.plan_files import PlanFiles
from search.storing.store import Store
from search.storing.verdicts import Verdicts, opinions


@dataclass(frozen=True, slots=True)
class Preview:
    """choice: what would go and what stays. over: of which folder that is too much; then `apply` refuses."""

    choice: Choice
    over: Excess | None


def preview(store: Store, plan: Plan, wanted: Wanted) -> Preview:
    """Return what a plan would do now. What the files themselves say to it, only a dry run finds out.

    Raises:
        GuardRefused: the plan has expired, or is of another store.
        CorruptFile: its journal was changed.
    """
    require_valid(store, plan)
    known = history(read_journal(PlanFiles(store.root).journal(plan.id)))
    choice = choose(plan, known, wanted, opinions(Verdicts(store.database).all()))
    return Preview(choice, None if wanted.action is None else excess(plan, known, choice, wanted))
