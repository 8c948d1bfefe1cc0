"""Telling the catalogue: searches name no quarantined file, and name a restored one again, with the same id.

Which images were taken out is written down first, so that `undo` brings back those and no others.
"""

from collections.abc import Iterable, Iterator
from typing import Final

from search.database.database import chunks
from search.errors import CollectionNotFound
from search.faults import fault
from search.plans.disk import seen
from search.plans.history import FORGETTING, RECALLED, Known, history
from search.plans.journal import Journal
from search.storing.removals import images_holding, recall_images, remove_images
from search.storing.store import Store

AT_ONCE: Final = 500


def forget_moved(store: Store, journal: Journal) -> int:
    """Take the images of quarantined files out of every collection; return how many that were.

    Those alone that still are of these bytes at this place. What a link or clone replaced stays, as its path does.

    Raises:
        StoreUnavailable: the catalogue cannot be written; the next run tells it.
        OSError: the journal cannot be written.
    """
    known = history(journal.lines)
    moved = [one for one in known.at("quarantine") if one.move.action == "quarantine" and one.move.sidecar_of is None]
    moved = [one for one in moved if seen(one.move.path) is None]
    gone = 0
    for part in chunks(moved, AT_ONCE):
        gone += _forget(store, journal, part)
    return gone


def _forget(store: Store, journal: Journal, files: list[Known]) -> int:
    contents = {one.move.home: bytes.fromhex(one.move.sha256) for one in files}
    found = {target: images_holding(store.database, target, contents) for target in store.catalogue.collections()}
    images = [(target.name, image_id, uri) for target, ids in found.items() for image_id, uri in ids.items()]
    if not images:
        return 0
    journal.append(FORGETTING, {"images": images})
    fault("plan.forget")
    return sum(remove_images(store.database, target, ids) for target, ids in found.items() if ids)


def recall_restored(store: Store, journal: Journal) -> tuple[int, int]:
    """Bring the images of restored files back; return how many were, and how many only `index` can bring back.

    Raises:
        StoreUnavailable: the catalogue cannot be written; the next run tells it.
        OSError: the journal cannot be written.
    """
    known = history(journal.lines)
    home = {uri for uri in known.forgotten if uri in known.files and known.files[uri].place == "home"}
    recalled = lost = 0
    for uris in chunks(sorted(home), AT_ONCE):
        images = [image for uri in uris for image in known.forgotten[uri]]
        fault("plan.recall")
        for name, ids in _by_collection(images):
            back, missing = _recall(store, name, ids)
            recalled += back
            lost += missing
        journal.append(RECALLED, {"uris": uris})
    return recalled, lost


def _by_collection(images: Iterable[tuple[str, int]]) -> Iterator[tuple[str, list[int]]]:
    by_name: dict[str, list[int]] = {}
    for name, image_id in images:
        by_name.setdefault(name, []).append(image_id)
    yield from by_name.items()


def _recall(store: Store, name: str, ids: list[int]) -> tuple[int, int]:
    """Return how many images are there again, and how many are not."""
    try:
        target = store.catalogue.collection(name)
    except CollectionNotFound:
        return 0, len(ids)
    back = recall_images(store.database, target, ids)
    return back, len(ids) - len(store.catalogue.images_by_id(target.id, ids))
