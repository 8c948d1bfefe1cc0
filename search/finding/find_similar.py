"""Use case: from a query embedding to the images that resemble it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from search.conditions.where import Condition
from search.finding.filter_planner import search_where
from search.finding.ranked import Ranked
from search.finding.recall_watch import RecallWatch
from search.finding.region_search import Searched, everywhere
from search.finding.snapshot import Snapshot
from search.finding.unique import Collapsing, Groups, Page
from search.records import Collection, Embeddings, ImageRecord, Match, Relation
from search.regions import region_numbered
from search.storing.catalogue import Catalogue

# What shows the same pixels scores 1 but for the rounding of embeddings, which other pictures can win by.
AS_GOOD: Final = 0.999


@dataclass(frozen=True, slots=True)
class QueryContent:
    """The hashes of the query picture, which tell identical pictures from similar ones."""

    sha256: bytes
    pixel_hash: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """How much of the ranking a caller wants.

    threshold: the score from which a match is `probable`, if known. where: what a match must fulfil; the k best are
    chosen among the images that do. groups: name each of these once; None names every image. leave_out: ids of images
    that are no matches.
    """

    k: int = 10
    min_score: float | None = None
    threshold: float | None = None
    where: Condition | None = None
    groups: Groups | None = None
    leave_out: frozenset[int] = frozenset()


def find_similar(
    snapshot: Snapshot,
    catalogue: Catalogue,
    query: Embeddings,
    content: QueryContent | None,
    wanted: Wanted,
    watch: RecallWatch | None = None,
) -> list[Match]:
    """Return at most k matches of one query: identical ones first, then the best; equal scores by lower id.

    All of them when everything is compared; an approximate index may name others of many that score the same.

    query: (1, D) float32 of unit length in the collection's space. An image that was deleted since the snapshot was
    taken is left out. watch: who checks the recall of some searches.
    """

    def find(count: int) -> Page:
        return _best(snapshot, catalogue, query, content, replace(wanted, k=count), watch)

    if wanted.groups is None:
        return find(wanted.k).matches
    return Collapsing(catalogue.database, snapshot.collection.id, wanted.groups).search(find, wanted.k)


class _Found(NamedTuple):
    """records: of the images that were ranked at least, but for those that are gone."""

    ranked: Ranked
    records: Mapping[int, ImageRecord]


def find_similar_each(
    snapshot: Snapshot,
    catalogue: Catalogue,
    queries: Embeddings,
    contents: Sequence[QueryContent | None],
    wanted: Wanted,
    watch: RecallWatch | None = None,
) -> list[list[Match]]:
    """Return what `find_similar` returns of each of some queries, (Q, D), that want the same, sooner than one by one.

    wanted: without a condition, groups, or images to be left out.

    Raises:
        ValueError: it has one of these.
    """
    if wanted.where is not None or wanted.groups is not None or wanted.leave_out:
        raise ValueError("queries with conditions, groups or images to be left out are searched one by one")
    searched = everywhere(snapshot)
    found = searched.search_each(queries, wanted.k)
    records = catalogue.images_by_id(snapshot.collection.id, {one for ranked in found for one in ranked.ids.tolist()})
    pages = []
    for query, content, ranked in zip(queries[:, np.newaxis], contents, found, strict=True):
        if watch is not None:
            watch.observe(searched, query, ranked, wanted.k)
        pages.append(_page(searched, catalogue, query, content, wanted, _Found(ranked, records)).matches)
    return pages


def _best(
    snapshot: Snapshot,
    catalogue: Catalogue,
    query: Embeddings,
    content: QueryContent | None,
    wanted: Wanted,
    watch: RecallWatch | None,
) -> Page:
    condition, searched, k = wanted.where, everywhere(snapshot), wanted.k + len(wanted.leave_out)
    if condition is None:
        ranked, matching = searched.search(query, k), None
    else:
        ranked = search_where(searched, catalogue, query, k, condition)
        matching = partial(_matching, catalogue, snapshot.collection, condition)
    if watch is not None:
        watch.observe(searched, query, ranked, k, matching)
    records = catalogue.images_by_id(snapshot.collection.id, ranked.ids.tolist())
    return _page(searched, catalogue, query, content, wanted, _Found(ranked, records))


def _page(
    searched: Searched,
    catalogue: Catalogue,
    query: Embeddings,
    content: QueryContent | None,
    wanted: Wanted,
    found: _Found,
) -> Page:
    """Return the matches among images that were found."""
    ranked, records = found
    rows, near, k = [*ranked.rows()], True, wanted.k + len(wanted.leave_out)
    if content is not None and len(rows) == k and rows[-1][1] >= AS_GOOD:
        own = {image_id: records[image_id] for image_id, *_ in rows if image_id in records}
        others = _other_identical(searched, catalogue, content, replace(wanted, k=k), own)
        if others:
            records = {**records, **{one.id: one for one in others}}
            rows += searched.rank(query, len(others), np.array(sorted(one.id for one in others))).rows()
    matches = []
    for image_id, score, number, whole in rows:
        record = records.get(image_id)
        near = wanted.min_score is None or score >= wanted.min_score
        if record is None or not near or image_id in wanted.leave_out:
            continue
        # What is known of scores is known of those of whole pictures.
        relation = _relation(record, whole, content, wanted.threshold)
        matches.append(Match(record, score, relation, region=region_numbered(number, record.width, record.height)))
    matches.sort(key=lambda match: match.relation != "identical")
    return Page(matches[: wanted.k], is_all=not near or len(ranked.ids) < k)


def _other_identical(
    searched: Searched,
    catalogue: Catalogue,
    content: QueryContent,
    wanted: Wanted,
    found: Mapping[int, ImageRecord],
) -> list[ImageRecord]:
    """Return identical images that were not found, where others were found in their place."""
    if all(same_pixels(record, content) for record in found.values()):
        return []
    same = catalogue.images_of_content(searched.collection, content.sha256, content.pixel_hash, wanted.where, wanted.k)
    return [one for one in same if one.id not in found]


def _matching(catalogue: Catalogue, target: Collection, condition: Condition) -> NDArray[np.int64]:
    with catalogue.matches(target, condition) as matches:
        return matches.all()


def _relation(record: ImageRecord, score: float, content: QueryContent | None, threshold: float | None) -> Relation:
    if content is not None and same_pixels(record, content):
        return "identical"
    if threshold is not None and score >= threshold:
        return "probable"
    return "similar"


def same_pixels(record: ImageRecord, content: QueryContent) -> bool:
    """Tell whether an image holds the same bytes or shows the same pixels."""
    return record.sha256 == content.sha256 or record.pixel_hash == content.pixel_hash
