"""The journeys that together pass every fault point, and what must hold of the store afterwards.

Images are rows of random numbers, so that a journey takes milliseconds. What was promised is written to a file before
the next step, durably: `+name` when an image was acknowledged, `-name` when its removal was, `?name` before it is
asked for.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from search import faults
from search.database.tables import embedding, image
from search.embeddings import unit_rows
from search.errors import CorruptFile
from search.finding.generations import Generations
from search.finding.snapshot import SnapshotReader
from search.records import Collection, Embeddings, SpaceSpec
from search.spaces.space_upgrade import ShadowRow, SpaceUpgrade
from search.storing.commits import Batch, Committer
from search.storing.removals import remove_images
from search.storing.store import Store
from search.upkeep.compaction import compact
from search.upkeep.repairing import repairs
from search.upkeep.verification import verify
from tests.fakes import facts, new_image

DIMS = 16
SPACE = SpaceSpec("rows", "0" * 64, "{}", DIMS)
OTHER_SPACE = SpaceSpec("other rows", "1" * 64, "{}", 8)
ADDED = ("a", "b", "c", "d")
REACHED = "reached.log"


def row_of(name: str, spec: SpaceSpec = SPACE) -> Embeddings:
    """Return the embedding of an image in a space, (1, D), known by its name alone."""
    said = name if spec.backbone == SPACE.backbone else f"{spec.backbone} {name}"
    seed = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8])
    return unit_rows(np.random.default_rng(seed).normal(size=(1, spec.dims)))


def armed(root: Path, wanted: str) -> pytest.MonkeyPatch:
    """Make a fault point fail until the patch is undone; `reached` tells of it, also where the process was killed."""
    patch, fail = pytest.MonkeyPatch(), faults._fail

    def noted(point: str, action: str, handle: int | None) -> None:
        (root / REACHED).write_text(f"{point} {action} {'at no file' if handle is None else 'at a file'}")
        fail(point, action, handle)

    patch.setattr(faults, "_fail", noted)
    patch.setattr(faults, "_hits", Counter())
    patch.setenv("LOOKALIKE_FAULT", wanted)
    return patch


def reached(root: Path) -> str:
    """Return which point failed and how: `segment.write short at a file`."""
    return (root / REACHED).read_text() if (root / REACHED).exists() else "nothing was reached"


def promise(root: Path, mark: str, names: Sequence[str]) -> None:
    with (root / "promised.log").open("a") as file:
        file.writelines(f"{mark}{name}\n" for name in names)
        file.flush()
        os.fsync(file.fileno())


def open_store(root: Path) -> tuple[Store, Collection]:
    store = Store.create(root / "store")
    return store, store.open_collection("default", SPACE)


def add(root: Path, store: Store, target: Collection, names: Sequence[str]) -> None:
    embeddings = np.concatenate([row_of(name) for name in names])
    committer = Committer(store.database, store.blobs, target)
    committer.commit(Batch([new_image(name) for name in names], embeddings))
    promise(root, "+", names)


def remove(root: Path, store: Store, target: Collection, names: Sequence[str]) -> None:
    promise(root, "?", names)
    known = store.catalogue.files(target.id, [f"file:///photos/{name}" for name in names])
    remove_images(store.database, target, [file.image_id for file in known.values()])
    promise(root, "-", names)


def publish(store: Store, target: Collection) -> None:
    Generations(store.database, store.blobs, target).publish(store.catalogue.collection("default").sequence)


def reembed(store: Store, spec: SpaceSpec, names: Iterable[str]) -> None:
    """Fill another space of the collection, four images at a time. names: of all contents there may be."""
    upgrade = SpaceUpgrade(store, store.catalogue.collection("default"))
    by_sha256 = {facts(name).sha256: name for name in names}
    begun = upgrade.begin(spec)
    while missing := upgrade.missing(begun.to_space_id, after=0, limit=4):
        contents = {row.content_id: by_sha256[bytes(row.sha256)] for row in missing}
        embeddings = np.concatenate([row_of(name, spec) for name in contents.values()])
        upgrade.fill(begun.to_space_id, [ShadowRow(content_id) for content_id in contents], embeddings)
    upgrade.finish(begun, {})


def everything(root: Path) -> None:
    """Make a store, fill it, remove, publish, compact, damage a segment, repair."""
    store, target = open_store(root)
    with store:
        for name in ADDED:
            add(root, store, target, [name, f"{name}{name}"])
        publish(store, target)
        remove(root, store, target, ["a", "bb"])
        compact(store, older_than_s=-1)
        add(root, store, target, ["e"])
        remove(root, store, target, ["c"])
        compact(store, older_than_s=-1)
        lose_one(root, store, target)


def lose_one(root: Path, store: Store, target: Collection) -> None:
    """Damage the segment of `f`, which nothing can bring back, and repair."""
    add(root, store, target, ["f"])
    promise(root, "?", ["f"])
    newest = max((path.stat().st_mtime_ns, path) for path in (Path(store.settings.blobs) / "segments").iterdir())[1]
    data = bytearray(newest.read_bytes())
    data[-1] ^= 1
    newest.write_bytes(data)
    generation = Generations(store.database, store.blobs, target).current()
    if generation is not None:
        flipped = bytearray((Path(store.settings.blobs) / generation.name).read_bytes())
        flipped[-1] ^= 1
        (Path(store.settings.blobs) / generation.name).write_bytes(flipped)
    repairs(store, verify(store, deep=True), apply=True)


def work(root: str, fault: str | None) -> None:
    """Run everything with a fault; an error ends it as it would end a command."""
    if fault is not None:
        armed(Path(root), fault)
    everything(Path(root))


def violations(root: Path) -> list[str]:
    """Return what is broken of the promises in the log; a fresh process would see the same."""
    lines = (root / "promised.log").read_text().split() if (root / "promised.log").exists() else []
    asked = {line[1:] for line in lines if line[0] == "?"}
    removed = {line[1:] for line in lines if line[0] == "-"}
    promised = {line[1:] for line in lines if line[0] == "+"}
    if not promised:
        return []
    with Store(root / "store") as store:
        found = [str(one) for one in verify(store, deep=True) if not (_is_lost(one.where) or "f" in asked)]
        target = store.catalogue.collection("default")
        with store.database.reading() as connection:
            names = {uri.rsplit("/")[-1]: image_id for image_id, uri in store.catalogue.uris(target.id)}
            living = connection.execute(select(func.count()).where(~image.c.deleted)).scalar_one()
            embedded = connection.execute(select(func.count()).select_from(embedding)).scalar_one()
        found += [f"{name} was acknowledged and is lost" for name in promised - asked - names.keys()]
        found += [f"{name} was removed and is back" for name in removed & names.keys()]
        found += ["an image is there twice"] if living != len(names) else []
        try:
            snapshot = SnapshotReader(store.database, store.blobs, target).current()
        except CorruptFile as error:
            return [] if "f" in asked else [str(error)]
        if "f" not in asked and (len(snapshot) != living or embedded < living):
            found.append(f"{len(snapshot)} of {living} images are searchable")
        for name, image_id in names.items():
            if name != "f" and snapshot.search(row_of(name, target.space), 1).ids.tolist() != [image_id]:
                found.append(f"{name} is not found by its own embedding")
    return found


def _is_lost(where: str) -> bool:
    return where.endswith("/f")


def finish(root: Path) -> list[str]:
    """Return the violations after the next, undisturbed run of the same commands."""
    store, target = open_store(root)
    with store:
        lines = (root / "promised.log").read_text().split() if (root / "promised.log").exists() else []
        repairs(store, verify(store, deep=True), apply=True)
        add(root, store, target, ["z"])
        compact(store, older_than_s=-1)
        assert "+z" not in lines
    return violations(root)
