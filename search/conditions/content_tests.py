"""A test of what belongs to the content of an image, such as its date or its labels, as databases answer it soonest.

To find all images, SQLite must begin with the rows that pass, so it gets a list of contents; PostgreSQL plans a join of
EXISTS, and for a long list under `not` would compare each with each. To judge a few, both look at theirs alone.
"""

from typing import Any

from sqlalchemy import Column, ColumnElement, Select, literal_column, select
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import visitors
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.types import NullType

from search.database.tables import image


class OfContent(FunctionElement[Any]):
    """Whether a row passes that belongs to the content of the image. It is never NULL."""

    # Not Boolean: SQLAlchemy would write `= 1` behind it for SQLite, which could use no index then.
    type = NullType()
    inherit_cache = True

    def __init__(self, content_id: Column[Any], test: ColumnElement[bool]) -> None:
        """content_id: the column that names the content of a row. test: over the table of that column alone."""
        passing = select(content_id).where(test).correlate(None)
        own: Select[Any] = select(literal_column("1")).where(content_id == image.c.content_id, test).correlate(image)
        super().__init__(image.c.content_id.in_(passing), own.exists())


def for_few(test: ColumnElement[bool]) -> ColumnElement[bool]:
    """Return a test that means the same and is quick for few images."""

    def replaced(part: Any, **_: Any) -> Any:
        return _both(part)[1] if isinstance(part, OfContent) else None

    replace: Any = replaced  # its type is private to SQLAlchemy
    return visitors.replacement_traverse(test, {}, replace)


@compiles(OfContent)
def _exists(element: OfContent, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(_both(element)[1], **options)})"


@compiles(OfContent, "sqlite")
def _among(element: OfContent, compiler: SQLCompiler, **options: Any) -> str:
    return f"({compiler.process(_both(element)[0], **options)})"


def _both(element: OfContent) -> list[ColumnElement[bool]]:
    """Return the test as a list of contents, and as one that looks for the image's own."""
    return list(element.clauses)
