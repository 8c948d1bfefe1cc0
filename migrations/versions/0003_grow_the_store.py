"""generations of a space, with what was measured of them; retired segments; dates of pictures; shadow spaces

Generations are a cache, here in a new format: old ones are forgotten, and the next `index` or `rebuild` makes new ones.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:

    moment = sa.Text(collation="C").with_variant(sa.Text(), "sqlite")
    op.add_column("content", sa.Column("taken_at", moment, nullable=True))
    op.create_index("ix_content_taken_at", "content", ["taken_at"])
    op.drop_index("ix_image_content_id", "image")
    op.create_index("ix_image_content_id", "image", ["content_id", "collection_id", "deleted"])
    lower = "lower(path)" if op.get_bind().dialect.name == "sqlite" else 'lower(path COLLATE "C")'
    op.create_index("ix_image_collection_id_path", "image", ["collection_id", sa.text(lower), "deleted"])
    op.add_column("collection", sa.Column("recall_target", sa.Float(), nullable=True))
    op.add_column(
        "collection", sa.Column("purged_sequence", sa.BigInteger(), server_default=sa.text("0"), nullable=False)
    )
    op.add_column("segment", sa.Column("retired_at", sa.Float(), nullable=True))

    op.add_column("image", sa.Column("source_id", sa.BigInteger(), nullable=True))
    op.create_table(
        "source",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("uri", sa.Text(), nullable=False),
        sa.Column("stamp", sa.Text(), nullable=False),
        sa.Column("images", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("fk_source_collection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_source")),
        sa.UniqueConstraint("collection_id", "uri", name=op.f("uq_source_collection_id")),
        sqlite_autoincrement=True,
    )

    op.drop_table("generation")
    op.create_table(
        "generation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("space_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("checksums", sa.LargeBinary(), nullable=False),
        sa.Column("facts", sa.JSON(), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("fk_generation_collection_id")),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_generation_space_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
        sa.UniqueConstraint("name", name=op.f("uq_generation_name")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_generation_collection_id", "generation", ["collection_id"])

    op.create_table(
        "reembedding",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("from_space_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("to_space_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("report", sa.JSON(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("changed_at", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("fk_reembedding_collection_id")),
        sa.ForeignKeyConstraint(["from_space_id"], ["space.id"], name=op.f("fk_reembedding_from_space_id")),
        sa.ForeignKeyConstraint(["to_space_id"], ["space.id"], name=op.f("fk_reembedding_to_space_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reembedding")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_reembedding_collection_id", "reembedding", ["collection_id"])


def downgrade() -> None:

    op.drop_index("ix_reembedding_collection_id", "reembedding")
    op.drop_table("reembedding")
    op.drop_table("source")
    op.drop_column("image", "source_id")
    op.drop_table("generation")
    op.create_table(
        "generation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.LargeBinary(length=32), nullable=False),
        sa.Column("checksums", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("fk_generation_collection_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_generation")),
        sa.UniqueConstraint("name", name=op.f("uq_generation_name")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_generation_collection_id", "generation", ["collection_id"])
    op.drop_index("ix_image_collection_id_path", "image")
    op.drop_index("ix_image_content_id", "image")
    op.create_index("ix_image_content_id", "image", ["content_id"])
    op.drop_index("ix_content_taken_at", "content")
    # Dropped in place: SQLite's other way, to copy the table, would break what refers to it.
    for table, column in (
        ("segment", "retired_at"),
        ("collection", "purged_sequence"),
        ("collection", "recall_target"),
        ("content", "taken_at"),
    ):
        op.drop_column(table, column)
