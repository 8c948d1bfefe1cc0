"""From duplicate groups to a plan: what each file is on disk, where its quarantine lies, and what goes with it.

Reads files' status, never their contents; `apply` hashes them when it acts.
"""

import os
import secrets
import stat
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from search.duplicates.groups import DuplicateGroup, DuplicateMember
from search.duplicates.report import DuplicateReport
from search.duplicates.sidecars import Beside
from search.plans.disk import seen
from search.plans.durations import DAY_S
from search.plans.places import QUARANTINE
from search.plans.plan import OnDisk, Plan, PlannedFile, PlannedGroup, PlannedMember
from search.plans.plan_files import PlanFiles
from search.plans.roots import Roots, indexed_folders
from search.records import Collection, ImageRecord, path_of_uri, uri_of_path
from search.storing.store import Store

DEFAULT_LIFETIME_S: Final = 30 * DAY_S
SidecarsOf = Callable[[Path], Sequence[Path]]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """lifetime_s: for how long it may be applied. protected: folders in which nothing is moved. sidecars_of: names the
    files that go where an image goes; None for search/duplicates/sidecars.py.
    """

    lifetime_s: int = DEFAULT_LIFETIME_S
    protected: Sequence[Path] = ()
    sidecars_of: SidecarsOf | None = None


def write_plan(
    store: Store, target: Collection, report: DuplicateReport, source: str, options: PlanOptions | None = None
) -> Plan:
    """Write the plan of a report into the store, and return it. source: where the report's threshold comes from.

    Raises:
        StoreUnavailable: the store cannot be written; there is no plan.
    """
    chosen = options or PlanOptions()
    planner = _Planner(store, target, chosen.sidecars_of or Beside().sidecars_of)
    groups = tuple(planner.group(number, group) for number, group in enumerate(report.groups, start=1))
    made_at = int(time.time())
    plan = Plan(
        id=f"{time.strftime('%Y%m%d', time.gmtime(made_at))}-{secrets.token_hex(4)}",
        store=str(store.root.resolve()),
        collection=target.name,
        made_at=made_at,
        expires_at=made_at + chosen.lifetime_s,
        threshold=report.threshold,
        threshold_source=source,
        roots=planner.roots.planned(store.catalogue, target),
        protected=tuple(uri_of_path(os.fspath(folder.resolve())) for folder in chosen.protected),
        groups=groups,
    )
    PlanFiles(store.root).save(plan)
    return plan


class _Planner:
    """Looks at the files of groups. A file is in one group alone, whatever the report says."""

    def __init__(self, store: Store, target: Collection, sidecars_of: SidecarsOf) -> None:
        self.roots = Roots(indexed_folders(store.database, target))
        self._sidecars_of = sidecars_of
        self._store = store.root.resolve()
        self._named: set[str] = set()

    def group(self, number: int, group: DuplicateGroup) -> PlannedGroup:
        keeper = self._file(group.keeper, sidecars=False)
        members = tuple(self._member(keeper, member) for member in group.members)
        return PlannedGroup(number, keeper, group.reason, members)

    def _member(self, keeper: PlannedFile, member: DuplicateMember) -> PlannedMember:
        file = self._file(member.image, sidecars=True)
        one, other = file.on_disk, keeper.on_disk
        linked = one is not None and other is not None and (one.device, one.inode) == (other.device, other.inode)
        return PlannedMember(
            file, member.score, member.relation, member.verified, member.kind, member.confirmed, linked
        )

    def _file(self, image: ImageRecord, *, sidecars: bool) -> PlannedFile:
        path = path_of_uri(image.uri)
        facts = (image.id, image.key, image.uri, image.sha256.hex(), image.size_bytes)
        why_not = self._why_not(image, path)
        if path is None or why_not is not None:
            return PlannedFile(*facts, None, why_not, None)
        status = path.lstat()
        disk = OnDisk(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        root = self.roots.root_of(path, disk.device)
        beside = self._sidecars_of(path) if sidecars else ()
        uris = tuple(uri_of_path(os.fspath(one)) for one in beside)
        return PlannedFile(*facts, disk, None, uri_of_path(os.fspath(root)), uris)

    def _why_not(self, image: ImageRecord, path: Path | None) -> str | None:
        """Return why a file cannot be moved, None when it can."""
        if image.uri in self._named:
            return "it is in another group, too"
        self._named.add(image.uri)
        if path is None:
            return "it lies inside an archive" if "!/" in image.uri else "it is no file of this machine"
        if self._store in path.parents or QUARANTINE in path.parts:
            return "it lies in the store, or in a quarantine"
        try:
            found = seen(path)
            regular = found is not None and stat.S_ISREG(path.lstat().st_mode)
        except OSError as error:
            return f"it cannot be looked at: {error.strerror}"
        if found is None or not regular:
            return "it is gone, or a link leads there: run `lookalike index`"
        return (
            None
            if found.size_bytes == image.size_bytes
            else "it has changed since it was indexed: run `lookalike index`"
        )
