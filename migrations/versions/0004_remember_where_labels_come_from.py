"""the space whose labels a collection shows, where that is not its own"""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:

    op.add_column("collection", sa.Column("label_space_id", sa.BigInteger(), nullable=True))


def downgrade() -> None:

    op.drop_column("collection", "label_space_id")
