"""add labels, consent to licences, and the path people see"""

from pathlib import PurePath
from urllib.parse import unquote_to_bytes

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

PAGE = 5000


def upgrade() -> None:

    op.add_column("space", sa.Column("licence_accepted", sa.Text(), nullable=True))
    op.add_column("space", sa.Column("licence_accepted_at", sa.Float(), nullable=True))
    op.add_column("collection", sa.Column("labels", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("image", sa.Column("path", sa.Text(), nullable=True))
    _fill_paths(op.get_bind())

    op.create_table(
        "label",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_label")),
        sa.UniqueConstraint("name", name=op.f("uq_label_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "synonym",
        sa.Column("label_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["label_id"], ["label.id"], name=op.f("fk_synonym_label_id")),
        sa.PrimaryKeyConstraint("label_id", "name", name=op.f("pk_synonym")),
    )
    op.create_index("ix_synonym_name", "synonym", ["name"])
    op.create_table(
        "content_label",
        sa.Column("content_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("space_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("rank", sa.Integer(), nullable=False),
        sa.Column("label_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.ForeignKeyConstraint(["content_id"], ["content.id"], name=op.f("fk_content_label_content_id")),
        sa.ForeignKeyConstraint(["label_id"], ["label.id"], name=op.f("fk_content_label_label_id")),
        sa.ForeignKeyConstraint(["space_id"], ["space.id"], name=op.f("fk_content_label_space_id")),
        sa.PrimaryKeyConstraint("content_id", "space_id", "rank", name=op.f("pk_content_label")),
    )
    op.create_index("ix_content_label_space_id_label_id", "content_label", ["space_id", "label_id", "content_id"])


def _fill_paths(connection: sa.Connection) -> None:
    """Give the images there are their path, a page at a time."""
    image = sa.table("image", sa.column("id"), sa.column("uri"), sa.column("path"))
    change = sa.update(image).where(image.c.id == sa.bindparam("known")).values(path=sa.bindparam("seen"))
    last = 0
    while True:
        page = sa.select(image.c.id, image.c.uri).where(image.c.id > last).order_by(image.c.id).limit(PAGE)
        rows = connection.execute(page).all()
        if not rows:
            return
        connection.execute(change, [{"known": row.id, "seen": _path(row.uri)} for row in rows])
        last = rows[-1].id


def _path(uri: str) -> str | None:
    if not uri.startswith("file:///"):
        return None
    path = unquote_to_bytes(uri.removeprefix("file://")).decode("utf-8", "replace").replace("\0", "\ufffd")
    return str(PurePath(path))


def downgrade() -> None:

    op.drop_index("ix_content_label_space_id_label_id", "content_label")
    op.drop_table("content_label")
    op.drop_index("ix_synonym_name", "synonym")
    op.drop_table("synonym")
    op.drop_table("label")
    # Dropped in place: SQLite's other way, to copy the table, would break what refers to it.
    for table, column in (
        ("image", "path"),
        ("collection", "labels"),
        ("space", "licence_accepted_at"),
        ("space", "licence_accepted"),
    ):
        op.drop_column(table, column)
