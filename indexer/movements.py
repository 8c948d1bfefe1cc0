"""Recognising moved and vanished files: the same content under a new name, and names without a file."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from indexer.outcomes import Known
from indexer.sources import Source
from search.catalogue import Catalogue, KnownFile
from search.records import Collection, path_of_uri, uri_of_path

# Where systems mount disks that come and go.
REMOVABLE = (Path("/media"), Path("/mnt"), Path("/run/media"), Path("/Volumes"))


class Movements:
    """Decides which stored image a file with a known content is. Each image moves at most once per job."""

    def __init__(self, catalogue: Catalogue, target: Collection, sources: Sequence[Source]) -> None:
        self._catalogue = catalogue
        self._target = target
        self._roots = [uri_of_path(source.path) + "/" for source in sources if source.kind == "folder"]
        self.claimed: set[int] = set()

    def stored_at(self, known: Known) -> KnownFile | None:
        """Return the image that is at this file's place already."""
        return self._catalogue.files(self._target.id, [known.file.uri]).get(known.file.uri)

    def moved_from(self, known: Known) -> KnownFile | None:
        """Return the image whose file this one is under a new name, None for a further copy.

        An image has moved when its own file is gone. Where disks are mounted, a whole folder that is missing may be a
        disk that is not plugged in, and its images are left where they are.
        """
        for stored in self._catalogue.files_of_content(self._target.id, known.content_id):
            if stored.image_id not in self.claimed and self._is_gone(stored.uri):
                self.claimed.add(stored.image_id)
                return stored
        return None

    def vanished(self, seen_ids: Sequence[int], newest_id: int) -> Iterator[str]:
        """Yield the uris below this job's folders whose file is gone.

        seen_ids: images met on the walk. newest_id: the newest image before the job; later ones are its own.
        """
        seen = np.unique(np.fromiter(seen_ids, np.int64, len(seen_ids)))
        for image_id, uri in self._catalogue.uris(self._target.id):
            if image_id > newest_id or image_id in self.claimed or not self._below_roots(uri):
                continue
            place = int(np.searchsorted(seen, image_id))
            if (place == len(seen) or seen[place] != image_id) and _is_missing(uri):
                yield uri

    def healed(self, ledger: Sequence[str], failed: frozenset[str]) -> list[str]:
        """Return those of the ledger's uris that this job looked at without failing: mended, or gone."""
        return [uri for uri in ledger if uri not in failed and self._below_roots(uri)]

    def _below_roots(self, uri: str) -> bool:
        return any(f"{uri}/".startswith(root) for root in self._roots)

    def _is_gone(self, uri: str) -> bool:
        """Tell whether a file is gone for good, and not on a disk that is not plugged in."""
        path = path_of_uri(uri)
        if path is None or not _is_missing(uri):
            return False
        if self._below_roots(uri) or path.parent.is_dir():
            return True
        return not any(path.is_relative_to(place) for place in REMOVABLE)


def _is_missing(uri: str) -> bool:
    """Tell whether nothing has this name; a place that cannot be looked at is not missing."""
    path = path_of_uri(uri)
    return path is not None and _absent(path)


def _absent(path: Path) -> bool:
    try:
        os.lstat(path)  # noqa: PTH116 -- Path.exists hides permission errors
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
