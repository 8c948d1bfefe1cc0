"""The SQL tables, nothing else; Alembic compares its migrations with them. Those of servers are in server_tables.py.

Image ids are below 2^53 and never reused. `image.sequence` is the commit in which its content last changed, so that
readers find what a generation does not know yet with one indexed query. A deleted image stays as a tombstone.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from search.database.server_tables import api_key, duplicate_group, duplicate_report, kept_answer, server_job
from search.database.table_base import Id, metadata, table
from search.letters import AsciiLower

__all__ = [
    "api_key",
    "calibration",
    "collection",
    "content",
    "content_label",
    "duplicate_group",
    "duplicate_report",
    "embedding",
    "generation",
    "image",
    "job",
    "kept_answer",
    "label",
    "ledger",
    "metadata",
    "post_transform",
    "reembedding",
    "segment",
    "server_job",
    "source",
    "space",
    "synonym",
    "verdict",
]

space = table(
    "space",
    Column("id", Id, primary_key=True),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("backbone", Text, nullable=False),
    Column("weights_sha256", String(64), nullable=False),
    Column("preparation", Text, nullable=False),
    Column("dims", Integer, nullable=False),
    Column("pooling", Text, nullable=False),
    Column("numeric", Text, nullable=False),
    Column("licence", Text),
    Column("weights", Text, nullable=False),
    # Consent to weights that may not be used for everything: which licence, and when (seconds since 1970).
    Column("licence_accepted", Text),
    Column("licence_accepted_at", Float),
)

collection = table(
    "collection",
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("space_id", ForeignKey("space.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False, server_default=text("0")),
    # Whether new images get labels: asked for once, remembered.
    Column("labels", Boolean, nullable=False, server_default=false()),
    # Whose labels its images have while its own space has fewer; NULL for its own. No foreign key: as image.source_id.
    Column("label_space_id", BigInteger),
    # The newest removal whose tombstone compaction purged: an index that knows less must not be published any more.
    Column("purged_sequence", BigInteger, nullable=False, server_default=text("0")),
    # Of the approximate index, such as .99; NULL for the default.
    Column("recall_target", Float),
    # What the next index shall do to embeddings before it compares them.
    Column("transform", Text, nullable=False, server_default=text("'none'")),
    # By which rule images are searched in regions, too (search/regions.py); 0 for whole pictures only.
    Column("regions_rule", Integer, nullable=False, server_default=text("0")),
    # Whether new images get local features: asked for once, remembered.
    Column("local", Boolean, nullable=False, server_default=false()),
)

content = table(
    "content",
    Column("id", Id, primary_key=True),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("format", Text, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("pixel_hash", LargeBinary(16), nullable=False),
    Column("perceptual_hash", LargeBinary(32), nullable=False),
    Column("contrast", Float, nullable=False),
    # When the camera says the picture was taken, its local time: 2024-01-31T23:59:59. NULL where no camera says so.
    # The same order on every database: byte by byte.
    Column("taken_at", Text(collation="C").with_variant(Text(), "sqlite")),
    Index("ix_content_pixel_hash", "pixel_hash"),
    Index("ix_content_taken_at", "taken_at"),
)

image = table(
    "image",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("key", Text, nullable=False),
    Column("uri", Text, nullable=False),
    # What people see of a file uri: no database can undo the percent-encoding by itself.
    Column("path", Text),
    Column("content_id", ForeignKey("content.id"), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("metadata", JSON, nullable=False, server_default=text("'{}'")),
    Column("sequence", BigInteger, nullable=False),
    Column("deleted", Boolean, nullable=False, server_default=false()),
    # The archive or manifest that named it last; NULL for files of folders. No foreign key: SQLite could not add one.
    Column("source_id", BigInteger),
    Index(
        "uq_image_collection_id_key",
        "collection_id",
        "key",
        unique=True,
        sqlite_where=text("NOT deleted"),
        postgresql_where=text("NOT deleted"),
    ),
    # Pages of lists, which go by id: without it a page sorts the whole collection.
    Index("ix_image_collection_id_id", "collection_id", "id"),
    Index("ix_image_collection_id_uri", "collection_id", "uri"),
    Index("ix_image_collection_id_sequence", "collection_id", "sequence"),
    # With what every question asks too, so that it reads nothing but the index.
    Index("ix_image_content_id", "content_id", "collection_id", "deleted"),
)

# By the beginning of the path, as `like` compares it.
Index("ix_image_collection_id_path", image.c.collection_id, AsciiLower(image.c.path), image.c.deleted)
# An archive or manifest that images came from; folders need no row.
source = table(
    "source",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("uri", Text, nullable=False),
    # What it looked like when all it held was last indexed, and how many pictures that were; empty: read it again.
    Column("stamp", Text, nullable=False),
    Column("images", BigInteger, nullable=False),
    UniqueConstraint("collection_id", "uri"),
)

segment = table(
    "segment",
    Column("id", Id, primary_key=True),
    Column("space_id", ForeignKey("space.id"), nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("rows", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("checksums", LargeBinary, nullable=False),
    # When compaction replaced it, in seconds since 1970; generations from before still read it.
    Column("retired_at", Float),
)

embedding = Table(
    "embedding",
    metadata,
    Column("content_id", ForeignKey("content.id"), primary_key=True),
    Column("space_id", ForeignKey("space.id"), primary_key=True),
    # 0 is the whole picture, 1 to 4 its regions (search/regions.py).
    Column("region", Integer, primary_key=True, server_default=text("0")),
    Column("segment_id", ForeignKey("segment.id"), nullable=False),
    Column("row", Integer, nullable=False),
    Index("ix_embedding_segment_id", "segment_id"),
)

label = table(
    "label",
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

# By what a label is found, casefolded: "tabby, tabby cat" by itself, by "tabby" and by "tabby cat".
synonym = Table(
    "synonym",
    metadata,
    Column("label_id", ForeignKey("label.id"), primary_key=True),
    Column("name", Text, primary_key=True),
    Index("ix_synonym_name", "name"),
)

content_label = Table(
    "content_label",
    metadata,
    Column("content_id", ForeignKey("content.id"), primary_key=True),
    Column("space_id", ForeignKey("space.id"), primary_key=True),
    Column("rank", Integer, primary_key=True),  # 0 is the most probable
    Column("label_id", ForeignKey("label.id"), nullable=False),
    Column("probability", Float, nullable=False),
    # With the content, so that finding and counting by label read nothing but the index.
    Index("ix_content_label_space_id_label_id", "space_id", "label_id", "content_id"),
)

generation = table(
    "generation",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("space_id", ForeignKey("space.id"), nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("name", Text, nullable=False, unique=True),
    Column("size_bytes", BigInteger, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False),
    Column("checksums", LargeBinary, nullable=False),
    # What was measured when it was built: recall and how far it probes (search/finding/generations.py).
    Column("facts", JSON, nullable=False, server_default=text("'{}'")),
    # What it is an index of: whole pictures or their regions (search/regions.py).
    Column("part", Text, nullable=False, server_default=text("'whole'")),
    Index("ix_generation_collection_id", "collection_id"),
)

ledger = table(
    "ledger",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("uri", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    UniqueConstraint("collection_id", "uri"),
)

job = table(
    "job",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("progress", JSON, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Index("ix_job_collection_id", "collection_id"),
)

# A collection on its way to another backbone: filling, ready, promoted, rolled_back or abandoned.
reembedding = table(
    "reembedding",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("from_space_id", ForeignKey("space.id"), nullable=False),
    Column("to_space_id", ForeignKey("space.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("report", JSON, nullable=False, server_default=text("'{}'")),
    Column("started_at", Float, nullable=False),
    Column("changed_at", Float, nullable=False),
    Index("ix_reembedding_collection_id", "collection_id"),
)

# The transform of a collection's embeddings as it was fitted: scores and what was calibrated by them depend on it, and
# nothing could compute it again once images went. rows: of the sample. mean, matrix: float32, little-endian.
post_transform = table(
    "post_transform",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("space_id", ForeignKey("space.id"), nullable=False),
    Column("kind", Text, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("mean", LargeBinary, nullable=False),
    Column("matrix", LargeBinary),
    UniqueConstraint("collection_id", "space_id"),
)

# What the scores of a collection mean after one transform (its fingerprint): search/calibration/calibration.py. The
# newest counts; findings: everything else that is known of it.
calibration = table(
    "calibration",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("space_id", ForeignKey("space.id"), nullable=False),
    Column("transform", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("findings", JSON, nullable=False, server_default=text("'{}'")),
    Index("ix_calibration_collection_id", "collection_id", "space_id"),
)

# What people say about two contents, by their sha256, the lower one first: of any collection, and longer than it.
verdict = table(
    "verdict",
    Column("id", Id, primary_key=True),
    Column("first", LargeBinary(32), nullable=False),
    Column("second", LargeBinary(32), nullable=False),
    Column("verdict", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    UniqueConstraint("first", "second"),
)
