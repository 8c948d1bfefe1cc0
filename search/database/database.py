"""One SQLAlchemy engine with the durability this project promises, and the two kinds of transaction.

SQLite runs with a rollback journal (TRUNCATE) and synchronous=FULL: SQLite 3.7.0 to 3.51.2 can corrupt a database in
WAL mode, and many systems link one of those. Writers start with BEGIN IMMEDIATE, so that two of them queue instead of
failing half way.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import URL, Connection, Engine, Select, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, OperationalError, SQLAlchemyError
from sqlalchemy.pool import ConnectionPoolEntry

from search.database.at_once import AtOnce
from search.database.glances import Glances
from search.errors import CorruptFile, StoreUnavailable

T = TypeVar("T")

# Below the 999 bound parameters that the oldest SQLite accepts.
CHUNK = 500
BUSY_TIMEOUT_S = 30.0
# Of pages per connection, filled as they are used: with SQLite's own 2 MiB a commit reads the same pages over and over.
CACHE_KIB = 64 * 1024
# Of connections beyond those kept open. A search that reads one answer row by row may open a segment meanwhile, which
# asks for another connection: were there a limit, as many searches could wait for each other.
UNLIMITED = -1
SQLITE = "sqlite:///"
# Words of errors that waiting does not mend.
LASTING = ("readonly", "does not exist", "unable to open", "authentication", "permission")
FULL = ("is full", "No space left")


class Database:
    """The catalogue's database, by URL."""

    def __init__(self, url: str) -> None:
        self.engine = _engine(url)
        # By the identity of the query, which is kept with it so that no other can get it.
        self._statements: dict[int, tuple[str, list[str] | None, Select[Any]]] = {}
        self._glances = Glances(self.engine.raw_connection)
        self._at_once = AtOnce(self.engine.url.database if self.engine.dialect.name == "sqlite" else None)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Give a connection for a few SELECTs that see one state of the database.

        Raises:
            StoreUnavailable: the database is locked for longer than the busy timeout or does not answer.
            CorruptFile: the database is damaged.
        """
        with _translated(self.engine), self.engine.connect() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execution_options(isolation_level="REPEATABLE READ")
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Give a connection whose changes are committed together at the end, or not at all.

        Raises:
            StoreUnavailable: the database is locked for longer than the busy timeout or does not answer.
            CorruptFile: the database is damaged.
        """
        with _translated(self.engine), self.engine.connect() as connection:
            writer = connection.execution_options(writer=True)
            with writer.begin():
                yield writer

    def glance(self, query: Select[Any], **values: object) -> tuple[Any, ...] | None:
        """Return the first row of a query that every search asks, as the driver gives it; None without one.

        None too when the driver reports an error, as in `glance_all`.
        """
        rows = self.glance_all(query, **values)
        return rows[0] if rows else None

    def glance_all(self, query: Select[Any], **values: object) -> list[tuple[Any, ...]] | None:
        """Return the rows of a query that every search asks, as the driver gives them. The query is kept for ever.

        Without the transaction and the result types of `reading`, which cost more than the question. None when the
        driver reports an error: whoever asks again by `reading` gets it translated.
        """
        statement, names = self._spelled(query)
        given = tuple(values[name] for name in names) if names is not None else values
        if self.engine.dialect.name == "sqlite":
            return self._glances.rows(statement, given)
        try:
            with closing(self.engine.raw_connection()) as connection, closing(connection.cursor()) as cursor:
                cursor.execute(statement, given)
                rows = [tuple(row) for row in cursor.fetchall()]
        except (self.engine.dialect.loaded_dbapi.Error, SQLAlchemyError):
            return None
        return rows

    def glance_at_once(self, query: Select[Any], **values: object) -> tuple[Any, ...] | None:
        """Return what `glance` does, in next to no time.

        Raises:
            WouldWait: this cannot be known without waiting.
        """
        statement, names = self._spelled(query)
        rows = self._at_once.rows(statement, [values[name] for name in names or ()])
        return rows[0] if rows else None

    def _spelled(self, query: Select[Any]) -> tuple[str, list[str] | None]:
        """Return a query in the words of the driver, and the order of its parameters if it wants them by place."""
        known = self._statements.get(id(query))
        if known is None:
            compiled = query.compile(dialect=self.engine.dialect)
            names = compiled.positiontup if compiled.positional else None
            known = self._statements[id(query)] = (str(compiled), names, query)
        return known[:2]

    def close(self) -> None:
        """Close all connections."""
        self._at_once.close()
        self._glances.close()
        self.engine.dispose()


def chunks(items: Iterable[T], size: int = CHUNK) -> Iterator[list[T]]:
    """Yield the items in lists of at most `size`."""
    iterator = iter(items)
    while piece := list(islice(iterator, size)):
        yield piece


def insert_missing(connection: Connection, table: Table, rows: Iterable[Mapping[str, object]]) -> None:
    """Insert the rows that violate no key; another worker may have been faster with the others."""
    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    for part in chunks(rows):
        connection.execute(dialect.insert(table).on_conflict_do_nothing(), part)


@contextmanager
def _translated(engine: Engine) -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        reason = str(error.orig).strip().splitlines()[0]
        place = engine.url.render_as_string(hide_password=True)
        lasting = any(word in reason for word in LASTING)
        full = any(word in reason for word in FULL)
        remedy = "free space" if full else "check its name and permissions" if lasting else "try again"
        # A full disk and a read-only one are still read from.
        trouble = "cannot be written" if full or "readonly" in reason else "does not answer"
        raise StoreUnavailable(f"the catalogue {place} {trouble}: {reason}; {remedy}") from error
    except DatabaseError as error:
        # Its subclasses say what was wrong with a statement; the class itself says that the file is.
        if type(error) is not DatabaseError:
            raise
        place = engine.url.render_as_string(hide_password=True)
        raise CorruptFile(f"the catalogue {place} is damaged: {error.orig}; restore the store from a backup") from error


def _engine(url: str) -> Engine:
    if not url.startswith("sqlite"):
        return create_engine(url, isolation_level="READ COMMITTED", pool_pre_ping=True, max_overflow=UNLIMITED)
    # What follows is the path as it is: as part of a URL, % and ? in the name of a folder would mean something else.
    place = URL.create("sqlite", database=url.removeprefix(SQLITE))
    engine = create_engine(place, connect_args={"timeout": BUSY_TIMEOUT_S}, max_overflow=UNLIMITED)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _entry: ConnectionPoolEntry) -> None:
    connection.isolation_level = None  # this module, not the driver, decides when a transaction begins
    for pragma in ("journal_mode=TRUNCATE", "synchronous=FULL", "foreign_keys=ON", f"cache_size={-CACHE_KIB}"):
        connection.execute(f"PRAGMA {pragma}").close()


def _begin_sqlite(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("writer", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
