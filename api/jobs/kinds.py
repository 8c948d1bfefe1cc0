"""The kinds of jobs that a server runs, who may start and end them, and which of them run beside each other.

Loads nothing: what a kind does is in the module of `runs`, in a child process (api/jobs/child.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from search.records import JobKind
from search.storing.api_keys import Role


@dataclass(frozen=True, slots=True)
class Kind:
    """role: that may start and end such jobs. lane: jobs of one lane run one after the other on a machine. runs: module
    and function that do it.
    """

    role: Role
    lane: str
    runs: str


# Looking for duplicates can take hours, of a machine that is full with it; taking pictures in and acting on a plan must
# not wait for that. What each of them writes are short transactions, and each may run beside the others from the
# command line, too.
KINDS: Final[Mapping[JobKind, Kind]] = {
    "import": Kind("write", "taking-in", "api.jobs.import_job:run_import"),
    "dedup": Kind("dedup", "looking", "api.jobs.dedup_job:run_dedup"),
    "apply": Kind("dedup", "acting", "api.jobs.plan_jobs:run_apply"),
    "undo": Kind("dedup", "acting", "api.jobs.plan_jobs:run_undo"),
    "purge": Kind("dedup", "acting", "api.jobs.plan_jobs:run_purge"),
}
LANES: Final = tuple(sorted({kind.lane for kind in KINDS.values()}))


def kinds_of(lane: str) -> tuple[JobKind, ...]:
    """Return the kinds of jobs of a lane."""
    return tuple(name for name, kind in KINDS.items() if kind.lane == lane)
