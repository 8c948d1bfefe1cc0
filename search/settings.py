"""Where a store's parts lie: store.toml, overridden by the environment.

store.toml holds `format` (a whole number), and optionally `catalogue` (a database URL), `blobs` (a folder, or the URL
of object storage), `cache_gib` (room for copies of its blobs) and `accept_license` (a licence of weights that was
agreed to). A plain local store needs none of them. The last line, `sha256`, is over what the others say, so that a
flipped bit cannot lead to another catalogue; comments and blanks do not count. A file without it is read as it is:
it is of an older release, or of a person who changed a setting and removed the line, as its comment says.
"""

import difflib
import errno
import hashlib
import json
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
KEYPOINTS_GIB = 4.0  # 60,000 pictures
GIB = 2**30
# fsspec knows these too, but neither keeps what it is given through a power cut.
NOT_DURABLE = ("memory", "file", "local")
# Not a name that one flipped bit makes a comment of, as it would `checksum`.
SUM = "sha256"
KNOWN = ("format", "catalogue", "blobs", "cache_gib", "accept_license", SUM)
# Behind the sum and not above it: a flipped end of line would pull the sum into the comment.
ADVICE = "# of the settings above; after changing one, remove this line: `lookalike migrate` writes it anew"


@dataclass(frozen=True, slots=True)
class StoreSettings:
    """catalogue: a database URL. blobs: the folder of segments and generations, or the URL of object storage.

    cache: folder for copies of what lies in object storage, of at most cache_bytes. accept_license: as a user named it.
    keypoints: folder of what is remembered of pictures for accurate searches, of at most keypoints_bytes.
    """

    root: Path
    catalogue: str
    blobs: Path | str
    cache: Path
    cache_bytes: int
    accept_license: str | None = None

    @property
    def keypoints(self) -> Path:
        """The folder is beside the one for blobs, and shared by all stores."""
        return self.cache.with_name("keypoints")

    @property
    def keypoints_bytes(self) -> int:
        """LOOKALIKE_KEYPOINTS_GIB, in bytes.

        Raises:
            UsageError: it is no number above 0.
        """
        return _bytes_of("LOOKALIKE_KEYPOINTS_GIB", os.environ.get("LOOKALIKE_KEYPOINTS_GIB") or KEYPOINTS_GIB)


def read_settings(root: Path) -> StoreSettings:
    """Read the settings of the store in this folder.

    Raises:
        StoreNotFound: the folder holds no store.
        StoreTooNew: a newer release wrote it.
        UsageError: store.toml is not readable as settings.
    """
    return _settings(root, _read(root)[1])


def is_sealed(root: Path) -> bool:
    """Return whether store.toml has the sum that shows damage.

    Raises:
        StoreNotFound, StoreTooNew, UsageError: as `read_settings`.
    """
    return SUM in _read(root)[1]


def seal_settings(root: Path) -> None:
    """Add the sum to a store.toml that has none; the rest of the file stays as a person wrote it.

    Raises:
        StoreNotFound, StoreTooNew, UsageError: as `read_settings`, or the folder cannot be written.
    """
    text, values = _read(root)
    if SUM in values:
        return
    try:
        # Where a link leads to, the link stays.
        _replace((root / FILE).resolve(), _sealed(text, values))
    except OSError as error:
        raise UsageError(f"cannot write {root / FILE}, so it goes without a checksum: {error.strerror}") from error


def _read(root: Path) -> tuple[str, dict[str, object]]:
    """Return store.toml, and what it says."""
    file = root / FILE
    try:
        text = file.read_text("utf-8")
        values = tomllib.loads(text)
    except FileNotFoundError as error:
        raise StoreNotFound(f"there is no store in {root}; `lookalike init` or `lookalike index` makes one") from error
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; choose another --store") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} is not valid TOML: {error}") from error
    if SUM in values and values[SUM] != _sum_of(values):
        raise UsageError(
            f"{file} is not as Lookalike wrote it; if you have changed a setting, remove the line that begins with "
            f"`{SUM}`, then `lookalike migrate` writes a new one; if nobody has, the file is damaged: compare each line"
        )
    found = values.get("format")
    if not isinstance(found, int) or found < 1:
        raise UsageError(f"{file}: format is {found!r}, expected a whole number from 1")
    if found > FORMAT:
        raise StoreTooNew(
            f"{root} is a store of format {found}; this release knows up to {FORMAT}: install a newer Lookalike"
        )
    _refuse_unknown(file, values)
    return text, values


def _refuse_unknown(file: Path, values: Mapping[str, object]) -> None:
    """Refuse a misspelt setting, which would otherwise mean its default: another catalogue, say."""
    for name in values.keys() - set(KNOWN):
        near = difflib.get_close_matches(name, KNOWN, 1)
        choice = f"did you mean {near[0]}?" if near else f"choose of {', '.join(KNOWN[:-1])}"
        raise UsageError(f"{file}: there is no setting {name!r}; {choice}")


def _sum_of(values: Mapping[str, object]) -> str:
    said = {name: value for name, value in values.items() if name != SUM}
    # Dates are no setting, but TOML has them.
    return hashlib.sha256(json.dumps(said, sort_keys=True, default=str).encode()).hexdigest()


def _sealed(text: str, values: Mapping[str, object]) -> str:
    return f'{text.rstrip()}\n{SUM} = "{_sum_of(values)}"  {ADVICE}\n'


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
    text = "\n".join(lines)
    values = tomllib.loads(text)
    return _settings(root, values), _sealed(text, values)


def accepted_by_environment() -> str | None:
    """Return the licence of weights that the environment agrees to, None for none."""
    return os.environ.get("LOOKALIKE_ACCEPT_LICENSE") or None


def publish_settings(root: Path, text: str) -> None:
    """Write store.toml durably and at once: from here on the folder is a store.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        _replace(root / FILE, text)
    except OSError as error:
        raise _no_store(root, error) from error


def _replace(path: Path, text: str) -> None:
    partial = path.with_name(f"{FILE}.{os.getpid()}.partial")
    try:
        # Only for its owner: the URL of the catalogue may hold a password.
        handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            if path.exists():
                _take_after(path, handle)
            file.write(text)
            file.flush()
            fault("store.write", handle)
            os.fsync(handle)
            if os.fstat(handle).st_size != len(text.encode()):
                raise OSError(errno.EIO, "the disk lost its end")
        fault("store.rename")
        partial.rename(path)
        sync_folder(path.parent)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


def _take_after(path: Path, handle: int) -> None:
    """Let whoever may read a file read the one that replaces it."""
    known = path.stat()
    os.fchmod(handle, known.st_mode & 0o777)
    if os.geteuid() == 0:
        os.fchown(handle, known.st_uid, known.st_gid)


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
    return _bytes_of("cache_gib", os.environ.get("LOOKALIKE_CACHE_GIB") or values.get("cache_gib", CACHE_GIB))


def _bytes_of(name: str, chosen: object) -> int:
    try:
        size = float(str(chosen))
    except ValueError:
        size = 0.0
    if not 0.0 < size < float("inf"):
        raise UsageError(f"{name} is {chosen!r}, expected a number of GiB above 0, such as {CACHE_GIB:g}")
    return int(size * GIB)


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
