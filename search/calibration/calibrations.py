"""The calibrations of a store: every attempt stays, the newest of a collection, space and transform counts."""

from typing import Any

from sqlalchemy import Row, insert, select

from search.calibration.calibration import Calibration
from search.database.database import Database
from search.database.tables import calibration
from search.errors import CorruptFile
from search.records import Collection


class Calibrations:
    """Reads and writes the table `calibration`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, made: Calibration) -> None:
        """Write one down.

        Raises:
            StoreUnavailable: the database is locked, full or read-only; nothing was written.
        """
        values = {"collection_id": made.collection_id, "space_id": made.space_id, "transform": made.transform}
        with self._database.writing() as connection:
            connection.execute(insert(calibration).values(**values, made_at=made.made_at, findings=made.findings()))

    def newest(self, target: Collection, transform: str | None = None) -> Calibration | None:
        """Return the newest of a collection in its space, None where there is none.

        transform: only those after the transform with this fingerprint.

        Raises:
            CorruptFile: what the catalogue holds is no calibration.
        """
        mine = (calibration.c.collection_id == target.id, calibration.c.space_id == target.space_id)
        query = select(calibration).where(*mine)
        if transform is not None:
            query = query.where(calibration.c.transform == transform)
        return self._first(query.order_by(calibration.c.id.desc()).limit(1))

    def last(self, target: Collection) -> Calibration | None:
        """Return the newest of a collection in any space, None where there is none.

        Raises:
            CorruptFile: what the catalogue holds is no calibration.
        """
        query = select(calibration).where(calibration.c.collection_id == target.id)
        return self._first(query.order_by(calibration.c.id.desc()).limit(1))

    def _first(self, query: Any) -> Calibration | None:
        try:
            with self._database.reading() as connection:
                row = connection.execute(query).first()
            # Empty where `repair` met one that nobody can read.
            return None if row is None or not row.findings else _calibration(row)
        except (TypeError, KeyError, ValueError) as error:
            raise CorruptFile(
                f"a calibration in the catalogue cannot be read ({error}); `lookalike calibrate` makes a new one"
            ) from error


def _calibration(row: Row[Any]) -> Calibration:
    columns = {"collection_id": row.collection_id, "space_id": row.space_id, "transform": row.transform}
    return Calibration.found(row.findings, **columns, made_at=row.made_at)
