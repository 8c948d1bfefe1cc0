"""From duplicate groups to a plan: what each file is on disk, where its quarantine lies, and what goes with it.

Reads files' status, never their contents; `apply` hashes them when it acts.
"""

import os
import secrets
import stat
import time
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from search.duplicates.groups import DuplicateGroup, DuplicateMember
from search.duplicates.report import DuplicateReport
from search.duplicates.sidecars import Beside
from search.folders import NamedFolders
from search.plans.aliases import Aliases, Entry, entry_at
from search.plans.disk import seen
from search.plans.durations import DAY_S
from search.plans.places import QUARANTINE
from search.plans.plan import UPLOADED, OnDisk, Plan, PlannedFile, PlannedGroup, PlannedMember, PlannedRoot
from search.plans.plan_files import PlanFiles
from search.plans.roots import Roots, indexed_folders
from search.records import Collection, ImageRecord, path_of_uri, shown_path, uri_of_path
from search.storing.store import Store
from search.storing.uploads import Uploads, is_upload
from search.storing.verdicts import Verdicts, kept_contents

DEFAULT_LIFETIME_S: Final = 30 * DAY_S
SidecarsOf = Callable[[Path], Sequence[Path]]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """lifetime_s: for how long it may be applied. protected: folders in which nothing is moved. sidecars_of: names the
    files that go where an image goes; None for search/duplicates/sidecars.py. keepers_in: another collection, which
    holds the keepers, and of which no file is moved.
    """

    lifetime_s: int = DEFAULT_LIFETIME_S
    protected: Sequence[Path] = ()
    sidecars_of: SidecarsOf | None = None
    keepers_in: Collection | None = None


def write_plan(
    store: Store, target: Collection, report: DuplicateReport, source: str, options: PlanOptions | None = None
) -> Plan:
    """Write the plan of a report into the store, and return it. source: where the report's threshold comes from.

    Raises:
        StoreUnavailable: the store cannot be written; there is no plan.
    """
    chosen = options or PlanOptions()
    planner = _Planner(
        store, target, chosen.sidecars_of or Beside().sidecars_of, _other(store, report, chosen.keepers_in)
    )
    kept = kept_contents(Verdicts(store.database).all())  # said since the report was made, or of another collection
    going = [_without(group, kept) for group in report.groups]
    groups = tuple(planner.group(number, group) for number, group in enumerate(going, start=1) if group.members)
    made_at = int(time.time())
    plan = Plan(
        id=f"{time.strftime('%Y%m%d', time.gmtime(made_at))}-{secrets.token_hex(4)}",
        store=str(store.root.resolve()),
        collection=target.name,
        made_at=made_at,
        expires_at=made_at + chosen.lifetime_s,
        threshold=report.threshold,
        threshold_source=source,
        roots=planner.planned_roots(store, target),
        protected=_protected(groups, chosen.protected),
        groups=groups,
    )
    PlanFiles(store.root).save(plan)
    return plan


