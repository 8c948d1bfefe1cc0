"""Searches by stored images that want the same, asked by several at about the same time: answered at once.

What is asked of the catalogue and read from segments costs nearly as much for one as for several, and an index that
compares everything is read once for all.
"""

import time
from collections.abc import Sequence

import numpy as np

from api.queries import Found, QueryRequest
from api.workspace import Workspace
from search.calibration.current import with_probability
from search.errors import ImageNotFound
from search.finding.find_similar import QueryContent, find_similar_each
from search.finding.plain_pictures import why_plain_image
from search.records import Collection, ImageRecord


def search_by_images(
    workspace: Workspace, target: Collection, images: Sequence[ImageRecord], wanted: QueryRequest
) -> list[Found | None]:
    """Return what `Workspace.search_by_image` returns of each of some images, in their order.

    None of one that must be searched for by itself: it shows next to nothing, or one of them was deleted meanwhile.
    wanted: `is_plain`. Each is said to have taken as long as all together, since none was there sooner.

    Raises:
        ValueError: it is not plain.
    """
    if not wanted.is_plain:
        raise ValueError(f"{wanted} takes more than embeddings")
    began, snapshot = time.perf_counter(), workspace.snapshot(target)
    found: list[Found | None] = [None] * len(images)
    places = [place for place, image in enumerate(images) if why_plain_image(image) is None]
    if not places:
        return found
    try:
        embeddings = snapshot.embeddings_of(np.array([images[place].id for place in places], np.int64), stored=True)
    except ImageNotFound:
        return found
    known = workspace.calibration(snapshot)
    limits = workspace.limits(snapshot, wanted, known)
    contents = [QueryContent(images[place].sha256, images[place].pixel_hash) for place in places]
    each = find_similar_each(snapshot, workspace.store.catalogue, embeddings, contents, limits, workspace.watching)
    took_ms = 1000 * (time.perf_counter() - began)
    for place, matches in zip(places, each, strict=True):
        found[place] = Found(with_probability(matches, known, looked=False), 0.0, 0.0, took_ms)
    return found
