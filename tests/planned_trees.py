"""Random trees of files with copies among them, what happens to them while a plan is made and applied, and the oracle.

A trial is known by its seed: a tree with links, aliases and odd names; a plan; perhaps a file that changes before or
while it is applied; perhaps a disk that fails or a process that is killed. Files hold random bytes and not pictures:
what plans look at is bytes.
"""

import hashlib
import os
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pytest
from sqlalchemy import insert

from search.database.tables import job
from search.duplicates.groups import DuplicateGroup, DuplicateKind, DuplicateMember
from search.duplicates.report import DuplicateReport
from search.errors import GuardRefused, LookalikeError
from search.faults import PLAN_POINTS
from search.plans import acting, group_moves, verifying
from search.plans.apply_plan import ApplyJob, ApplyReport
from search.plans.choosing import Wanted
from search.plans.history import Action
from search.plans.plan import Plan
from search.plans.plan_files import PlanFiles
from search.plans.planning import write_plan
from search.plans.purge_quarantine import purge
from search.plans.undo_plan import undo
from search.records import Collection, ContentFacts, ImageRecord, Relation, uri_of_path
from search.storing.commits import Batch, Committer
from search.storing.image_rows import NewImage
from search.storing.store import Store
from tests.fault_worker import SPACE, row_of
from tests.file_snapshots import contents, differences, lost, lost_to_a_race, snapshot

FOLDERS: Final = (".", "2024", "2024/may", "copies", "copies/a b", "Ümläut", os.fsdecode(b"by\xff\xfetes"), "50% [x]")
NAMES: Final = ("a", "b c", "d'e", "#f?", "g%20h", "IMG_1", "ß", os.fsdecode(b"\xe9"))
MOMENTS: Final = tuple(point for point in PLAN_POINTS if not point.startswith(("plan.write", "plan.rename", "purge")))
EDGE_NS: Final = 1_600_000_000_123_456_789


@dataclass(slots=True)
class Tree:
    """A tree, and what `index` and `dedup` would say of it. paths: of the images of each content."""

    root: Path
    paths: list[list[Path]]
    groups: list[DuplicateGroup]


def grown(rng: np.random.Generator, root: Path) -> Tree:
    """Make a random tree: copies, hard links, symbolic links, sidecars."""
    root.mkdir(parents=True)
    paths: list[list[Path]] = []
    for number in range(int(rng.integers(2, 5))):
        data = rng.bytes(int(rng.integers(1, 3000)))
        copies: list[Path] = []
        for copy in range(int(rng.integers(1, 5))):
            folder = root / FOLDERS[rng.integers(len(FOLDERS))]
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{NAMES[rng.integers(len(NAMES))]} {number}{copy}.jpg"
            if copies and rng.random() < 0.15:
                os.link(copies[rng.integers(len(copies))], path)
            else:
                path.write_bytes(data)
                _decorate(rng, path)
            copies.append(path)
        paths.append(copies)
    if rng.random() < 0.3:
        (root / "link.jpg").symlink_to(paths[0][0])
    if rng.random() < 0.3:
        (root / "folder link").symlink_to(paths[-1][0].parent)
    return Tree(root, paths, [])


def _decorate(rng: np.random.Generator, path: Path) -> None:
    if rng.random() < 0.25:
        path.with_name(f"{path.name}.xmp").write_bytes(b"<x/>" if rng.random() < 0.5 else rng.bytes(20))
    if rng.random() < 0.3 and hasattr(os, "setxattr"):
        with suppress(OSError):  # not every file system has them
            os.setxattr(path, "user.note", rng.bytes(4))
    path.chmod(int(rng.choice([0o644, 0o600, 0o444])))
    os.utime(path, ns=(EDGE_NS, EDGE_NS + int(rng.integers(0, 10**15))))


def indexed(
    store: Store,
    tree: Tree,
    rng: np.random.Generator,
    *,
    rooted: bool,
    joined: bool | None = None,
    name: str = "default",
) -> Collection:
    """Put the files of a tree into the catalogue, and group them: a group of each content, at times two in one.

    rooted: whether the catalogue knows the folder that was indexed; else each file's own is its root. joined: whether
    the first two contents are near copies; None for at times.
    """
    target = store.open_collection(name, SPACE)
    images, rows = [], []
    for copies in tree.paths:
        data = copies[0].read_bytes()
        digest = hashlib.sha256(data).digest()
        facts = ContentFacts(digest, len(data), "jpeg", 9, 9, digest[:16], bytes(32), 50.0)
        rows.append(row_of(digest.hex()))
        uris = [uri_of_path(str(path)) for path in copies]
        for uri, path in zip(uris, copies, strict=True):
            images.append(NewImage(uri, uri, len(data), path.stat().st_mtime_ns, facts))
    # Equal contents own a row each: the catalogue keeps one of them.
    owned = np.concatenate([row for row, copies in zip(rows, tree.paths, strict=True) for _ in copies])
    Committer(store.database, store.blobs, target).commit(Batch(images, owned))
    if rooted:
        seen = {"sighting": {"roots": [uri_of_path(str(tree.root))]}}
        with store.database.writing() as connection:
            times = {"started_at": 1.0, "changed_at": 1.0}
            values = {"collection_id": target.id, "kind": "index", "state": "done", "progress": seen, **times}
            connection.execute(insert(job).values(**values))
    records = {image.uri: image for image in store.catalogue.images(target.id, limit=9999)}
    found = [[records[uri_of_path(str(path))] for path in copies] for copies in tree.paths]
    if len(found) > 1 and (rng.random() < 0.5 if joined is None else joined):
        found[:2] = [[*found[0], *found[1]]]
    tree.groups = [star(images, rng) for images in found if len(images) > 1]
    return target


