"""The SQL tables of what servers do: keys, jobs, answers that are kept, reports of duplicates. See tables.py."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    Table,
    Text,
    UniqueConstraint,
    false,
    text,
)

from search.database.table_base import Id, metadata, table

# Keys of the HTTP API. What the key is, nobody can read here: its sha256 is enough to know it again, as it is random.
# Rows are never removed: a server of which all keys were revoked still asks for one.
api_key = table(
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
server_job = table(
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
kept_answer = table(
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
duplicate_report = table(
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
