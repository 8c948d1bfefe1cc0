"""whether the images of a collection get local features"""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:

    op.add_column("collection", sa.Column("local", sa.Boolean(), server_default=sa.false(), nullable=False))


def downgrade() -> None:

    op.drop_column("collection", "local")