def star(images: list[ImageRecord], rng: np.random.Generator) -> DuplicateGroup:
    """Return a group with the first image as its keeper."""
    keeper = images[0]
    confirmed = {image.sha256: bool(rng.random() < 0.5) for image in images}  # people speak about contents
    best = {image.sha256: image for image in reversed(images)}
    members = [member(image, keeper, best[image.sha256], confirmed=confirmed[image.sha256]) for image in images[1:]]
    return DuplicateGroup(keeper, "indexed first", tuple(members))


def member(image: ImageRecord, keeper: ImageRecord, best: ImageRecord, *, confirmed: bool = False) -> DuplicateMember:
    """Return a member: of the keeper's bytes, or a near copy. best: of those with its bytes."""
    same = image.sha256 == keeper.sha256
    kind: DuplicateKind = "same_bytes" if same else "near"
    relation: Relation = "identical" if same else "probable"
    copy_of = None if same or image == best else best
    score = 1.0 if same else 0.9
    return DuplicateMember(image, score, relation, kind, confirmed=confirmed and not same, copy_of=copy_of)


def planned(store: Store, tree: Tree, target: Collection) -> Plan:
    """Write the plan of a tree."""
    return write_plan(store, target, DuplicateReport(99, 0.8, tuple(tree.groups)), "user")


def applied(store: Store, plan: Plan, wanted: Wanted) -> ApplyReport:
    """Apply a plan as the command does."""
    with PlanFiles(store.root).locked():
        return ApplyJob(store, plan, wanted).run()


def changed(rng: np.random.Generator, path: Path, others: list[Path]) -> None:
    """Let something happen to a file that a plan relies on, as users and programs do."""
    way = rng.integers(6)
    elsewhere = path.with_name(f"{path.name}.moved away")
    if way == 0:  # the same size and date, other bytes
        status, data = path.stat(), bytearray(path.read_bytes())
        data[-1] ^= 1
        path.chmod(0o644)
        path.write_bytes(data)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    elif way == 1:
        with path.open("ab") as file:
            path.chmod(0o644)
            file.write(b"more")
    elif way == 2:
        path.rename(elsewhere)
    elif way == 3:
        path.rename(elsewhere)
        path.symlink_to(others[0] if others else elsewhere)
    elif way == 4:
        path.rename(elsewhere)
        shutil.copy2(elsewhere, path)
    elif path.parent.name and path.parent.parent != path.parent and not (path.parent / "..hidden").exists():
        moved = path.parent.with_name(f"{path.parent.name} moved")
        path.parent.rename(moved)
        moved.with_name(path.parent.name).symlink_to(moved)


