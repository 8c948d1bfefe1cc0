"""Duplicate reports of the server: one per state of a collection and threshold, the newest few kept."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

from api.queries import DedupThreshold
from api.workspace import Workspace
from search.duplicates.groups import DuplicateGroup
from search.duplicates.report import DuplicateReport
from search.records import Collection, ImageRecord
from search.storing.verdicts import Newest, Verdicts

KEPT = 4


class DuplicateReports:
    """Computes reports one at a time and remembers them. Thread-safe."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._kept: OrderedDict[tuple[int, int, DedupThreshold, Newest], DuplicateReport] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, target: Collection, chosen: DedupThreshold) -> DuplicateReport:
        """Return the report of a collection as it is now, and as people have spoken by now."""
        said = Verdicts(self._workspace.store.database).newest()
        name = (target.id, target.sequence, chosen, said)
        with self._lock:
            if name not in self._kept:
                request = self._workspace.duplicates.request(target, chosen)
                self._kept[name] = self._workspace.duplicates.find(target, request)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(name)
            return self._kept[name]

    def shown(self, target: Collection, groups: Sequence[DuplicateGroup]) -> list[DuplicateGroup]:
        """Return groups of a report with the metadata of now, which a kept report does not follow."""
        ids = {record.id for group in groups for record in (group.keeper, *(member.image for member in group.members))}
        now = self._workspace.store.catalogue.images_by_id(target.id, ids)

        def renewed(old: ImageRecord) -> ImageRecord:
            return replace(old, metadata=now[old.id].metadata) if old.id in now else old

        return [
            replace(
                group,
                keeper=renewed(group.keeper),
                members=tuple(replace(member, image=renewed(member.image)) for member in group.members),
            )
            for group in groups
        ]
