"""What must hold between the rows of the catalogue, as questions that have no answer in a healthy store.

Each is a kind of fault, a query for (where, detail value), and a sentence with a place for the value. The first part is
cheap and asked by every `verify`; the second is asked by `verify --deep`.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Connection, Select, case, exists, func, or_, select

from search.database.tables import (
    collection,
    content,
    content_label,
    embedding,
    generation,
    image,
    label,
    ledger,
    segment,
    space,
    synonym,
)
from search.errors import BadImage
from search.records import TRANSFORMS, UNKNOWN_FORMAT, Fault, SpaceSpec, shown_path
from search.regions import REGIONS_RULE
from search.storing.labels import synonyms
from search.storing.region_rows import regions_are_incomplete
from search.upkeep.references import dangling, references
from search.upkeep.stored_json import json_columns, kind_of, unreadable

Question = tuple[str, Select[Any], str]
SHOWN_LETTERS = 80  # of a text that is damaged

_embedded = exists().where(
    embedding.c.content_id == image.c.content_id,
    embedding.c.space_id == collection.c.space_id,
    embedding.c.region == 0,
)

SHALLOW: tuple[Question, ...] = (
    (
        "image_without_embedding",
        select(image.c.uri, image.c.id)
        .join(collection, collection.c.id == image.c.collection_id)
        .where(~image.c.deleted, ~_embedded),
        "image {} cannot be found by search",
    ),
    (
        "image_without_content",
        select(image.c.uri, image.c.id)
        .outerjoin(content, content.c.id == image.c.content_id)
        .where(content.c.id.is_(None)),
        "image {} names a content that is not there",
    ),
    (
        "embedding_outside_segment",
        select(embedding.c.content_id, embedding.c.row)
        .outerjoin(segment, segment.c.id == embedding.c.segment_id)
        .where(segment.c.id.is_(None) | (embedding.c.row >= segment.c.rows) | (embedding.c.row < 0)),
        "its row {} is in no segment",
    ),
    (
        "image_of_the_future",
        select(image.c.uri, image.c.sequence)
        .join(collection, collection.c.id == image.c.collection_id)
        .where(image.c.sequence > collection.c.sequence),
        "its commit {} never happened",
    ),
    (
        "generation_of_the_future",
        select(generation.c.name, generation.c.sequence)
        .join(collection, collection.c.id == generation.c.collection_id)
        .where(generation.c.sequence > collection.c.sequence),
        "its commit {} never happened",
    ),
    (
        "key_used_twice",
        select(image.c.key, func.count())
        .where(~image.c.deleted)
        .group_by(image.c.collection_id, image.c.key)
        .having(func.count() > 1),
        "{} images have this key",
    ),
)

DEEP: tuple[Question, ...] = (
    (
        "image_without_commit",
        select(image.c.uri, image.c.sequence).where(image.c.sequence < 1),
        "commits count from 1, its own is {}",
    ),
    (
        "row_used_twice",
        select(segment.c.name, embedding.c.row)
        .join(embedding, embedding.c.segment_id == segment.c.id)
        .group_by(segment.c.name, embedding.c.row)
        .having(func.count() > 1),
        "row {} is the embedding of more than one content",
    ),
    (
        "embedding_in_foreign_space",
        select(segment.c.name, embedding.c.content_id)
        .join(embedding, embedding.c.segment_id == segment.c.id)
        .where(segment.c.space_id != embedding.c.space_id),
        "the embedding of content {} is of another space than its segment",
    ),
    (
        "regions_incomplete",
        select(embedding.c.content_id, func.count(case((embedding.c.region > 0, 1))))
        .group_by(embedding.c.content_id, embedding.c.space_id)
        .having(regions_are_incomplete()),
        "{} of the embeddings of its 4 regions are there, or that of its whole picture is not",
    ),
    (
        "embedding_in_retired_segment",
        select(segment.c.name, embedding.c.content_id)
        .join(embedding, embedding.c.segment_id == segment.c.id)
        .where(segment.c.retired_at.is_not(None)),
        "the embedding of content {} lies in a segment that waits to be removed",
    ),
    (
        "content_impossible",
        select(content.c.id, content.c.format).where(
            or_(
                # Of an imported picture nobody knows the size, unless its metadata says it.
                ((content.c.width < 1) | (content.c.height < 1)) & (content.c.format != UNKNOWN_FORMAT),
                (content.c.width < 0) | (content.c.height < 0),
                content.c.size_bytes < 0,
                func.length(content.c.sha256) != 32,  # noqa: PLR2004 -- bytes of a sha256
                func.length(content.c.pixel_hash) != 16,  # noqa: PLR2004 -- bytes of a pixel hash
            )
        ),
        "no {} picture has such a size or such hashes",
    ),
    (
        "labels_out_of_order",
        select(content_label.c.content_id, func.count())
        .group_by(content_label.c.content_id, content_label.c.space_id)
        .having(
            (func.max(content_label.c.rank) != func.count() - 1)
            | (func.min(content_label.c.probability) < 0)
            | (func.max(content_label.c.probability) > 1)
        ),
        "its {} labels have gaps, or probabilities outside 0 to 1",
    ),
    (
        "rule_of_regions_unknown",
        select(collection.c.name, collection.c.regions_rule).where(collection.c.regions_rule.not_in([0, REGIONS_RULE])),
        "this release cuts regions by no rule {}",
    ),
    (
        "transform_unknown",
        select(collection.c.name, collection.c.transform).where(collection.c.transform.not_in(TRANSFORMS)),
        "there is no transform {!r}; the next index would do without one",
    ),
    (
        "ledger_unreadable",
        select(ledger.c.uri, ledger.c.reason).where(
            ledger.c.reason.not_in(sorted(BadImage.REASONS)) | (ledger.c.attempts < 1)
        ),
        "its reason {} is unknown, or it was never tried",
    ),
)


def broken(connection: Connection, *, deep: bool) -> Iterator[Fault]:
    """Yield what does not hold between the rows of the catalogue."""
    questions: list[Question] = [*SHALLOW, *DEEP, *_dangling()] if deep else [*SHALLOW]
    for kind, query, detail in questions:
        for where, value in map(tuple, connection.execute(query)):
            yield Fault(kind, str(where), detail.format(value))
    for column in json_columns():
        # Whoever looks for the newest generation reads its facts: the rest of `verify` does.
        if deep or column.table is generation:
            for one in unreadable(connection, column):
                yield Fault(kind_of(column), one.where, f"it is no JSON object: {one.text[:SHOWN_LETTERS]!r}")
    if deep:
        yield from _computed(connection)


def _dangling() -> Iterator[Question]:
    """Yield a question for each reference: databases check most of them, unless somebody switched that off."""
    for one in references():
        yield one.kind, dangling(one), f"its {one.column.name} {{}} is not there"


def _computed(connection: Connection) -> Iterator[Fault]:
    """Yield what only Python can compute again: paths, synonyms, fingerprints."""
    query = select(image.c.uri, image.c.path).where(~image.c.deleted)
    for row in connection.execute(query.execution_options(yield_per=10_000)):
        if row.path != shown_path(row.uri):
            yield Fault("path_wrong", row.uri, f"its path is recorded as {row.path!r}")
    found: dict[int, set[str]] = {}
    for row in connection.execute(select(synonym.c.label_id, synonym.c.name)):
        found.setdefault(row.label_id, set()).add(row.name)
    for row in connection.execute(select(label.c.id, label.c.name)):
        if found.get(row.id, set()) != synonyms(row.name):
            yield Fault("synonyms_wrong", row.name, "searches by label would miss it or find too much")
    columns = [space.c[name] for name in SpaceSpec.__dataclass_fields__]
    for one in connection.execute(select(space.c.fingerprint, *columns)):
        recorded, *values = tuple(one)
        if SpaceSpec(*values).fingerprint != recorded:
            yield Fault("fingerprint_wrong", recorded, f"the space of {values[0]} has another fingerprint")
