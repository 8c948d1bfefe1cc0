"""What people say about two pictures. By content, so that it holds in every collection, space and place.

duplicate (or same): one of the two is enough. keep_both: the same picture, and both stay. stack: they belong together,
as the shots of a burst do. not_duplicate: no copies of each other, whatever they are. different: two pictures.

Files of the same bytes are one content, and a verdict on it and itself is on all of them: keep_both keeps every one,
duplicate takes that back. The other words would say that a picture is not what it is.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import delete, func, insert, select

from search.database.database import Database, chunks
from search.database.tables import verdict
from search.errors import UsageError
from search.records import SAID, Said

# What each says about scores: that the two are one picture, or two. The others are about what to do, and a person who
# says "not a duplicate" of a crop or of another shot has not said that the scores of the two should be low.
_ONE_PICTURE: dict[Said, bool] = {"duplicate": True, "same": True, "keep_both": True, "different": False}
_TOGETHER: frozenset[Said] = frozenset({"duplicate", "same"})
_OF_ITSELF: frozenset[Said] = _TOGETHER | {"keep_both"}
SHA256_BYTES = 32


@dataclass(frozen=True, slots=True)
class Verdict:
    """first, second: sha256 of the two files, the lower one first; equal where it is on all files of one content.

    made_at: seconds since 1970.
    """

    first: bytes
    second: bytes
    said: Said
    made_at: float

    @property
    def same(self) -> bool | None:
        """Return whether the two are one picture, None where that was not said."""
        return one_picture(self.said)

    @property
    def is_duplicate(self) -> bool:
        """Return whether one of the two is enough."""
        return self.said in _TOGETHER

    @property
    def keeps_apart(self) -> bool:
        """Return whether the two shall not be in one group of duplicates."""
        return self.said not in _TOGETHER and self.first != self.second

    @property
    def keeps_all(self) -> bool:
        """Return whether every file of this one content stays."""
        return self.said not in _TOGETHER and self.first == self.second

    def as_json(self) -> dict[str, object]:
        """Return the item of `verdicts list`."""
        return {
            "first": self.first.hex(),
            "second": self.second.hex(),
            "verdict": self.said,
            "made_at": moment_text(self.made_at),
        }


def moment_text(seconds: float) -> str:
    """Return a moment as others read it: 2026-11-23T07:00:00.250000+00:00. seconds: since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def verdict_on(one: str, other: str, said: str, made_at: float | None = None) -> Verdict:
    """Return a verdict on two contents, named by the hexadecimal digits of their sha256 in either order.

    made_at: seconds since 1970, now where nobody says.

    Raises:
        UsageError: a name is no sha256, nobody can say this, or nobody can say it of files with the same bytes.
    """
    first, second = sorted((content_name(one), content_name(other)))
    word = word_named(said)
    if first == second and word not in _OF_ITSELF:
        raise UsageError(
            f"both are {first.hex()}, and {word} cannot be said of files with the same bytes; keep_both keeps every "
            "one of them, and duplicate takes that back"
        )
    # To the microsecond, as a CSV keeps it.
    return Verdict(first, second, word, round(time.time(), 6) if made_at is None else made_at)


def word_named(text: str) -> Said:
    """Return a word by its name, however it is spelled: Keep both.

    Raises:
        UsageError: nobody can say this.
    """
    for known in SAID:
        if text.strip().lower().replace(" ", "_").replace("-", "_") == known:
            return known
    raise UsageError(f"a verdict is one of {', '.join(SAID)}, not {text!r}")


def kept_contents(verdicts: Iterable[Verdict]) -> frozenset[bytes]:
    """Return the contents (sha256) of which every file stays."""
    return frozenset(one.first for one in verdicts if one.keeps_all)


def opinions(verdicts: Iterable[Verdict]) -> dict[tuple[str, str], bool]:
    """Return by pairs of contents whether one of the two is enough: both sha256 as digits, in both orders.

    A content of which every file stays is a pair with itself; that of others nobody needs to say anything.
    """
    pairs = (one for one in verdicts if one.first != one.second or one.keeps_all)
    said = {(one.first.hex(), one.second.hex()): one.is_duplicate for one in pairs}
    return said | {(other, one): enough for (one, other), enough in said.items()}


def one_picture(said: Said) -> bool | None:
    """Return whether somebody who says this says that the two are one picture, None where it says neither."""
    return _ONE_PICTURE.get(said)


class Newest(NamedTuple):
    """A state of the verdicts: how many, and id and time of the last, None where there are none."""

    number: int
    last: int | None
    made_at: float | None


class Verdicts:
    """Reads and writes the table `verdict`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> list[Verdict]:
        """Return every verdict, by the two contents."""
        query = select(verdict.c.first, verdict.c.second, verdict.c.verdict, verdict.c.made_at)
        with self._database.reading() as connection:
            rows = connection.execute(query.order_by(verdict.c.first, verdict.c.second)).all()
        return [Verdict(bytes(row.first), bytes(row.second), row.verdict, row.made_at) for row in rows]

    def newest(self) -> Newest:
        """Return what changes whenever something is said."""
        query = select(func.count(), func.max(verdict.c.id), func.max(verdict.c.made_at))
        with self._database.reading() as connection:
            return Newest(*connection.execute(query).one())

    def say(self, verdicts: Iterable[Verdict]) -> int:
        """Write verdicts down, all or none; return how many. The last on two contents counts.

        Raises:
            StoreUnavailable: the database is locked, full or read-only; nothing was written.
        """
        newest = {(one.first, one.second): one for one in verdicts}
        with self._database.writing() as connection:
            for part in chunks(newest.values()):
                for one in part:
                    on = (verdict.c.first == one.first) & (verdict.c.second == one.second)
                    connection.execute(delete(verdict).where(on))
                values = [
                    {"first": one.first, "second": one.second, "verdict": one.said, "made_at": one.made_at}
                    for one in part
                ]
                connection.execute(insert(verdict), values)
        return len(newest)

    def forget(self, one: bytes, other: bytes) -> None:
        """Take back what was said of two contents, named by their sha256 in either order.

        Raises:
            StoreUnavailable: the database is locked, full or read-only; nothing was written.
        """
        first, second = sorted((one, other))
        with self._database.writing() as connection:
            connection.execute(delete(verdict).where((verdict.c.first == first) & (verdict.c.second == second)))


def content_name(text: str) -> bytes:
    """Return the sha256 that 64 hexadecimal digits name.

    Raises:
        UsageError: the text is something else.
    """
    try:
        name = bytes.fromhex(text.strip())
    except ValueError:
        name = b""
    if len(name) != SHA256_BYTES:
        raise UsageError(f"{text!r} is no sha256: 64 hexadecimal digits")
    return name
