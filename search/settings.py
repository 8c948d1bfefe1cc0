"""Where a store's parts lie: store.toml, overridden by the environment.

store.toml holds `format` (a whole number), and optionally `catalogue` (a database URL), `blobs` (a folder, or the URL
of object storage), `cache_gib` (room for copies of its blobs) and `accept_license` (a licence of weights that was
agreed to). A plain local store needs none of them.
"""

import errno
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from search.blobs.blobs import sync_folder
from search.errors import StoreNotFound, StoreTooNew, UsageError
from search.faults import fault

FORMAT = 1
FILE = "store.toml"
CATALOGUE_FILE = "catalogue.sqlite"
CACHE_GIB = 20.0
GIB = 2**30
# fsspec knows these too, but neither keeps what it is given through a power cut.
NOT_DURABLE = ("memory", "file", "local")


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """catalogue: a database URL. blobs: the folder of segments and generations, or the URL of object storage.

    cache: folder for copies of what lies in object storage, of at most cache_bytes. accept_license: as a user named it.
    """

    root: Path
    catalogue: str
    blobs: Path | str
    cache: Path
    cache_bytes: int
    accept_license: str | None = None


def read_settings(root: Path) -> StoreSettings:
    """Read the settings of the store in this folder.

    Raises:
        StoreNotFound: the folder holds no store.
        StoreTooNew: a newer release wrote it.
        UsageError: store.toml is not readable as settings.
    """
    file = root / FILE
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except FileNotFoundError as error:
        raise StoreNotFound(f"there is no store in {root}; `lookalike init` or `lookalike index` makes one") from error
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; choose another --store") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from error
    found = values.get("format")
    if not isinstance(found, int) or found < 1:
        raise UsageError(f"{file}: format is {found!r}, expected a whole number from 1")
    if found > FORMAT:
        raise StoreTooNew(
            f"{root} is a store of format {found}; this release knows up to {FORMAT}: install a newer Lookalike"
        )
    return _settings(root, values)


def new_settings(
    root: Path, catalogue: str | None, blobs: str | None, accept_license: str | None
) -> tuple[StoreSettings, str]:
    """Return the settings of a store to be made, and the store.toml that says so.

    The default places are left out of it, so that a store can be moved.

    Raises:
        UsageError: a value cannot be used, or the folder cannot be made.
    """
    lines = [f"format = {FORMAT}"]
    if catalogue:
        lines.append(f"catalogue = {_quoted(_usable_catalogue(catalogue))}")
    if blobs:
        lines.append(f"blobs = {_quoted(_usable_blobs(blobs))}")
    if accept_license:
        lines.append(f"accept_license = {_quoted(accept_license)}")
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _no_store(root, error) from error
    return _settings(root, tomllib.loads("\n".join(lines))), "\n".join(lines) + "\n"


def accepted_by_environment() -> str | None:
    """Return the licence of weights that the environment agrees to, None for none."""
    return os.environ.get("LOOKALIKE_ACCEPT_LICENSE") or None


def publish_settings(root: Path, text: str) -> None:
    """Write store.toml durably and at once: from here on the folder is a store.

    Raises:
        UsageError: the folder cannot be written.
    """
    partial = root / f"{FILE}.{os.getpid()}.partial"
    try:
        # Only for its owner: the URL of the catalogue may hold a password.
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            fault("store.write", handle)
            os.fsync(handle)
            if os.fstat(handle).st_size != len(text.encode()):
                raise OSError(errno.EIO, "the disk lost its end")
        fault("store.rename")
        partial.rename(root / FILE)
        sync_folder(root)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise _no_store(root, error) from error


def _no_store(root: Path, error: OSError) -> UsageError:
    return UsageError(f"cannot make a store in {root}: {error.strerror}; choose another --store")


def _settings(root: Path, values: Mapping[str, object]) -> StoreSettings:
    catalogue = os.environ.get("LOOKALIKE_CATALOGUE") or str(values.get("catalogue", ""))
    blobs = os.environ.get("LOOKALIKE_BLOBS") or str(values.get("blobs", ""))
    accepted = accepted_by_environment() or str(values.get("accept_license", ""))
    url = _usable_catalogue(catalogue) if catalogue else _default_catalogue(root)
    place = _usable_blobs(blobs) if "://" in blobs else root / blobs
    return StoreSettings(root, url, place, _cache_folder(), _cache_bytes(values), accepted or None)


def _default_catalogue(root: Path) -> str:
    return f"sqlite:///{root / CATALOGUE_FILE}"


def _usable_catalogue(url: str) -> str:
    if url.startswith("postgresql://"):
        return url.replace("postgresql://", "postgresql+psycopg://", 1)
    if url.startswith(("sqlite:///", "postgresql+psycopg://")):
        return url
    raise UsageError(f"catalogue {url!r} is no database URL; use postgresql://user@host/name or sqlite:////file")


def _usable_blobs(place: str) -> str:
    protocol, separator, rest = place.partition("://")
    if not separator:
        return str(Path(place).absolute())
    if protocol in NOT_DURABLE or not rest.strip("/"):
        raise UsageError(f"blobs {place!r}: use a folder, or object storage such as s3://bucket/prefix")
    return place


def _cache_folder() -> Path:
    chosen = os.environ.get("LOOKALIKE_CACHE")
    return (Path(chosen).absolute() if chosen else user_cache_path("lookalike", appauthor=False)) / "blobs"


def _cache_bytes(values: Mapping[str, object]) -> int:
    chosen = os.environ.get("LOOKALIKE_CACHE_GIB") or values.get("cache_gib", CACHE_GIB)
    try:
        size = float(str(chosen))
    except ValueError:
        size = 0.0
    if not 0.0 < size < float("inf"):
        raise UsageError(f"cache_gib is {chosen!r}, expected a number of GiB above 0, such as {CACHE_GIB:g}")
    return int(size * GIB)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
