"""The duplicate groups of collections as they are stored: those of the newest plan, and what people said since.

Nothing is compared and no picture is looked at: a plan names every group that `dedup` found, by content.
"""

import threading
from collections.abc import Collection as Some
from collections.abc import Iterable
from contextlib import suppress
from typing import Final

from search.errors import LookalikeError
from search.plans.plan import Plan, PlannedGroup
from search.plans.plan_files import ID, PLAN, PlanFiles
from search.storing.store import Store
from search.storing.verdicts import Newest, Verdict, Verdicts

KEPT: Final = 8  # collections whose groups are remembered


class ContentGroups:
    """Which contents (sha256) are copies of each other. A group is named by one of its contents."""

    def __init__(self, groups: Iterable[PlannedGroup], said: Iterable[Verdict]) -> None:
        self._name: dict[bytes, bytes] = {}
        self._contents: dict[bytes, set[bytes]] = {}
        told = list(said)
        apart = {(one.first, one.second) for one in told if one.keeps_apart}
        for group in groups:
            keeper = bytes.fromhex(group.keeper.sha256)
            files = (*(member.file for member in group.members), *group.stand_ins)
            for content in {bytes.fromhex(file.sha256) for file in files}:
                if (min(keeper, content), max(keeper, content)) not in apart:
                    self._join(keeper, content)
        for one in told:
            if one.is_duplicate and one.first != one.second:
                self._join(one.first, one.second)

    def name_of(self, sha256: bytes) -> bytes | None:
        """Return the name of the group of a content, None where it is in none."""
        return self._name.get(sha256)

    def contents_of(self, name: bytes) -> Some[bytes]:
        """Return the contents of a group; nothing where there is none of this name."""
        return self._contents.get(name, ())

    def _join(self, one: bytes, other: bytes) -> None:
        name, gone = self._name.get(one, one), self._name.get(other, other)
        joined = self._contents.pop(gone, {gone}) if gone != name else set()
        self._contents.setdefault(name, {name}).update(joined)
        self._name |= dict.fromkeys((name, *joined), name)


class StoredGroups:
    """Reads the groups of a store's collections, and remembers them until something changes. Thread-safe."""

    def __init__(self, store: Store) -> None:
        self._files = PlanFiles(store.root)
        self._verdicts = Verdicts(store.database)
        self._lock = threading.Lock()
        # Plans never change: the collection that each is of.
        self._collections: dict[str, str | None] = {}
        self._kept: dict[str, tuple[tuple[str | None, Newest], ContentGroups]] = {}

    def of(self, collection: str) -> ContentGroups:
        """Return the groups of a collection, by its name."""
        with self._lock:
            plan_id = self._newest(collection)
            state = (plan_id, self._verdicts.newest())
            if collection not in self._kept or self._kept[collection][0] != state:
                plan = None if plan_id is None else self._plan(plan_id)
                groups = ContentGroups(() if plan is None else plan.groups, self._verdicts.all())
                self._kept.pop(collection, None)
                self._kept[collection] = (state, groups)
                while len(self._kept) > KEPT:
                    del self._kept[next(iter(self._kept))]
            return self._kept[collection][1]

    def _newest(self, collection: str) -> str | None:
        """Return the id of the plan of a collection that was written last."""
        written = []
        for path in self._files.folder.glob(f"*{PLAN}"):
            with suppress(OSError):  # it went meanwhile
                if ID.fullmatch(path.stem):
                    written.append((path.stat().st_mtime_ns, path.stem))
        for _, plan_id in sorted(written, reverse=True):
            if plan_id not in self._collections:
                plan = self._plan(plan_id)
                self._collections[plan_id] = None if plan is None else plan.collection
            if self._collections[plan_id] == collection:
                return plan_id
        return None

    def _plan(self, plan_id: str) -> Plan | None:
        """Return a plan, None where its file is damaged: `apply` says so, and a search needs it not."""
        try:
            return self._files.load(plan_id)
        except LookalikeError:
            return None
