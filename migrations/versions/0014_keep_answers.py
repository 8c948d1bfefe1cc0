"""answers to requests that name themselves"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:

    op.create_table(
        "kept_answer",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collection_id", sa.BigInteger(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("status", sa.Integer(), nullable=True),
        sa.Column("body", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_kept_answer")),
        sa.UniqueConstraint("collection_id", "name", name=op.f("uq_kept_answer_collection_id")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_kept_answer_made_at", "kept_answer", ["made_at"])


def downgrade() -> None:

    op.drop_table("kept_answer")
