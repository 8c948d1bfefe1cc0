"""What indexing jobs saw, counted where they walk and not where they store: the independent side of `status`.

At its end a job writes down how many files its walk found below its folders, and how many of those the catalogue then
knew as images or in the ledger (`indexer.jobs.index_images`). It also writes down how many images the collection had:
ids are never used twice and removed images are tombstones, so that number can be counted again later.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, func, select

from search.database.tables import collection, image, job
from search.records import Collection

LOOKED_BACK = 200  # jobs; whatever an older one saw, another has seen since
SHOWN_ROOTS = 3


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a job saw below its roots (uris). found: files, as its walk counted them; images, failed: of those, what the
    catalogue had at its end, and the ledger alone. living: all images of the collection then, none with an id above
    newest_id, at the commit `sequence`.
    """

    roots: tuple[str, ...]
    found: int
    images: int
    failed: int
    living: int
    newest_id: int
    sequence: int

    def as_json(self) -> dict[str, object]:
        """Return what a job keeps of it."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"roots": list(self.roots)}

    @property
    def lost(self) -> int:
        """How many files were found, and are neither an image nor in the ledger; below zero for too many."""
        return self.found - self.images - self.failed


def disagreements(connection: Connection, target: Collection) -> dict[str, int]:
    """Return what was seen and is not in the catalogue, a sentence each, with how many files that are."""
    found: dict[str, int] = {}
    looked: list[str] = []
    for sighting in _sightings(connection, target.id):
        if not looked:
            gone = _gone_since(connection, target.id, sighting)
            if gone > 0:
                told = "1 image is" if gone == 1 else f"{gone:,} images are"
                found[f"{told} gone that nobody removed since the last `index`; {REMEDY}"] = gone
        if not _all_below(sighting.roots, looked) and sighting.lost:
            found[_told(sighting)] = sighting.lost
        looked += sighting.roots
    return found


REMEDY = "`lookalike verify --deep` tells what else is wrong, and a backup has them"


def ignored_files(connection: Connection, target: Collection) -> int:
    """Return how many files that are no images were met: below each place, by the newest job that walked all of it."""
    counted: list[tuple[list[str], int]] = []
    for progress in _finished(connection, target.id):
        roots, ignored = progress.get("walked") or [], progress.get("ignored")
        looked = [root for others, _ in counted for root in others]
        if not isinstance(ignored, int) or (counted and _all_below(roots, looked)):
            continue
        # What a newer job met inside of this one's folders is a part of it.
        counted = [one for one in counted if not _all_below(one[0], roots)]
        counted.append((roots, ignored))
    return sum(ignored for _, ignored in counted)


def _all_below(roots: Sequence[str], others: list[str]) -> bool:
    """Tell whether places lie below others; places that nobody knows do."""
    return all(_below(root, others) for root in roots)


def _finished(connection: Connection, collection_id: int) -> list[Mapping[str, Any]]:
    """Return what finished jobs wrote down, the newest first."""
    done = (job.c.collection_id == collection_id) & (job.c.kind == "index") & (job.c.state == "done")
    newest = select(job.c.progress).where(done).order_by(job.c.id.desc()).limit(LOOKED_BACK)
    return list(connection.execute(newest).scalars())


def _sightings(connection: Connection, collection_id: int) -> list[Sighting]:
    """Return what finished jobs saw, the newest first."""
    kept = [progress.get("sighting") for progress in _finished(connection, collection_id)]
    return [_sighting(one) for one in kept if one]


def _sighting(kept: Mapping[str, Any]) -> Sighting:
    return Sighting(**{**kept, "roots": tuple(kept["roots"])})


def _gone_since(connection: Connection, collection_id: int, sighting: Sighting) -> int:
    """Return how many images of then are neither living nor tombstones."""
    purged = select(collection.c.purged_sequence).where(collection.c.id == collection_id)
    if connection.execute(purged).scalar_one() > sighting.sequence:
        return 0  # `compact` has taken tombstones away since, so that nobody can count them
    there = (image.c.collection_id == collection_id) & (image.c.id <= sighting.newest_id)
    left = there & (~image.c.deleted | (image.c.sequence > sighting.sequence))
    return sighting.living - int(connection.execute(select(func.count()).where(left)).scalar_one())


def _below(root: str, others: list[str]) -> bool:
    return any(f"{root}/".startswith(f"{other.rstrip('/')}/") for other in others)


def _told(sighting: Sighting) -> str:
    more = ", ..." if len(sighting.roots) > SHOWN_ROOTS else ""
    place = f"{', '.join(sighting.roots[:SHOWN_ROOTS])}{more}"
    counts = f"{sighting.images:,} of them are images and {sighting.failed:,} in the ledger alone"
    return f"an `index` found {sighting.found:,} files below {place}, but {counts}; run it again"
