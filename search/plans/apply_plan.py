"""Job: do what a plan says, group by group: verify -> intent -> move -> outcome -> the catalogue.

A group is done whole or not at all. What does not fit skips its group and is named; the first error of a disk ends the
job. Killed at any moment, each file is at one place, and the next `apply` or `undo` finds out at which.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from search.database.database import chunks
from search.errors import GuardRefused, StoreUnavailable, UsageError
from search.plans.choosing import Choice, Chosen, Left, Wanted, choose, require_modest
from search.plans.disk import Mismatch
from search.plans.forgetting import forget_moved
from search.plans.group_moves import move_groups
from search.plans.history import Action, history
from search.plans.journal import Journal, read_journal
from search.plans.places import remove_empty
from search.plans.plan import Plan, iso, path_of
from search.plans.plan_files import PlanFiles
from search.plans.progress import Count, Progress
from search.plans.quarantines import inspect, prepare
from search.plans.settling import settle
from search.plans.verifying import VerifiedGroup, Verifier
from search.records import displayable
from search.storing.store import Store
from search.storing.verdicts import Verdicts, opinions

# Groups of one intent: each is synced to the disk, which takes longer than everything else.
AT_ONCE: Final = 64


@dataclass(frozen=True, slots=True)
class Skipped:
    """A group that was left alone. path: of the file that did not fit; why: in words."""

    group: int
    path: Path
    why: str

    def as_json(self) -> dict[str, object]:
        """Return the item of `skipped` of `apply`."""
        return {"group": self.group, "path": displayable(self.path), "reason": self.why}


@dataclass(slots=True)
class ApplyReport:
    """What was done. numbers: of groups; files: images moved or replaced; sidecars: moved with them; bytes: of both;
    notes: what a dry run cannot know; stopped: why it ended early. With dry_run, what would have been.
    """

    plan: str
    action: str
    dry_run: bool
    left: Mapping[Left, int]
    numbers: set[int] = field(default_factory=set)
    files: int = 0
    sidecars: int = 0
    bytes: int = 0
    skipped: list[Skipped] = field(default_factory=list)
    forgotten: int = 0
    quarantines: list[Path] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    stopped: str | None = None

    @property
    def groups(self) -> int:
        """Return of how many groups files were moved or replaced."""
        return len(self.numbers)

    def as_json(self) -> dict[str, object]:
        """Return the object of `apply`."""
        names = ("plan", "action", "dry_run", "groups", "files", "sidecars", "bytes", "stopped")
        shape: dict[str, object] = {name: getattr(self, name) for name in names}
        shape |= {"left": dict(self.left), "skipped": [one.as_json() for one in self.skipped]}
        shape |= {"forgotten": self.forgotten, "quarantines": [displayable(one) for one in self.quarantines]}
        return shape | {"notes": self.notes}


class ApplyJob:
    """One `apply` of one plan. Hold `PlanFiles.locked` from before it is made until after `run`."""

    def __init__(self, store: Store, plan: Plan, wanted: Wanted) -> None:
        """Raises:
        GuardRefused: the plan has expired, is of another store, or takes too much at once.
        UsageError: max_fraction is no share.
        CorruptFile: the plan's journal was changed.
        """
        if wanted.max_fraction is not None and not 0 < wanted.max_fraction <= 1:
            raise UsageError(f"--max-fraction {wanted.max_fraction:g} is no share above 0, up to 1")
        require_valid(store, plan)
        self._store = store
        self._plan = plan
        self._wanted = wanted
        self._journal = PlanFiles(store.root).journal(plan.id)
        known = history(read_journal(self._journal))
        self._said = opinions(Verdicts(store.database).all())
        self.choice: Choice = choose(plan, known, wanted, self._said)
        require_modest(plan, known, self.choice, wanted)

    def run(self, *, dry_run: bool = False, progress: Progress = lambda done, total: None) -> ApplyReport:
        """Do it. progress: called with (bytes read, bytes to read). dry_run: verify everything, change nothing.

        Raises:
            GuardRefused: no quarantine can be made, or no file system can link; nothing was changed.
            OSError: the journal cannot be written; what was done so far is told by the next run.
        """
        action = self._wanted.action
        if action is None:
            raise UsageError("a list moves nothing; search/plans/keep_lists.py writes it")
        report = ApplyReport(self._plan.id, action, dry_run, self.choice.left)
        if not self.choice.chosen and (dry_run or not self._journal.exists()):
            return report
        unusable = self._unusable(action, report)
        if dry_run:
            self._groups(None, action, unusable, report, progress)
            return report
        with Journal(self._journal) as journal:
            # Something may have been moved by a run that was killed since this one has chosen.
            self.choice = choose(self._plan, settle(journal), self._wanted, self._said)
            report.left = self.choice.left
            try:
                self._groups(journal, action, unusable, report, progress)
            finally:
                self._forget(journal, report)
                for place in report.quarantines:
                    remove_empty(place.parents[1], self._plan.id)
        report.quarantines = [place for place in report.quarantines if place.exists()]
        return report

    def _unusable(self, action: Action, report: ApplyReport) -> Mapping[str, Mismatch]:
        """Make the quarantines of all roots, or look at them in a dry run; return by uri the roots that have none.

        Raises:
            GuardRefused: that is every one, or a disk is full or does not answer; nothing was changed.
        """
        unusable: dict[str, Mismatch] = {}
        for uri, root in self._roots().items():
            try:
                if report.dry_run:
                    note = inspect(action, root, self._plan.id)
                    report.notes += [f"{displayable(root)}: {note}"] if note else []
                else:
                    report.quarantines.append(prepare(action, root, self._plan.id))
            except Mismatch as mismatch:
                unusable[uri] = mismatch
            except OSError as error:
                self._unmake(report)
                raise GuardRefused(f"nothing was changed: {_told(error, root)}") from error
        if unusable and all(_roots_of(one) & unusable.keys() for one in self.choice.chosen):
            self._unmake(report)
            first = next(iter(unusable.values()))
            raise GuardRefused(f"nothing was changed: {displayable(first.path)} {first.why}{_more(len(unusable) - 1)}")
        return unusable

    def _unmake(self, report: ApplyReport) -> None:
        for place in report.quarantines:
            remove_empty(place.parents[1], self._plan.id)

    def _forget(self, journal: Journal, report: ApplyReport) -> None:
        try:
            report.forgotten = forget_moved(self._store, journal)
        except StoreUnavailable as error:
            raise StoreUnavailable(
                f"what was moved is safe, but the catalogue could not be told: {error}; then run the same command again"
            ) from error
        except OSError as error:
            report.stopped = report.stopped or _told(error, self._journal)

    def _roots(self) -> Mapping[str, Path]:
        uris = {uri for one in self.choice.chosen for uri in _roots_of(one)}
        return {uri: path_of(uri) for uri in sorted(uris)}

    def _groups(
        self,
        journal: Journal | None,
        action: Action,
        unusable: Mapping[str, Mismatch],
        report: ApplyReport,
        progress: Progress,
    ) -> None:
        usable = []
        for one in self.choice.chosen:
            refused = [unusable[uri] for uri in sorted(_roots_of(one) & unusable.keys())]
            report.skipped += [Skipped(one.group.number, why.path, why.why) for why in refused[:1]]
            usable += [] if refused else [one]
        count = Count(progress, sum(_bytes_of(one) for one in usable))
        verifier = Verifier(self._plan, self.choice, with_sidecars=action == "quarantine")
        for part in chunks(usable, AT_ONCE):
            with ExitStack() as keepers:  # which stay open until their groups are done
                groups = self._verified(verifier, part, keepers, report, count)
                if journal is not None and groups:
                    moved = move_groups(journal, self._plan.id, action, groups)
                    report.skipped += [Skipped(group, one.path, one.why) for group, one in moved.mismatches]
                    report.stopped = report.stopped or _told(moved.error, self._journal)
                    groups = moved.groups
            for group in groups:
                _note(report, group)
            if report.stopped:
                return

    def _verified(
        self, verifier: Verifier, part: Sequence[Chosen], keepers: ExitStack, report: ApplyReport, count: Count
    ) -> list[VerifiedGroup]:
        """Return the groups that are as planned; where a disk does not answer, those before it."""
        groups = []
        for chosen in part:
            try:
                groups.append(keepers.enter_context(verifier.verified(chosen, count.add)))
            except Mismatch as mismatch:
                report.skipped.append(Skipped(chosen.group.number, mismatch.path, mismatch.why))
            except OSError as error:
                report.stopped = _told(error, chosen.group.keeper.path)
                break
        return groups


def require_valid(store: Store, plan: Plan) -> None:
    """Raises:
    GuardRefused: a plan has expired, or is of another store.
    """
    if time.time() > plan.expires_at:
        raise GuardRefused(f"the plan {plan.id} has expired on {iso(plan.expires_at)}; run `dedup` for a new one")
    if plan.store != str(store.root.resolve()):
        raise GuardRefused(
            f"the plan {plan.id} was made in the store {plan.store}, and this one is {store.root.resolve()}: the store "
            "was moved, or is another one; run `dedup` here for a new plan"
        )


def _roots_of(chosen: Chosen) -> set[str]:
    return {member.file.root for member in chosen.members if member.file.root is not None}


def _bytes_of(chosen: Chosen) -> int:
    return chosen.group.keeper.size_bytes + sum(member.file.size_bytes for member in chosen.members)


def _more(folders: int) -> str:
    """Return how many other folders cannot be used either."""
    return "" if folders == 0 else f", and so it is with {folders} more {'folder' if folders == 1 else 'folders'}"


def _note(report: ApplyReport, group: VerifiedGroup) -> None:
    report.numbers.add(group.number)
    for file in group.files:
        report.files += file.sidecar_of is None
        report.sidecars += file.sidecar_of is not None
        report.bytes += file.seen.size_bytes


def _told(error: OSError | None, path: Path) -> str | None:
    """Return what a disk said, None where it said nothing. path: of what was being done, where the error has none."""
    if error is None:
        return None
    place = Path(error.filename) if isinstance(error.filename, str) else path
    return f"{displayable(place)}: {error.strerror or error}"
