"""Label counts of the server: one list per state of a collection, the newest few kept."""

import threading
from collections import OrderedDict

from api.workspace import Workspace
from search.records import Collection, LabelCount

KEPT = 8


class LabelCounts:
    """Counts labels when a collection has changed, and remembers. Thread-safe."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._kept: OrderedDict[tuple[int, int, int], list[LabelCount]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, target: Collection) -> list[LabelCount]:
        """Return the labels of a collection as it is now, most frequent first."""
        name = (target.id, target.sequence, target.label_space_id)
        with self._lock:
            if name not in self._kept:
                self._kept[name] = self._workspace.store.catalogue.labels.counts(target)
                while len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(name)
            return self._kept[name]