@dataclass(slots=True)
class Trial:
    """One seed. folder: with store/ and tree/."""

    seed: int
    folder: Path

    def run(self, empty_store: Path) -> list[str]:
        """Return what was lost, or not restored, with the seed."""
        rng = np.random.default_rng(self.seed)
        shutil.copytree(empty_store, self.folder / "store")
        with Store(self.folder / "store") as store:
            tree = grown(rng, self.folder / "tree")
            target = indexed(store, tree, rng, rooted=bool(rng.random() < 0.8))
            plan = planned(store, tree, target)
            found = self._act(rng, store, tree, plan)
        return [f"seed {self.seed}: {one}" for one in found]

    def _act(self, rng: np.random.Generator, store: Store, tree: Tree, plan: Plan) -> list[str]:
        action: Action = "hardlink" if rng.random() < 0.3 else "quarantine"
        wanted = Wanted(action, near=bool(rng.random() < 0.4), max_fraction=1.0)
        fate = rng.choice(["nothing", "before", "meanwhile", "error", "kill"], p=[0.15, 0.25, 0.2, 0.2, 0.2])
        images = [path for copies in tree.paths for path in copies]
        if fate == "before":
            changed(rng, images[rng.integers(len(images))], images)
        before = snapshot(tree.root)
        if fate == "meanwhile":
            with racing(rng, images) as saved:
                self._try(store, plan, wanted)
            taken = [f"{path} lost what was saved" for path, data in saved.items() if not _holds(path, data)]
            return lost_to_a_race(before, snapshot(tree.root)) + taken
        fault = f"{rng.choice(MOMENTS)}:{rng.integers(1, 5)}:{rng.choice(['eio', 'enospc', 'short'])}"
        if fate == "kill":
            fault = f"{fault.rpartition(':')[0]}:kill"
        with failing(fault if fate in ("error", "kill") else None):
            in_a_child(lambda: self._try(store, plan, wanted)) if fate == "kill" else self._try(store, plan, wanted)
        found = lost(before, snapshot(tree.root))
        with failing(fault if fate in ("error", "kill") else None):
            in_a_child(lambda: self._undo(store, plan)) if fate == "kill" else self._undo(store, plan)
        found += lost(before, snapshot(tree.root))
        if rng.random() < 0.3:
            self._try(store, plan, wanted)  # what was killed goes on in either direction
            found += lost(before, snapshot(tree.root))
        self._undo(store, plan)
        found += differences(before, snapshot(tree.root))
        found += self._purged(rng, store, tree, plan, wanted)
        return found

    def _purged(self, rng: np.random.Generator, store: Store, tree: Tree, plan: Plan, wanted: Wanted) -> list[str]:
        """Apply again, let something happen to an image that is kept, and purge: no exact copy was the last one."""
        exact = Wanted(wanted.action, max_fraction=1.0)
        before = snapshot(tree.root)
        self._try(store, plan, exact)
        keepers = [copies[0] for copies in tree.paths if copies[0].exists()]
        if keepers and rng.random() < 0.7:
            with suppress(OSError):
                changed(rng, keepers[rng.integers(len(keepers))], keepers)
        after = snapshot(tree.root)
        with PlanFiles(store.root).locked():
            purge(store, None, 0.0)
        confirmed = {m.image.sha256.hex() for group in tree.groups for m in group.members if m.confirmed}
        missing = contents(before) & contents(after) - contents(snapshot(tree.root)) - confirmed
        return [f"{digest[:8]} was purged, and it was the last copy" for digest in missing]

    def _try(self, store: Store, plan: Plan, wanted: Wanted) -> None:
        """A user meets an error or a report of what was skipped; both are fine."""
        with suppress(GuardRefused, LookalikeError, OSError):
            applied(store, plan, wanted)

    def _undo(self, store: Store, plan: Plan) -> None:
        with suppress(LookalikeError, OSError), PlanFiles(store.root).locked():
            undo(store, plan.id)


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


@contextmanager
def racing(rng: np.random.Generator, images: list[Path]) -> Iterator[dict[Path, bytes]]:
    """Let something happen to a file at some step of `apply`; give what somebody saved then, by its path."""
    moment, passed = int(rng.integers(1, 12)), 0
    victim = images[rng.integers(len(images))]
    saved: dict[Path, bytes] = {}

    def step(call: Callable[..., object]) -> Callable[..., object]:
        def stepped(*arguments: object) -> object:
            nonlocal passed
            passed += 1
            if passed == moment:
                with suppress(OSError):
                    if rng.random() < 0.3:
                        saved[victim] = save_over(victim)
                    else:
                        changed(rng, victim, images)
            return call(*arguments)

        return stepped

    with pytest.MonkeyPatch.context() as patch:
        renames = [(acting, name) for name in ("rename_to_free", "take_away", "exchange")]
        looks = [(acting, "fault"), (group_moves, "act"), (verifying, "sha256_of"), (os, "link")]
        for module, name in renames + looks:
            if module is not os:
                patch.setattr(module, name, step(getattr(module, name)))
        yield saved


def save_over(path: Path) -> bytes:
    """Save a file as programs do, by a rename over the old one, which has another name, too. Return what it holds."""
    os.link(path, path.with_name(f"{path.name}.version before"))
    new = path.with_name(f"{path.name}.new")
    new.write_bytes(b"saved " + os.fsencode(path.name))
    new.replace(path)
    return path.read_bytes()


@contextmanager
def failing(fault: str | None) -> Iterator[None]:
    """Arm a fault point (search/faults.py)."""
    with pytest.MonkeyPatch.context() as patch:
        if fault is not None:
            patch.setattr("search.faults._hits", Counter())
            patch.setenv("LOOKALIKE_FAULT", fault)
        yield


def in_a_child(work: Callable[[], None]) -> None:
    """Do something in a process that may be killed on the way."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) != signal.SIGKILL:
        sys.stderr.write(f"the child died of signal {os.WTERMSIG(status)}\n")


def violations(empty_store: Path, place: Path, seeds: range) -> list[str]:
    """Run trials, and return what went wrong, with the seed of each."""
    found = []
    for seed in seeds:
        folder = place / f"trial-{seed}"
        folder.mkdir()
        found += Trial(seed, folder).run(empty_store)
        shutil.rmtree(folder)
    return found
