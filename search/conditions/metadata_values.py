"""One value of the metadata of an image as SQL, by the keys that lead to it, and only if it is of the kind asked for.

SQLite compares the keys of a path with JSON text as it is stored, escapes and all (seen in 3.40), so that the path of
"größe" finds nothing; json_each gives keys as they are meant. PostgreSQL must not cast before it has looked at the
kind, which only CASE promises. Both answer NULL where nothing of that kind is.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

from sqlalchemy import ColumnElement, Float, Text, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement


class MetadataValue(FunctionElement[Any]):
    """The value at the end of some keys. Numbers are doubles, as in every reader of JSON."""

    inherit_cache = True
    # What SQLite selects of the last row of json_each, here called {0}, and which rows count.
    sqlite: ClassVar[tuple[str, str]]
    # What PostgreSQL makes of the value, here called {0}.
    postgresql: ClassVar[str]

    def __init__(self, column: ColumnElement[Any], keys: Sequence[str]) -> None:
        super().__init__(column, *(literal(key, Text()) for key in keys))


class MetadataNumber(MetadataValue):
    """A number."""

    type = Float()
    inherit_cache = True
    sqlite = "CAST({0}.value AS REAL)", "{0}.type IN ('integer', 'real')"
    postgresql = "CASE json_typeof({0}) WHEN 'number' THEN CAST({0} #>> '{{}}' AS double precision) END"


class MetadataText(MetadataValue):
    """A text; it is compared by code points."""

    type = Text()
    inherit_cache = True
    sqlite = "{0}.value", "{0}.type = 'text'"
    postgresql = "(CASE json_typeof({0}) WHEN 'string' THEN {0} #>> '{{}}' END) COLLATE \"C\""


class MetadataFlag(MetadataValue):
    """The text `true` or `false`."""

    type = Text()
    inherit_cache = True
    sqlite = "{0}.type", "{0}.type IN ('true', 'false')"
    postgresql = "CASE json_typeof({0}) WHEN 'boolean' THEN {0} #>> '{{}}' END"


class MetadataPresence(MetadataValue):
    """The text `yes` where there is a value of any kind but null."""

    type = Text()
    inherit_cache = True
    sqlite = "'yes'", "{0}.type <> 'null'"
    postgresql = "CASE WHEN json_typeof({0}) <> 'null' THEN 'yes' END"


@compiles(MetadataValue, "sqlite")
def _sqlite(element: MetadataValue, compiler: SQLCompiler, **options: Any) -> str:
    column, *keys = (compiler.process(clause, **options) for clause in element.clauses)
    selected, counts = element.sqlite
    rows, tests = [f"json_each({column}) AS level1"], [f"level1.key = {keys[0]}"]
    for depth, key in enumerate(keys[1:], start=1):
        # Only an object has members; the value of anything else may not even be JSON.
        inner = f"CASE level{depth}.type WHEN 'object' THEN level{depth}.value ELSE '{{}}' END"
        rows.append(f"json_each({inner}) AS level{depth + 1}")
        tests.append(f"level{depth + 1}.key = {key}")
    last = f"level{len(keys)}"
    tests.append(counts.format(last))
    return f"(SELECT {selected.format(last)} FROM {', '.join(rows)} WHERE {' AND '.join(tests)})"  # noqa: S608 -- no text of a user


@compiles(MetadataValue, "postgresql")
def _postgresql(element: MetadataValue, compiler: SQLCompiler, **options: Any) -> str:
    # By keys alone: a path would take "0" for a place in a list.
    column, *keys = (compiler.process(clause, **options) for clause in element.clauses)
    value = " -> ".join([column, *(f"CAST({key} AS text)" for key in keys)])
    return f"({element.postgresql.format(f'({value})')})"
