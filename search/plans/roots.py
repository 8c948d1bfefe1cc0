"""The folders that were indexed, as the catalogue's jobs remember them, and which of them a file belongs to."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from sqlalchemy import select

from search.database.database import Database
from search.database.tables import job
from search.plans.plan import PlannedRoot
from search.records import Collection, path_of_uri, uri_of_path
from search.storing.catalogue import Catalogue

LOOKED_BACK: Final = 1_000  # jobs


def indexed_folders(database: Database, target: Collection) -> list[Path]:
    """Return the local folders that jobs of a collection have walked and that are there now, outermost first."""
    query = select(job.c.progress).where(job.c.collection_id == target.id, job.c.kind == "index")
    with database.reading() as connection:
        kept = list(connection.execute(query.order_by(job.c.id.desc()).limit(LOOKED_BACK)).scalars())
    uris = {uri for progress in kept for uri in (progress.get("sighting") or {}).get("roots", ())}
    paths = [path for path in map(path_of_uri, sorted(uris)) if path is not None]
    return sorted(
        (path for path in paths if path.is_dir() and path.resolve() == path), key=lambda path: len(path.parts)
    )


class Roots:
    """Gives each file the folder in which its quarantine is to lie."""

    def __init__(self, folders: Sequence[Path]) -> None:
        """folders: outermost first."""
        self._folders = [(folder, folder.stat().st_dev) for folder in folders]
        self._used: dict[Path, int] = {}

    def root_of(self, path: Path, device: int) -> Path:
        """Return the outermost indexed folder above a file on the same file system; the file's own where none is."""
        above = [folder for folder, on in self._folders if on == device and folder in path.parents]
        chosen = above[0] if above else path.parent
        self._used.setdefault(chosen, device)
        return chosen

    def planned(self, catalogue: Catalogue, target: Collection) -> tuple[PlannedRoot, ...]:
        """Return the folders that were given away, with how many images of the collection lie below each."""
        uris = {uri_of_path(os.fspath(root)).rstrip("/"): root for root in sorted(self._used)}
        counts = dict.fromkeys(uris, 0)
        for _, uri in catalogue.uris(target.id):
            at = uri.rfind("/")
            while at > 0:  # through the folders above it, of which few are roots, though there may be many roots
                folder = uri[:at]
                if folder in counts:
                    counts[folder] += 1
                at = uri.rfind("/", 0, at)
        return tuple(
            PlannedRoot(uri_of_path(os.fspath(root)), self._used[root], counts[uri]) for uri, root in uris.items()
        )
