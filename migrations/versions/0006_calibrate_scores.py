"""what the scores of a collection mean, and what people say about two pictures"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:

    op.create_table(
        "calibration",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("collection_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("space_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("transform", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.Column("findings", sa.JSON(), server_default=sa.text("'{}'"), nullable=False),
        sa.ForeignKeyConstraint(["collection_id"], ["collection.id"], name=op.f("fk_calibration_collection_id")),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_calibration_space_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_calibration")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_calibration_collection_id", "calibration", ["collection_id", "space_id"])
    op.create_table(
        "verdict",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("first", sa.LargeBinary(32), nullable=False),
        sa.Column("second", sa.LargeBinary(32), nullable=False),
        sa.Column("verdict", sa.Text(), nullable=False),
        sa.Column("made_at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdict")),
        sa.UniqueConstraint("first", "second", name=op.f("uq_verdict_first")),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:

    op.drop_table("verdict")
    op.drop_table("calibration")
