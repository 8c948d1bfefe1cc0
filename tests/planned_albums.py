"""A small album in memory whose plans are made by hand: for tests that say which file is a copy of which."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.duplicates.groups import DuplicateGroup, DuplicateKind, DuplicateMember
from search.duplicates.report import DuplicateReport
from search.finding.snapshot import SnapshotReader
from search.plans.apply_plan import ApplyJob, ApplyReport
from search.plans.choosing import Wanted
from search.plans.history import Action
from search.plans.places import QUARANTINE
from search.plans.plan import Plan
from search.plans.plan_files import PlanFiles
from search.plans.planning import PlanOptions, write_plan
from search.plans.purge_quarantine import PurgeReport, purge
from search.plans.undo_plan import UndoReport, undo
from search.records import Collection, ImageRecord, uri_of_path
from search.storing.store import Store
from tests.file_snapshots import File, snapshot
from tests.planned_trees import Tree, indexed

FILL = 20  # pictures without a copy, so that a few copies are not a fifth of the album


class Album:
    """A folder `photos` of text files that stand for pictures, and a store that knows them."""

    def __init__(self, folder: Path, empty_store: Path) -> None:
        self.photos = folder / "photos"
        self.photos.mkdir()
        self.store = Store(shutil.copytree(empty_store, folder / "store"))
        self.target: Collection | None = None
        for number in range(FILL):
            self.put(f"other {number}.jpg", f"other {number}")

    def put(self, name: str, text: str) -> Path:
        """Write a file."""
        path = self.photos / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def index(self) -> None:
        """Let the catalogue know every .jpg."""
        paths: dict[bytes, list[Path]] = {}
        for path in sorted(self.photos.rglob("*.jpg")):
            if not path.is_symlink() and QUARANTINE not in path.parts:
                paths.setdefault(path.read_bytes(), []).append(path)
        tree = Tree(self.photos, list(paths.values()), [])
        self.target = indexed(self.store, tree, np.random.default_rng(0), rooted=True, joined=False)

    def image(self, name: str) -> ImageRecord:
        """Return what the catalogue knows of a file."""
        assert self.target is not None
        uri = uri_of_path(str(self.photos / name))
        return next(one for one in self.store.catalogue.images(self.target.id, limit=999) if one.uri == uri)

    def group(
        self,
        keeper: str,
        *members: str,
        kind: DuplicateKind = "same_bytes",
        confirmed: bool = False,
        stand_in: str | None = None,
    ) -> DuplicateGroup:
        """Return a group of files by their names. stand_in: what all others that are members are exact copies of."""
        relation = "identical" if kind.startswith("same") else "probable"
        best = None if stand_in is None else self.image(stand_in)
        found = [
            DuplicateMember(self.image(name), 1.0, relation, kind, confirmed=confirmed, copy_of=best)  # type: ignore[arg-type]
            if name != stand_in
            else DuplicateMember(self.image(name), 1.0, relation, kind, confirmed=confirmed)  # type: ignore[arg-type]
            for name in members
        ]
        return DuplicateGroup(self.image(keeper), "most pixels", tuple(found))

    def plan(self, *groups: DuplicateGroup, **options: Any) -> Plan:
        """Write a plan."""
        assert self.target is not None
        report = DuplicateReport(99, 0.8, groups)
        return write_plan(self.store, self.target, report, "user", PlanOptions(**options))

    def copies(self, *names: str, **options: Any) -> Plan:
        """Index, and plan a group of one copy for each name: `a.jpg` is kept, `a copy.jpg` may go."""
        for name in names:
            self.put(f"{name}.jpg", f"picture {name}")
            self.put(f"{name} copy.jpg", f"picture {name}")
        self.index()
        return self.plan(*(self.group(f"{name}.jpg", f"{name} copy.jpg") for name in names), **options)

    def job(self, plan: Plan, action: Action = "quarantine", **wanted: Any) -> ApplyJob:
        """Return the job of `apply`."""
        return ApplyJob(self.store, plan, Wanted(action, **wanted))

    def apply(self, plan: Plan, action: Action = "quarantine", *, dry_run: bool = False, **wanted: Any) -> ApplyReport:
        """Apply a plan."""
        with PlanFiles(self.store.root).locked():
            return self.job(plan, action, **wanted).run(dry_run=dry_run)

    def undo(self, plan: Plan) -> UndoReport:
        """Undo a plan."""
        with PlanFiles(self.store.root).locked():
            return undo(self.store, plan.id)

    def purge(self, older_than_s: float = 0.0, *, dry_run: bool = False) -> PurgeReport:
        """Purge all plans."""
        with PlanFiles(self.store.root).locked():
            return purge(self.store, None, older_than_s, dry_run=dry_run)

    def hidden(self, plan: Plan) -> list[str]:
        """Return what a plan has in quarantine, by the names there."""
        place = self.photos / QUARANTINE / plan.id
        return sorted(str(path.relative_to(place)) for path in place.rglob("*") if path.is_file())

    def searched(self) -> set[str]:
        """Return the names of all images that searches can name."""
        assert self.target is not None
        found = SnapshotReader(self.store.database, self.store.blobs, self.target).current()
        records = self.store.catalogue.images_by_id(self.target.id, found.rows()[0].tolist())
        return {image.uri.rpartition("/")[2].replace("%20", " ") for image in records.values()}

    def files(self) -> dict[str, File]:
        """Return everything below the folder."""
        return snapshot(self.photos)


@pytest.fixture
def album(quick_folder: Path, empty_store: Path) -> Iterator[Album]:
    """An album with 20 pictures that are no copies."""
    made = Album(quick_folder, empty_store)
    yield made
    made.store.close()


def with_members(plan: Plan, members: Sequence[Any]) -> Plan:
    """Return a plan whose first group has other members."""
    return replace(plan, groups=(replace(plan.groups[0], members=tuple(members)), *plan.groups[1:]))
