"""what the index of a collection does to embeddings, and the transform as it was fitted"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:

    op.add_column("collection", sa.Column("transform", sa.Text(), server_default=sa.text("'none'"), nullable=False))
    op.create_table(
        "post_transform",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("space_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("mean", sa.LargeBinary(), nullable=False),
        sa.Column("matrix", sa.LargeBinary(), nullable=True),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("fk_post_transform_collection_id")),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_post_transform_space_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_post_transform")),
        sa.UniqueConstraint("collection_id", "space_id", name=op.f("uq_post_transform_collection_id")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:

    op.drop_table("post_transform")
    op.drop_column("collection", "transform")
