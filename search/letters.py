"""A to Z as a to z and no other letter, the same in Python, SQLite and PostgreSQL; ranges of texts by a beginning."""

from typing import Any

from sqlalchemy import Text
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

_LAST = "\U0010ffff"
_BEFORE_SURROGATES, _AFTER_SURROGATES = "\ud7ff", "\ue000"


def ascii_lower(text: str) -> str:
    """Return a text with A to Z in lower case and every other letter as it is."""
    return "".join(letter.lower() if letter.isascii() else letter for letter in text)


class AsciiLower(FunctionElement[str]):
    """ascii_lower in SQL: what SQLite's lower() does, on every database; compared by code points."""

    type = Text()
    inherit_cache = True


@compiles(AsciiLower)
def _ascii_lower(element: AsciiLower, compiler: SQLCompiler, **options: Any) -> str:
    return f"lower({compiler.process(element.clauses, **options)})"


@compiles(AsciiLower, "postgresql")
def _ascii_lower_postgresql(element: AsciiLower, compiler: SQLCompiler, **options: Any) -> str:
    # In the form in which PostgreSQL shows an index of it, so that the migrations can be compared with the tables.
    return f'lower({compiler.process(element.clauses, **options)} COLLATE "C")'


def after_beginning(beginning: str) -> str | None:
    """Return the first text, by code points, after all that begin so; None where there is none, or no beginning."""
    kept = beginning.rstrip(_LAST)
    if not kept:
        return None
    last = kept[-1]
    return kept[:-1] + (_AFTER_SURROGATES if last == _BEFORE_SURROGATES else chr(ord(last) + 1))
