"""The SQL tables, nothing else; Alembic compares its migrations with them.

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
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from search.letters import AsciiLower

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite counts ids by itself only in a column of exactly this type.
Id = BigInteger().with_variant(Integer, "sqlite")


def _table(name: str, *columns: Column[object] | UniqueConstraint | Index) -> Table:
    return Table(name, metadata, *columns, sqlite_autoincrement=True)


space = _table(
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

collection = _table(
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

content = _table(
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

image = _table(
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
source = _table(
    "source",
    Column("id", Id, primary_key=True),
    Column("collection_id", ForeignKey("collection.id"), nullable=False),
    Column("uri", Text, nullable=False),
    # What it looked like when all it held was last indexed, and how many pictures that were; empty: read it again.
    Column("stamp", Text, nullable=False),
    Column("images", BigInteger, nullable=False),
    UniqueConstraint("collection_id", "uri"),
)

segment = _table(
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

label = _table(
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

generation = _table(
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

ledger = _table(
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

job = _table(
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
reembedding = _table(
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
post_transform = _table(
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
calibration = _table(
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
verdict = _table(
    "verdict",
    Column("id", Id, primary_key=True),
    Column("first", LargeBinary(32), nullable=False),
    Column("second", LargeBinary(32), nullable=False),
    Column("verdict", Text, nullable=False),
    Column("made_at", Float, nullable=False),
    UniqueConstraint("first", "second"),
)

# Keys of the HTTP API. What the key is, nobody can read here: its sha256 is enough to know it again, as it is random.
# Rows are never removed: a server of which all keys were revoked still asks for one.
api_key = _table(
    "api_key",
    Column("id", Id, primary_key=True),
    Column("name", Text, nullable=False),
    # How it begins, to tell keys apart in lists.
    Column("prefix", Text, nullable=False),
    Column("sha256", LargeBinary(32), nullable=False, unique=True),
    Column("role", Text, nullable=False),
    # The only collection it is for; NULL for all.
    Column("collection_id", ForeignKey("collection.id")),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float),
    Column("revoked_at", Float),
)

# What servers do that outlasts a request: runs of search/storing/server_jobs.py. request, progress, result, problem and
# webhook_outcome are JSON as text. collection: its name. version: grows with each change. owner: the server that runs
# it, or tells of its end, until lease_until unless it says that it still lives. attempts: how often a server began it.
server_job = _table(
    "server_job",
    Column("id", Id, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("collection", Text),
    Column("state", Text, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("started_at", Float),
    Column("ended_at", Float),
    Column("version", BigInteger, nullable=False),
    Column("request", Text, nullable=False),
    Column("progress", Text),
    Column("result", Text),
    Column("problem", Text),
    Column("cancelled", Boolean, nullable=False, server_default=false()),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("host", Text),
    Column("owner", Text),
    Column("lease_until", Float),
    # Who is told of its end; when next, NULL for never again; how often that was tried, and what came of it.
    Column("webhook", Text),
    Column("webhook_due", Float),
    Column("webhook_attempts", Integer, nullable=False, server_default=text("0")),
    Column("webhook_outcome", Text),
    Index("ix_server_job_state", "state"),
    Index("ix_server_job_webhook_due", "webhook_due"),
)

# Answers to requests that name themselves (Idempotency-Key), so that one sent again is answered the same and does
# nothing twice. digest: sha256 of what was asked. status: NULL while the first is at work.
kept_answer = _table(
    "kept_answer",
    Column("id", Id, primary_key=True),
    Column("collection_id", BigInteger, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Column("made_at", Float, nullable=False),
    Column("status", Integer),
    Column("body", Text),
    UniqueConstraint("collection_id", "name"),
    Index("ix_kept_answer_made_at", "made_at"),
)

# The groups of a finished dedup job (search/duplicates/kept_reports.py): what they were then. facts and groups are JSON
# as text. No foreign keys: a report goes when newer ones came, and nothing else depends on it.
duplicate_report = _table(
    "duplicate_report",
    Column("id", Id, primary_key=True),
    Column("collection_id", BigInteger, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("facts", Text, nullable=False),
    Index("ix_duplicate_report_collection_id", "collection_id"),
)

duplicate_group = Table(
    "duplicate_group",
    metadata,
    Column("report_id", BigInteger, primary_key=True, autoincrement=False),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("shape", Text, nullable=False),
)
