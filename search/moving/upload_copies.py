"""Pictures that were sent to a store, in backups: the files that the copied catalogue names, beside its segments.

Originals are named by an image's uri, which is the place of a file; in another store that is another place, so the
catalogue that is restored names the new one. Small pictures are found by what they show.
"""

import hashlib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import BindParameter, Connection, Table, bindparam, select, update

from search.blobs.blobs import mapped, sync_folder
from search.database.tables import content, image, ledger
from search.errors import CorruptFile
from search.records import path_of_uri, shown_path, uri_of_path
from search.storing.uploads import FOLDER, SCHEME, SMALL, place_of

COPIED: Final = re.compile(rf"{FOLDER}/[0-9a-f]{{2}}/(?P<sha256>[0-9a-f]{{64}})(?P<form>\.[a-z0-9]{{1,8}}(\.jpg)?)")
PAGE: Final = 10_000


def named_uploads(connection: Connection, folder: Path) -> Iterator[str]:
    """Yield the names in a backup of the files that images of a catalogue need, each once.

    folder: of the uploads of the store. What an image keeps nothing of is named, too: nobody can tell it from a small
    picture.
    """
    place = f"{uri_of_path(str(folder))}/"
    living = ~image.c.deleted
    originals = select(image.c.uri).where(living, image.c.uri.startswith(place, autoescape=True)).distinct()
    for uri in connection.execute(originals).scalars():
        path = path_of_uri(uri)
        if path is not None:
            yield f"{FOLDER}/{path.relative_to(folder).as_posix()}"
    sent = select(content.c.sha256).join(image, image.c.content_id == content.c.id)
    for sha256 in connection.execute(sent.where(living, image.c.uri.startswith(SCHEME)).distinct()).scalars():
        yield f"{FOLDER}/{place_of(f'{bytes(sha256).hex()}{SMALL}')}"


def is_named(connection: Connection, folder: Path, name: str) -> bool:
    """Tell whether an image of a catalogue still needs the original of this name in a backup."""
    uri = uri_of_path(str(folder / name.removeprefix(f"{FOLDER}/")))
    return connection.execute(select(image.c.id).where(image.c.uri == uri, ~image.c.deleted)).first() is not None


def size_of(folder: Path, name: str) -> int:
    """Return how many bytes a file has by its name in a backup, 0 for one that is not there."""
    path = folder / name.removeprefix(f"{FOLDER}/")
    return path.stat().st_size if path.is_file() else 0


def upload_bytes(folder: Path, name: str) -> NDArray[np.uint8]:
    """Return a file by its name in a backup, (bytes,) uint8.

    Raises:
        FileNotFoundError: it is not there.
        CorruptFile: it is not the picture that was sent, or no file that this store writes.
    """
    found = COPIED.fullmatch(name)
    if found is None:
        raise CorruptFile(f"{name} is no file of uploads")
    data = mapped(folder / name.removeprefix(f"{FOLDER}/"))
    if found["form"] != SMALL and hashlib.sha256(data.data).hexdigest() != found["sha256"]:
        raise CorruptFile(f"{name} is damaged: its sha256 differs")
    return data


def put_upload(folder: Path, name: str, pieces: Iterable[bytes]) -> Path:
    """Write a file of a backup to its place, durably but for the folders' names, and return that.

    Raises:
        CorruptFile: by `pieces`; nothing is left.
        OSError: the disk is full or refuses the write.
    """
    path = folder / name.removeprefix(f"{FOLDER}/")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.restored.partial")
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def sync_uploads(folder: Path) -> None:
    """Make the names of all files of uploads durable.

    Raises:
        OSError: the disk refuses.
    """
    for below in (one for one in folder.iterdir() if one.is_dir()):
        sync_folder(below)
    sync_folder(folder)
    sync_folder(folder.parent)


def lead_to(connection: Connection, before: str, folder: Path) -> None:
    """Let a catalogue name the originals in their new place. before: uri of their folder in the store of the backup."""
    after = uri_of_path(str(folder))
    if before == after:
        return
    _rename(connection, image, before, after, {"path": bindparam("shown")})
    _rename(connection, ledger, before, after, {})


def _rename(
    connection: Connection, table: Table, before: str, after: str, more: Mapping[str, BindParameter[str]]
) -> None:
    """Give rows the uri of the new place. more: what else is to be set, by `shown`, the path as people see it."""
    change = update(table).where(table.c.id == bindparam("row")).values(uri=bindparam("to"), **more)
    ours = table.c.uri.startswith(f"{before}/", autoescape=True)
    last = -1
    while rows := connection.execute(
        select(table.c.id, table.c.uri).where(ours, table.c.id > last).order_by(table.c.id).limit(PAGE)
    ).all():
        last = rows[-1].id
        moved = [(row.id, after + row.uri.removeprefix(before)) for row in rows]
        connection.execute(change, [{"row": row, "to": uri, "shown": shown_path(uri)} for row, uri in moved])
