"""The jobs that move stores, and object storage: what is there before, what fails, and what must hold then.

Each begins with an empty store in ROOT/store, made on SQLite in the folder itself. tests/journeys/test_faults.py runs
them; the commands of a local store are in tests/fault_worker.py.
"""

import pickle
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from search.errors import GuardRefused, LookalikeError
from search.faults import BACKUP_POINTS, EXPORT_POINTS, OBJECT_POINTS, PLAN_POINTS, RESTORE_POINTS, UPGRADE_POINTS
from search.finding.snapshot import SnapshotReader
from search.moving.backup import back_up
from search.moving.export_rows import EMBEDDINGS, export_rows
from search.moving.restore import restore
from search.plans.choosing import Wanted
from search.plans.places import QUARANTINE
from search.plans.plan_files import PlanFiles
from search.plans.purge_quarantine import purge
from search.plans.undo_plan import undo
from search.records import uri_of_path
from search.spaces.space_upgrade import SpaceUpgrade
from search.storing.store import Store
from search.upkeep.verification import verify
from tests import fault_worker, file_snapshots, planned_trees
from tests.fault_worker import OTHER_SPACE, SPACE, add, open_store, publish, remove, row_of

NAMES = ("a", "b", "c", "d", "e", "f2")
CATALOGUE = "catalogue.url"


@dataclass(frozen=True, slots=True)
class Journey:
    """prepare: makes what is there before. run: fails, and is run again; where it was once through, it changes nothing.

    violations: what is broken of the promises, after a kill (True) or after an error (False). finish: what is broken
    once it has been run again.
    """

    points: tuple[str, ...]
    prepare: Callable[[Path], None]
    run: Callable[[Path], None]
    violations: Callable[[Path, bool], list[str]]
    finish: Callable[[Path], list[str]]


def surroundings(name: str, root: Path, patch: pytest.MonkeyPatch) -> None:
    """Let a folder that fsspec looks after stand for a bucket, which a store refuses otherwise.

    With a real server, tests/journeys/test_kill.py kills at the same points.
    """
    if name == "object storage":
        patch.setattr("search.settings.NOT_DURABLE", ())
        patch.setattr("search.blobs.object_blobs.FIRST_WAIT_S", 0.001)
        patch.setenv("LOOKALIKE_BLOBS", f"local://{root}/bucket")
        patch.setenv("LOOKALIKE_CACHE", str(root / "cache"))


def work(name: str, root: str, wanted: str) -> None:
    """Run a journey with a fault, in a process that is to die of it."""
    surroundings(name, Path(root), fault_worker.armed(Path(root), wanted))
    JOURNEYS[name].run(Path(root))


def filled(root: Path) -> None:
    """Two commits, an index of the first, and a removed image."""
    store, target = open_store(root)
    with store:
        add(root, store, target, NAMES[:3])
        publish(store, target)
        add(root, store, target, [*NAMES[3:], "gone"])
        remove(root, store, target, ["gone"])


def left_beside(place: Path, killed: bool) -> list[str]:
    """Return what is at the place of a result that failed, and, unless the process was killed, beside it."""
    wrong = [f"half of {place.name} is there"] if place.exists() else []
    if not killed and place.with_name(f"{place.name}.partial").exists():
        wrong.append(f"a remainder of {place.name} is there")
    return wrong


def backing_up(name: str, points: tuple[str, ...]) -> Journey:
    def violations(root: Path, killed: bool) -> list[str]:
        return left_beside(root / name, killed) + fault_worker.violations(root)

    def run(root: Path) -> None:
        with Store(root / "store") as store:
            back_up(store, root / name)

    def finish(root: Path) -> list[str]:
        run(root)
        again(root, root / name)
        return left_beside(root / "none", False) + fault_worker.violations(root / "again")

    return Journey(points, filled, run, violations, finish)


