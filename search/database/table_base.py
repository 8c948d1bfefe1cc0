"""What all tables are made of: their common metadata, ids, and how constraints are named."""

from sqlalchemy import BigInteger, Column, Index, Integer, MetaData, Table, UniqueConstraint

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)

# SQLite counts ids by itself only in a column of exactly this type.
Id = BigInteger().with_variant(Integer, "sqlite")


def table(name: str, *columns: Column[object] | UniqueConstraint | Index) -> Table:
    """Return a table whose ids are never used twice."""
    return Table(name, metadata, *columns, sqlite_autoincrement=True)
