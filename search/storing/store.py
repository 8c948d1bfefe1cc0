"""A store: one folder that holds, or points to, the catalogue and the blobs."""

import hashlib
import json
import os
import time
from pathlib import Path

from platformdirs import user_data_path
from sqlalchemy import Connection, insert, select, update
from sqlalchemy.exc import IntegrityError

from search.blobs.blob_cache import BlobCache
from search.blobs.blobs import Blobs, LocalBlobs
from search.blobs.object_blobs import ObjectBlobs
from search.database import schema
from search.database.claims import settle
from search.database.database import Database
from search.database.sequences import lock_collections
from search.database.tables import collection, generation, segment, space
from search.errors import LookalikeError, SpaceMismatch, UsageError
from search.faults import fault
from search.records import Collection, SpaceSpec
from search.regions import REGIONS_RULE
from search.settings import FILE, StoreSettings, new_settings, publish_settings, read_settings
from search.storing.catalogue import Catalogue
from search.storing.local_rows import LOCAL_SPACE, space_of

# Younger files may belong to a commit that is about to name them.
SWEEP_AGE_S = 3600.0
MAX_NAME = 200
LOWEST_RECALL, HIGHEST_RECALL = 0.5, 0.9999
# Where blobs lie, and the table that names them.
NAMED = (("segments", segment), ("generations", generation))


class Store:
    """An open store; close it, or use it in a `with`."""

    def __init__(self, root: Path) -> None:
        """Open the store in this folder.

        Raises:
            StoreNotFound: there is none.
            StoreTooNew: a newer release wrote it.
            StoreUnavailable: the database does not answer.
            UsageError: store.toml is unusable, or the tables wait for `lookalike migrate`.
        """
        self.settings = read_settings(root)
        self.root = root
        self.database = Database(self.settings.catalogue)
        self.blobs = blobs_of(self.settings)
        self.catalogue = Catalogue(self.database)
        try:
            if schema.pending(self.database):
                raise UsageError(f"the store in {root} is of an older release: run `lookalike migrate`")
            settle(self.database)
        except LookalikeError:
            self.database.close()
            raise

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        catalogue: str | None = None,
        blobs: str | None = None,
        accept_license: str | None = None,
    ) -> "Store":
        """Make a store where there is none, and open it; an existing one is opened as it is.

        Raises:
            UsageError: the folder or a setting cannot be used, the folder holds a store with other settings, or the
                blobs belong to another store.
            StoreUnavailable: the database or the object storage does not answer.
        """
        if (root / FILE).exists():
            if catalogue or blobs or accept_license:
                raise UsageError(
                    f"{root} already holds a store; to change its settings, edit {root / FILE} and remove its last line"
                )
            return cls(root)
        # The tables first and store.toml last: a folder with a store.toml is a whole store, whenever this is killed.
        settings, text = new_settings(root, catalogue, blobs, accept_license)
        database = Database(settings.catalogue)
        try:
            fault("store.tables")
            schema.upgrade(database)
            _refuse_foreign(blobs_of(settings), database, settings)
        finally:
            database.close()
        publish_settings(root, text)
        return cls(root)

    def migrate(self) -> None:
        """Bring the tables to this release."""
        schema.upgrade(self.database)

    def close(self) -> None:
        """Close the database connections."""
        self.database.close()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open_collection(
        self,
        name: str,
        spec: SpaceSpec,
        *,
        accepted: str | None = None,
        labels: bool | None = None,
        regions: bool | None = None,
        local: bool | None = None,
    ) -> Collection:
        """Return the collection of this name in this space, making it when it is new.

        accepted: the licence that was agreed to now, if any. labels, regions, local: whether its images get labels, are
        searched in regions, too, and get local features from now on; None leaves that as it is.

        Raises:
            SpaceMismatch: the collection exists in another space.
        """
        existing = {found.name: found for found in self.catalogue.collections()}.get(name)
        if existing is None:
            self._make_collection(name, spec)
            existing = self.catalogue.collection(name)
        if existing.space.fingerprint != spec.fingerprint:
            raise SpaceMismatch(_mismatch(existing, spec))
        rule = None if regions is None else REGIONS_RULE * regions
        chosen = {"labels": labels, "regions_rule": rule, "local": local}
        changed = {name: value for name, value in chosen.items() if value not in (None, getattr(existing, name))}
        if (accepted is None or existing.licence_accepted is not None) and not changed:
            return existing
        with self.database.writing() as connection:
            if accepted is not None:
                consent = {"licence_accepted": accepted, "licence_accepted_at": time.time()}
                first = (space.c.id == existing.space_id) & space.c.licence_accepted.is_(None)
                connection.execute(update(space).where(first).values(consent))
            if changed:
                connection.execute(update(collection).where(collection.c.id == existing.id).values(**changed))
            if local:
                lock_collections(connection)  # two that make this space at once would meet
                put_space(connection, LOCAL_SPACE)
        return self.catalogue.collection(name)

    def set_recall_target(self, target: Collection, recall: float) -> Collection:
        """Say what share of the 10 nearest images the next approximate index of a collection shall find.

        Raises:
            UsageError: it is not from .5 to .9999.
        """
        if not LOWEST_RECALL <= recall <= HIGHEST_RECALL:
            raise UsageError(f"recall target {recall} is not from {LOWEST_RECALL} to {HIGHEST_RECALL}")
        with self.database.writing() as connection:
            connection.execute(update(collection).where(collection.c.id == target.id).values(recall_target=recall))
        return self.catalogue.collection(target.name)

    def _make_collection(self, name: str, spec: SpaceSpec) -> None:
        if not name or len(name) > MAX_NAME or "/" in name:
            raise UsageError(f"{name!r} cannot name a collection: use 1 to 200 characters without a slash")
        try:
            with self.database.writing() as connection:
                space_id = put_space(connection, spec)
                connection.execute(insert(collection).values(name=name, space_id=space_id))
        except IntegrityError:
            return  # another process made it a moment ago; the caller reads what is there

    def sweep(self, older_than_s: float = SWEEP_AGE_S) -> list[str]:
        """Remove segment and generation files that the catalogue does not name; return their names."""
        swept: list[str] = []
        # Looked for without the lock first: listing a bucket takes long, and most often there is nothing to remove.
        if not _unnamed(self.blobs, self.database):
            return swept
        with self.database.writing() as connection:
            # With the rows of all collections locked, no commit can name a file meanwhile.
            lock_collections(connection)
            for folder, table in NAMED:
                named = frozenset(connection.execute(select(table.c.name)).scalars())
                swept += self.blobs.sweep(folder, named, older_than_s)
        return swept