def again(root: Path, backup: Path) -> None:
    """Restore a backup, with the promises that were made for the store."""
    (root / "again").mkdir(exist_ok=True)
    shutil.copy(root / "promised.log", root / "again")
    catalogue = (root / CATALOGUE).read_text() if (root / CATALOGUE).exists() else None
    restore(backup, root / "again" / "store", catalogue=catalogue)


def backed_up(root: Path) -> None:
    filled(root)
    with Store(root / "store") as store:
        back_up(store, root / "backup.tar")


def restored(root: Path) -> None:
    again(root, root / "backup.tar")


def restore_violations(root: Path, killed: bool) -> list[str]:
    """What was not settled is a store all the same; before, there is none, and after an error nothing at all."""
    place = root / "again" / "store"
    try:
        Store(place).close()
    except LookalikeError:
        left = [] if killed else [path.name for path in place.iterdir()]
        return [f"{name} was left" for name in left]
    if "restore.settle" not in fault_worker.reached(root):
        return ["half a store can be opened"]
    return fault_worker.violations(root / "again")


def restore_again(root: Path) -> list[str]:
    """The same restore makes the store, or, where there is one already, says so and clears what it had left."""
    place = root / "again" / "store"
    whole = (place / "store.toml").exists()
    try:
        restored(root)
    except GuardRefused as refusal:
        if not whole:
            return [str(refusal)]
    else:
        if whole:
            return ["a store was restored over another"]
    left = [path.name for path in place.iterdir() if path.name.startswith(".")]
    return [f"{name} was left" for name in left] + fault_worker.violations(root / "again")


def export(root: Path) -> None:
    with Store(root / "store") as store:
        export_rows(store, store.catalogue.collection("default"), root / "out")


def export_violations(root: Path, killed: bool) -> list[str]:
    return left_beside(root / "out", killed) + fault_worker.violations(root)


def export_again(root: Path) -> list[str]:
    export(root)
    rows = len(np.load(root / "out" / EMBEDDINGS))
    wrong = [] if rows == len(NAMES) else [f"{rows} of {len(NAMES)} rows were exported"]
    return wrong + (["a remainder is there"] if (root / "out.partial").exists() else [])


def there_and_back(root: Path) -> None:
    """Search another space, then the one before; from wherever a run before this one ended."""
    with Store(root / "store") as store:
        if store.catalogue.collection("default").space.backbone == SPACE.backbone:
            fault_worker.reembed(store, OTHER_SPACE, [*NAMES, "gone"])
            SpaceUpgrade(store, store.catalogue.collection("default")).promote()
        SpaceUpgrade(store, store.catalogue.collection("default")).rollback()


def swap_violations(root: Path, _killed: bool) -> list[str]:
    return fault_worker.violations(root)


def swap_again(root: Path) -> list[str]:
    there_and_back(root)
    return fault_worker.violations(root)


def bucket(root: Path) -> None:
    """The folders that stand for a bucket; a real one needs none."""
    for folder in ("segments", "generations"):
        (root / "bucket" / folder).mkdir(parents=True)


def in_object_storage(root: Path) -> None:
    store, target = open_store(root)
    with store:
        add(root, store, target, ["a", "b", "c"])
        publish(store, target)
        add(root, store, target, ["d"])
        shutil.rmtree(root / "cache")
        SnapshotReader(store.database, store.blobs, target).current().search(row_of("a"), 1)
        remove(root, store, target, ["b"])


def object_violations(root: Path, _killed: bool) -> list[str]:
    return fault_worker.violations(root)


def copied(root: Path) -> None:
    """Three pictures with a copy of each, indexed, and a sidecar."""
    (root / "tree").mkdir()
    paths = []
    for number in range(3):
        for name in (f"{number}.jpg", f"{number} again.jpg"):
            (root / "tree" / name).write_text(f"picture {number}")
        paths.append([root / "tree" / f"{number}.jpg", root / "tree" / f"{number} again.jpg"])
    (root / "tree" / "0 again.jpg.xmp").write_text("a sidecar")
    rng = np.random.default_rng(1)
    tree = planned_trees.Tree(root / "tree", paths, [])
    with Store(root / "store") as store:
        planned_trees.indexed(store, tree, rng, rooted=True, joined=False)
    (root / "before").write_bytes(pickle.dumps((tree, file_snapshots.snapshot(tree.root))))


