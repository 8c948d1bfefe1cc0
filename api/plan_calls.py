"""The calls of `lookalike.Lookalike` that act on copies. Heavy libraries are imported when they are first needed."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from numbers import Real
from typing import TYPE_CHECKING

from api.python_arguments import require_flags, require_texts, several
from search.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.acting import ReportOrigin
    from api.console import ProgressMode
    from search.duplicates.report import DuplicateReport
    from search.plans.apply_plan import ApplyReport
    from search.plans.plan import Plan
    from search.plans.purge_quarantine import PurgeReport
    from search.plans.undo_plan import UndoReport
    from search.storing.store import Store


class PlanCalls(ABC):
    """What a collection of a store can do by plans. collection: its name."""

    collection: str

    def __init__(self) -> None:
        self._last: ReportOrigin | None = None  # of the last report of `dedup`

    @abstractmethod
    def _opened_store(self) -> Store:
        """Return the store, opened when it is first needed."""

    def plan(
        self, report: DuplicateReport, *, protect: Sequence[str | os.PathLike[str]] = (), expires: str = "30d"
    ) -> Plan | None:
        """Write the plan of a report, or of one with some of its groups, and return it; None where nothing is a copy.

        protect: further folders in which nothing is moved, beside those that the last `dedup` was given. expires: how
        long it may be applied: "12h", "30d", "2w".

        Raises:
            LookalikeError: by name: the report is older than the last one, the store cannot be written, ...
        """
        from api.acting import ReportOrigin, plan_report
        from api.deduplicating import require_folders
        from search.duplicates.report import DuplicateReport
        from search.folders import absolute

        if not isinstance(report, DuplicateReport):
            raise UsageError(f"a {type(report).__name__} is no report; give what `dedup` answered")
        require_texts(expires=expires)
        named = several("protect", protect, "a folder")
        require_folders("protect", named)
        store = self._opened_store()
        target = store.catalogue.collection(self.collection)
        folders = [absolute(folder) for folder in named]
        return plan_report(store, target, report, self._last or ReportOrigin(), protect=folders, expires=expires)

    def apply(
        self,
        plan: Plan | str,
        *,
        action: str = "quarantine",
        near: bool = False,
        max_fraction: float | None = None,
        dry_run: bool = False,
        progress: bool = True,
    ) -> ApplyReport:
        """Move the copies of a plan into a quarantine, or replace them by links. Nobody is asked; `undo` reverts it.

        plan: as `plan` gives it, or its id. action: quarantine, hardlink or reflink. near: also near copies that nobody
        confirmed, and large groups. max_fraction: of a folder's images that may go at once; None for a fifth. dry_run:
        check every file and change nothing. `skipped` of the report says what did not fit, `stopped` why it ended.

        Raises:
            LookalikeError: by name: the plan was edited or has expired, it takes too much at once, ...
        """
        from api.acting import action_named, apply_named
        from search.plans.choosing import Wanted

        require_flags(near=near, dry_run=dry_run)
        if max_fraction is not None and not isinstance(max_fraction, Real):
            raise UsageError(f"max_fraction is {max_fraction!r}; give a share, 0 to 1")
        wanted = Wanted(action_named(action), near, max_fraction)
        return apply_named(self._opened_store(), _id_of(plan), wanted, _mode(progress), dry_run=dry_run)

    def undo(self, plan: Plan | str, *, dry_run: bool = False, progress: bool = True) -> UndoReport:
        """Bring back what was moved by a plan, however long ago. What is in the way is in `skipped` of the report.

        Raises:
            LookalikeError: by name: there is no such plan, its journal was changed, a disk is not there, ...
        """
        from api.acting import undo_named

        require_flags(dry_run=dry_run)
        return undo_named(self._opened_store(), _id_of(plan), _mode(progress), dry_run=dry_run)

    def purge(
        self,
        plan: Plan | str | None = None,
        *,
        older_than: str = "30d",
        dry_run: bool = False,
        progress: bool = True,
    ) -> PurgeReport:
        """Delete for good what has been in quarantine for long, of one plan or of all. Nobody is asked.

        `kept` of the report says what was not, since the image that is kept for it is not what it was.

        Raises:
            LookalikeError: by name: there is no such plan, a journal was changed, ...
        """
        from api.acting import purge_named

        require_flags(dry_run=dry_run)
        require_texts(older_than=older_than)
        name = None if plan is None else _id_of(plan)
        return purge_named(self._opened_store(), name, older_than, _mode(progress), dry_run=dry_run)


def _id_of(plan: Plan | str) -> str:
    """Return by what a plan is read again: what is done is what its file says.

    Raises:
        UsageError: it is neither a plan nor the id of one.
    """
    found = plan if isinstance(plan, str) else getattr(plan, "id", None)
    if not isinstance(found, str):
        raise UsageError(f"plan is {plan!r}; give what `plan` answered, or its id")
    return found


def _mode(progress: bool) -> ProgressMode:  # noqa: FBT001 -- as the callers have it
    return "auto" if progress else "none"
