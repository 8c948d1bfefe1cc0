"""an index for lists of images, which go by id"""

from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:

    op.create_index("ix_image_collection_id_id", "image", ["collection_id", "id"])


def downgrade() -> None:

    op.drop_index("ix_image_collection_id_id", "image")