def there_back_and_gone(root: Path) -> None:
    """Plan, move and bring back, link and bring back, move again and delete; from wherever a run before ended."""
    tree, _ = pickle.loads((root / "before").read_bytes())  # noqa: S301 -- written above
    with Store(root / "store") as store:
        files = PlanFiles(store.root)
        plans = sorted(path.stem for path in files.folder.glob("*.json"))
        target = store.catalogue.collection("default")
        plan = files.load(plans[0]) if plans else planned_trees.planned(store, tree, target)
        for action in ("quarantine", "hardlink", "quarantine"):
            _require_whole(planned_trees.applied(store, plan, Wanted(action, max_fraction=1.0)).stopped)
            if action == "quarantine" and (root / "linked").exists():
                break
            with files.locked():
                _require_whole(undo(store, plan.id).stopped)
            if action == "hardlink":
                (root / "linked").touch()
        with files.locked():
            _require_whole(purge(store, None, 0.0).stopped)


def _require_whole(stopped: str | None) -> None:
    if stopped:
        raise LookalikeError(stopped)


def plan_violations(root: Path, _killed: bool) -> list[str]:
    """Each content is somewhere, and nothing but a purge takes a file away."""
    _, before = pickle.loads((root / "before").read_bytes())  # noqa: S301
    now = file_snapshots.snapshot(root / "tree")
    if "purge" in fault_worker.reached(root):
        return [f"{one} is lost" for one in file_snapshots.contents(before) - file_snapshots.contents(now)]
    return file_snapshots.lost(before, now)


def plan_again(root: Path) -> list[str]:
    """Afterwards one file of each content is there, those that were kept, and the catalogue names them alone."""
    there_back_and_gone(root)
    _, before = pickle.loads((root / "before").read_bytes())  # noqa: S301
    now = file_snapshots.snapshot(root / "tree")
    kept = {name for name in before if "again" not in name}
    wrong = [f"{name} is not as it was" for name in kept if now.get(name) != before[name]]
    live = {name for name in now if QUARANTINE not in name}
    wrong += [f"{name} is left" for name in live - kept]
    with Store(root / "store") as store:
        target = store.catalogue.collection("default")
        named = {uri for _, uri in store.catalogue.uris(target.id)}
        searched = len(SnapshotReader(store.database, store.blobs, target).current())
        wrong += [str(fault) for fault in verify(store, deep=True)]
    expected = {uri_of_path(str(root / "tree" / name)) for name in kept}
    wrong += [f"the catalogue names {one}" for one in named ^ expected]
    return wrong + ([] if searched == len(kept) else [f"{searched} images are searched"])


JOURNEYS = {
    "object storage": Journey(OBJECT_POINTS, bucket, in_object_storage, object_violations, fault_worker.finish),
    "backup": backing_up("backup", ("backup.file", "backup.manifest")),  # a tar has its own writer
    "backup.tar": backing_up("backup.tar", BACKUP_POINTS),
    "restore": Journey(
        tuple(point for point in RESTORE_POINTS if point != "restore.settle"),
        backed_up,
        restored,
        restore_violations,
        restore_again,
    ),
    "restore into PostgreSQL": Journey(("restore.settle",), backed_up, restored, restore_violations, restore_again),
    "export": Journey(EXPORT_POINTS, filled, export, export_violations, export_again),
    "plan": Journey(PLAN_POINTS, copied, there_back_and_gone, plan_violations, plan_again),
    "upgrade": Journey(UPGRADE_POINTS, filled, there_and_back, swap_violations, swap_again),
}