def _protected(groups: Sequence[PlannedGroup], folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the uris of protected folders, by every path that leads to them and that files of a plan have."""
    named = NamedFolders(folders)
    for path in (path_of_uri(member.file.uri) for group in groups for member in group.members):
        if path is not None:
            named.hold(path)
    return tuple(uri_of_path(os.fspath(folder)) for folder in named.all_spellings())


@dataclass(frozen=True, slots=True)
class _Other:
    """Another collection, which holds the keepers. uris: of the members that are images of it, too. entries: of those
    of its files that hold what a member holds, by whatever path it knows them.
    """

    collection: Collection
    uris: frozenset[str]
    entries: frozenset[Entry]


def _other(store: Store, report: DuplicateReport, other: Collection | None) -> _Other | None:
    if other is None:
        return None
    members = {member.image.uri for group in report.groups for member in group.members}
    contents = {member.image.sha256 for group in report.groups for member in group.members}
    holding = store.catalogue.images_by_id(other.id, store.catalogue.ids_of_contents(other.id, contents))
    entries = (entry_at(path_of_uri(image.uri)) for image in holding.values())
    uris = frozenset(uri for _, uri in store.catalogue.uris(other.id) if uri in members)
    return _Other(other, uris, frozenset(entry for entry in entries if entry is not None))


def _without(group: DuplicateGroup, kept: Container[bytes]) -> DuplicateGroup:
    """Return a group without the members that people want kept. kept: contents."""
    return replace(group, members=tuple(one for one in group.members if one.image.sha256 not in kept))


class _Planner:
    """Looks at the files of groups. A file is in one group alone, whatever the report says."""

    def __init__(self, store: Store, target: Collection, sidecars_of: SidecarsOf, other: _Other | None = None) -> None:
        """other: the collection of the keepers, where it is another one."""
        self.roots = Roots(indexed_folders(store.database, target))
        self._other = other
        self._keeper_roots = self.roots if other is None else Roots(indexed_folders(store.database, other.collection))
        self._sidecars_of = sidecars_of
        self._store = store.root.resolve()
        self._uploads = Uploads(store).folder
        self._named: set[str] = set()
        self._aliases = Aliases()

    def planned_roots(self, store: Store, target: Collection) -> tuple[PlannedRoot, ...]:
        """Return the folders of all files; one of both collections counts the images of ours, which are moved."""
        ours = self.roots.planned(store.catalogue, target)
        if self._other is None:
            return ours
        theirs = self._keeper_roots.planned(store.catalogue, self._other.collection)
        known = {root.uri for root in ours}
        return (*ours, *(root for root in theirs if root.uri not in known))

    def group(self, number: int, group: DuplicateGroup) -> PlannedGroup:
        keeper = self._file(group.keeper, sidecars=False)
        # Before the members, of which they often are some: what stays is looked at first.
        best = {one.copy_of.id: one.copy_of for one in group.members if one.copy_of is not None}
        stand_ins = {image.id: self._file(image, sidecars=True) for image in best.values()}
        members = tuple(self._member(keeper, member, stand_ins.get(member.image.id)) for member in group.members)
        return PlannedGroup(number, keeper, group.reason, members, tuple(stand_ins.values()))

    def _member(self, keeper: PlannedFile, member: DuplicateMember, known: PlannedFile | None) -> PlannedMember:
        """Return a member. known: its file, where that was looked at before."""
        file = known or self._file(member.image, sidecars=True)
        one, other = file.on_disk, keeper.on_disk
        linked = one is not None and other is not None and (one.device, one.inode) == (other.device, other.inode)
        told = (member.score, member.relation, member.verified, member.kind, member.confirmed)
        return PlannedMember(file, *told, linked, None if member.copy_of is None else member.copy_of.id)

    def _file(self, image: ImageRecord, *, sidecars: bool) -> PlannedFile:
        path = path_of_uri(image.uri)
        facts = (image.id, image.key, image.uri, image.sha256.hex(), image.size_bytes)
        # Keepers alone go without sidecars: they go nowhere.
        why_not = self._why_kept(image, path) if sidecars else None
        why_not = why_not or self._why_not(image, path)
        if path is None or why_not is not None:
            return PlannedFile(*facts, None, why_not, None)
        status, folder = path.lstat(), path.parent.stat()
        entry = Entry(folder.st_dev, folder.st_ino, path.name)
        same_as = self._aliases.of(image.uri, entry, (status.st_dev, status.st_ino), status.st_nlink)
        if same_as is not None:
            why_not = f"it is the same file as {shown_path(same_as)}, which this path leads to as well"
            return PlannedFile(*facts, None, why_not, None, same_as=same_as)
        disk = OnDisk(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        root = (self.roots if sidecars else self._keeper_roots).root_of(path, disk.device)
        beside = self._sidecars_of(path) if sidecars else ()
        uris = tuple(uri_of_path(os.fspath(one)) for one in beside)
        return PlannedFile(*facts, disk, None, uri_of_path(os.fspath(root)), uris)

    def _why_kept(self, image: ImageRecord, path: Path | None) -> str | None:
        """Return why a member is kept for the other collection, None where it is not."""
        if self._other is None or (image.uri not in self._other.uris and entry_at(path) not in self._other.entries):
            return None
        return f"the collection {self._other.collection.name}, whose files are kept, has this very file"

    def _outside(self, image: ImageRecord, path: Path | None) -> str | None:
        """Return why a file is none that `apply` may touch by its place, None where it is."""
        if is_upload(image.uri, self._uploads):
            return UPLOADED
        if path is None:
            return "it lies inside an archive" if "!/" in image.uri else "it is no file of this machine"
        in_store = self._store in path.parents or QUARANTINE in path.parts
        return "it lies in the store, or in a quarantine" if in_store else None

    def _why_not(self, image: ImageRecord, path: Path | None) -> str | None:
        """Return why a file cannot be moved, None when it can."""
        if image.uri in self._named:
            return "it is in another group, too"
        self._named.add(image.uri)
        outside = self._outside(image, path)
        if path is None or outside is not None:
            return outside
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
