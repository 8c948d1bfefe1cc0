"""Maps of collections for the web page: made in a thread of their own, one at a time, and kept.

A map takes seconds to make, so nobody waits for one: who asks meanwhile gets the one before, or hears how far it is.
"""

import logging
import os
import sys
import threading

from api.workspace import Workspace
from search.errors import LookalikeError
from search.finding.snapshot import Snapshot
from search.mapping.collection_map import FOLDER, CollectionMap, keep_map, kept_map, make_map, map_name
from search.records import Collection

log = logging.getLogger(__name__)
NICE = 10  # searches go first


class Maps:
    """Makes and remembers maps. Thread-safe."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._folder = workspace.store.root / FOLDER
        self._maps: dict[int, CollectionMap] = {}
        self._failed: dict[str, LookalikeError] = {}
        self._making: dict[int, float] = {}  # collections, and how far their maps are
        self._lock = threading.Lock()
        self._one = threading.Lock()  # a map uses all processors

    def get(self, target: Collection) -> tuple[CollectionMap | None, float | None]:
        """Return the map of a collection, and how far the next one is, 0 to 1; None where there is none.

        Raises:
            LookalikeError: by name, why there is no map of this state.
        """
        snapshot = self._workspace.snapshot(target)
        name = map_name(snapshot)
        with self._lock:
            found = self._maps.get(target.id)
            if found is None or found.name != name:
                if name in self._failed:
                    raise self._failed[name]
                if target.id not in self._making:
                    self._making[target.id] = 0.0
                    threading.Thread(target=self._make, args=(snapshot, name), name="map", daemon=True).start()
            return found, self._making.get(target.id)

    def _make(self, snapshot: Snapshot, name: str) -> None:
        collection = snapshot.collection.id
        if sys.platform == "linux":  # elsewhere a thread has no priority of its own
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        try:
            with self._one:
                made = kept_map(self._folder, snapshot)
                if made is None:
                    made = make_map(snapshot, lambda share: self._tell(collection, share))
                    keep_map(self._folder, snapshot, made)
            with self._lock:
                self._maps[collection] = made
        except LookalikeError as error:
            self._refuse(name, error)
        except Exception:  # nobody else would hear of it, and whoever asks would wait for ever
            log.exception("the map of collection %s could not be made", snapshot.collection.name)
            self._refuse(name, LookalikeError("the map could not be made; the server's log says why"))
        finally:
            with self._lock:
                del self._making[collection]

    def _tell(self, collection: int, share: float) -> None:
        with self._lock:
            self._making[collection] = share

    def _refuse(self, name: str, error: LookalikeError) -> None:
        with self._lock:
            self._failed = {name: error}
