"""embeddings of regions of pictures, and indexes of them"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:

    op.add_column("collection", sa.Column("regions_rule", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("generation", sa.Column("part", sa.Text(), server_default=sa.text("'whole'"), nullable=False))


def downgrade() -> None:

    op.execute("DELETE FROM generation WHERE part != 'whole'")
    op.drop_column("generation", "part")
    op.drop_column("collection", "regions_rule")