def put_space(connection: Connection, spec: SpaceSpec, *, accepted: str | None = None) -> int:
    """Return the id of a space, adding it when it is new. accepted: the licence that was agreed to now, if any."""
    space_id = space_of(connection, spec.fingerprint)
    if space_id is None:
        values = {field: getattr(spec, field) for field in spec.__dataclass_fields__}
        added = insert(space).values(fingerprint=spec.fingerprint, **values).returning(space.c.id)
        space_id = int(connection.execute(added).scalar_one())
    if accepted is not None:
        first = (space.c.id == space_id) & space.c.licence_accepted.is_(None)
        consent = {"licence_accepted": accepted, "licence_accepted_at": time.time()}
        connection.execute(update(space).where(first).values(consent))
    return space_id


def spec_of(connection: Connection, space_id: int) -> SpaceSpec:
    """Return the space with this id."""
    columns = [space.c[name] for name in SpaceSpec.__dataclass_fields__]
    return SpaceSpec(*connection.execute(select(*columns).where(space.c.id == space_id)).one())


def blobs_of(settings: StoreSettings) -> Blobs:
    """Return where a store keeps its blobs; nothing is read or connected yet."""
    place = settings.blobs
    if isinstance(place, Path):
        return LocalBlobs(place)
    # The endpoint too: two servers may have buckets of one name.
    where = f"{os.environ.get('AWS_ENDPOINT_URL', '')} {place}"
    folder = settings.cache / hashlib.sha256(where.encode()).hexdigest()[:16]
    return ObjectBlobs(place, BlobCache(folder, settings.cache_bytes))


def _unnamed(blobs: Blobs, database: Database) -> list[str]:
    """Return the blobs that the catalogue does not name."""
    stored = [name for folder, _ in NAMED for name in blobs.names(folder)]
    with database.reading() as connection:
        named = {name for _, table in NAMED for name in connection.execute(select(table.c.name)).scalars()}
    return [name for name in stored if name not in named]


def _refuse_foreign(blobs: Blobs, database: Database, settings: StoreSettings) -> None:
    """Refuse blobs that a new store would take for leftovers of its own, and sweep.

    Raises:
        UsageError: the place holds blobs, and the catalogue names none of them.
    """
    stored = [name for folder, _ in NAMED for name in blobs.names(folder)]
    unnamed = _unnamed(blobs, database)
    if stored and len(unnamed) >= len(stored):
        raise UsageError(
            f"{settings.blobs} holds {len(stored)} blobs that this catalogue does not know, such as {stored[0]}: "
            "choose another folder or prefix for blobs, or the catalogue that belongs to them"
        )


def _mismatch(existing: Collection, wanted: SpaceSpec) -> str:
    return (
        f"collection {existing.name!r} holds embeddings of {_described(existing.space)}, not of {_described(wanted)}; "
        "the two cannot be compared: use --collection NAME for a new collection, or index with the first"
    )


def _described(spec: SpaceSpec) -> str:
    if spec.is_imported:
        return f"{spec.backbone} (imported, {spec.dims} dims)"
    shape = json.loads(spec.preparation)
    size = f"{shape.get('width')}x{shape.get('height')}"
    return f"{spec.backbone} ({shape.get('mode')}, {size}, weights {spec.weights_sha256[:8]})"


def default_root() -> Path:
    """Return the folder of LOOKALIKE_STORE, else the platform's user data folder."""
    chosen = os.environ.get("LOOKALIKE_STORE")
    return Path(chosen).expanduser() if chosen else user_data_path("lookalike") / "store"
