"""Recognising moved and vanished files: the same content under a new name, and names without a file."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from indexer.jobs.outcomes import Known
from indexer.jobs.planning import key_of
from indexer.sources.found import ROW, Source, Visit, archive_of, relative_to
from indexer.sources.pruning import Vanished
from search.records import Collection, path_of_uri, uri_of_path
from search.storing.catalogue import Catalogue, KnownFile
from search.storing.origins import Origins

# Where systems mount disks that come and go.
REMOVABLE = (Path("/media"), Path("/mnt"), Path("/run/media"), Path("/Volumes"))


class Movements:
    """Decides which stored image a file with a known content is. Each image moves at most once per job."""

    def __init__(self, catalogue: Catalogue, origins: Origins, target: Collection, sources: Sequence[Source]) -> None:
        self._catalogue = catalogue
        self._origins = origins
        self._target = target
        self._sources = sources
        self._folders = [source for source in sources if source.kind == "folder"]
        self._roots = [_root(source) + "/" for source in self._folders]
        self._archives = frozenset(source.uri for source in sources if source.kind == "archive")
        self.claimed: set[int] = set()

    def claim(self, image_id: int) -> bool:
        """Take an image for a file; return whether no other file of this job took it before."""
        if image_id in self.claimed:
            return False
        self.claimed.add(image_id)
        return True

    def stored_at(self, known: Known) -> KnownFile | None:
        """Return the image that this file is already: by its key where its source gives one, else by its place."""
        key = key_of(known.file)
        if key is not None and (stored := self._origins.files_by_key([key]).get(key)) is not None:
            return stored
        here = self._catalogue.files(self._target.id, [known.file.uri]).get(known.file.uri)
        if key is None or here is None:
            return here
        # A first key is for an image without one, and one image gets no two of them.
        return here if here.key == here.uri and self.claim(here.image_id) else None

    def moved_from(self, known: Known) -> KnownFile | None:
        """Return the image whose file this one is under a new name, None for a further copy.

        An image has moved when its own file is gone. Where disks are mounted, a whole folder that is missing may be a
        disk that is not plugged in, and its images are left where they are. A file with a key of its own is no other.
        """
        if key_of(known.file) is not None:
            return None
        for stored in self._catalogue.files_of_content(self._target.id, known.content_id):
            if stored.image_id not in self.claimed and self._is_gone(stored.uri):
                self.claimed.add(stored.image_id)
                return stored
        return None

    def vanished(self, seen_ids: Sequence[int], newest_id: int, visits: Mapping[str, Visit]) -> Vanished:
        """Return the images of this job's sources whose file is gone; those that only a manifest named apart.

        seen_ids: images met on the walk. newest_id: the newest image before the job; later ones are its own. visits:
        what the walk saw.
        """
        seen = np.unique(np.fromiter(seen_ids, np.int64, len(seen_ids)))
        ids: list[int] = []
        known = 0
        for image_id, uri in self._catalogue.uris(self._target.id):
            if image_id > newest_id or not self._below_roots(uri):
                continue
            known += 1
            unseen = image_id not in self.claimed and not _holds(seen, image_id)
            if unseen and self._is_missing(uri, visits):
                ids.append(image_id)
        return Vanished(ids, known)

    def left_manifests(self, named_ids: Sequence[int], newest_id: int, visits: Mapping[str, Visit]) -> Vanished:
        """Return the images outside of the folders that no row of their manifest names any more.

        named_ids: images that a row names, whether or not its picture can be read now. A manifest with rows that can
        only be guessed at may name anything. newest_id, visits: as of vanished.
        """
        seen = np.unique(np.fromiter(named_ids, np.int64, len(named_ids)))
        whole = [
            source.uri
            for source in self._sources
            if source.kind == "manifest" and _whole(visits, source.uri) and not visits[source.uri].garbled
        ]
        ids: list[int] = []
        known = 0
        for source in self._origins.sources(whole).values():
            for image_id, uri in self._origins.images_of(source.id):
                if image_id > newest_id or self._below_roots(uri):
                    continue
                known += 1
                if image_id not in self.claimed and not _holds(seen, image_id):
                    ids.append(image_id)
        return Vanished(sorted(set(ids)), known)

    def gone(self, uris: Sequence[str]) -> Vanished:
        """Return the images at these places, or below them, whose file is missing."""
        known = self._catalogue.files(self._target.id, uris)
        ids = {stored.image_id: stored.uri for stored in known.values()}
        # What is no image was a folder, perhaps: a folder that moves away tells only of itself.
        folders = tuple(f"{uri}/" for uri in uris if uri not in known)
        if folders:
            ids |= {image_id: uri for image_id, uri in self._catalogue.uris(self._target.id) if uri.startswith(folders)}
        missing = [image_id for image_id, uri in ids.items() if image_id not in self.claimed and _lacks_file(uri)]
        return Vanished(sorted(missing), self._catalogue.count_images(self._target.id))

    def healed(self, ledger: Sequence[str], failed: frozenset[str], visits: Mapping[str, Visit]) -> list[str]:
        """Return those of the ledger's uris that this job looked at without failing: mended, or gone."""
        return [uri for uri in ledger if uri not in failed and self._looked_at(uri, visits)]

    def _looked_at(self, uri: str, visits: Mapping[str, Visit]) -> bool:
        archive, manifest = archive_of(uri), uri.partition(ROW)[0]
        if archive is not None or manifest != uri or uri in self._archives:
            return _whole(visits, archive or manifest) or self._left_folder(archive or manifest)
        return self._below_roots(uri) or uri in visits

    def _left_folder(self, uri: str) -> bool:
        """Tell whether an archive or a manifest lay below a folder of this job, and is gone."""
        return self._below_roots(uri) and _lacks_file(uri)

    def _below_roots(self, uri: str) -> bool:
        if archive_of(uri) in self._archives:
            return True
        return any(f"{uri}/".startswith(root) for root in self._roots)

    def _is_missing(self, uri: str, visits: Mapping[str, Visit]) -> bool:
        """Tell whether an image that the walk did not meet is gone; what cannot be looked at is not."""
        archive = archive_of(uri)
        if archive is not None and archive in self._archives:
            visit = visits.get(archive)
            wanted = not any(source.exclude.matches(relative_to(f"{archive}!/", uri)) for source in self._sources)
            return visit is not None and visit.whole and not visit.unchanged and wanted
        if path_of_uri(archive or uri) is not None:
            return _lacks_file(uri)
        return any(
            f"{uri}/".startswith(f"{source.uri}/")
            and source.pattern is None
            and not source.exclude.matches(relative_to(f"{source.uri}/", archive or uri))
            and _whole(visits, source.uri)
            and archive is None
            for source in self._folders
            if source.remote
        )

    def _is_gone(self, uri: str) -> bool:
        """Tell whether a file is gone for good, and not on a disk that is not plugged in."""
        path = path_of_uri(archive_of(uri) or uri)
        if path is None or not _absent(path):
            return False
        if self._below_roots(uri) or path.parent.is_dir():
            return True
        return not any(path.is_relative_to(place) for place in REMOVABLE)


def _root(source: Source) -> str:
    return source.uri or uri_of_path(source.path)


def _whole(visits: Mapping[str, Visit], uri: str) -> bool:
    visit = visits.get(uri)
    return visit is not None and visit.whole


def _holds(numbers: NDArray[np.int64], number: int) -> bool:
    place = int(np.searchsorted(numbers, number))
    return place < len(numbers) and bool(numbers[place] == number)


def _lacks_file(uri: str) -> bool:
    """Tell whether nothing has this name; a member of an archive is there while its archive is."""
    path = path_of_uri(archive_of(uri) or uri)
    return path is not None and _absent(path)


def _absent(path: Path) -> bool:
    try:
        os.lstat(path)  # noqa: PTH116 -- Path.exists hides permission errors
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False
