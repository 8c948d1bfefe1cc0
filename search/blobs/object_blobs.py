"""Blobs in object storage, by fsspec, and the only module of search that imports it.

A blob is first written into a file of the cache, so that its checksum can be part of its name and a failed upload can
start over; then it is put under a fresh name that must not exist yet, and its length is asked for. Only then is the
name given away. Reads come from the cache (search/blobs/blob_cache.py).
"""

import errno
import hashlib
import logging
import random
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from search.blobs.blob_cache import BlobCache, Spooled, digest_in, is_sound
from search.blobs.blobs import mapped
from search.errors import CorruptFile, StoreUnavailable, UsageError
from search.faults import fault

log = logging.getLogger(__name__)

ATTEMPTS = 3
FIRST_WAIT_S = 0.2
CONNECT_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 30.0
PART_BYTES = 16 * 1024 * 1024  # S3 takes at most 10,000 parts, so blobs up to 160 GB
PARTS_AT_ONCE = 4  # in memory while a big blob travels
S3: Final = ("s3", "s3a")


class ObjectBlobs:
    """Blobs under a URL such as s3://bucket/prefix."""

    quick = False

    def __init__(self, url: str, cache: BlobCache) -> None:
        """url: with a protocol that fsspec knows. Connects when first used."""
        self._url = url.rstrip("/")
        self._cache = cache
        self._conditional = True
        # What a request may fail with: fsspec passes on the errors of the client below.
        self._errors: tuple[type[Exception], ...] = (OSError,)

    def write(self, folder: str, suffix: str, parts: Iterable[bytes | memoryview], *, point: str) -> str:
        """As Blobs.write: conditional PUT under a fresh name, then its length is asked for."""
        spooled = self._cache.spool(parts, point)
        name = f"{folder}/{uuid.uuid4().hex}-{spooled.digest}{suffix}"
        try:
            with self._answers("write", name):
                self._put(spooled, name, point)
                fault(f"{point}.confirm")
                size = int(self._system.info(self._path(name))["size"])
                if size != spooled.size_bytes:
                    raise OSError(errno.EIO, f"{size} of {spooled.size_bytes} bytes arrived")
        except StoreUnavailable:
            spooled.path.unlink(missing_ok=True)
            raise
        try:
            self._cache.keep(spooled.path, name)
        except StoreUnavailable as error:
            log.warning("%s; the blob is safe where it belongs, and fetched when it is needed", error)
        return name

    def open(self, name: str, expected_bytes: int) -> NDArray[np.uint8]:
        """As Blobs.open: a map of the copy in the cache."""
        try:
            return mapped(self.local_path(name, expected_bytes))
        except FileNotFoundError:  # another process dropped it between the two calls
            return mapped(self.local_path(name, expected_bytes))

    def local_path(self, name: str, expected_bytes: int) -> Path:
        """As Blobs.local_path: the copy in the cache, fetched when it is not there or damaged."""
        return self._cache.find(name, expected_bytes) or self._fetch(name, expected_bytes)

    def distrust(self, name: str) -> bool:
        """As Blobs.distrust: a copy is compared again before its next use, and fetched again if damaged."""
        self._cache.distrust(name)
        return True

    def sha256(self, name: str) -> bytes:
        """As Blobs.sha256: the object is read, not the cache."""
        with self._answers("read", name):
            fetched = self._download(name)
        try:
            with fetched.open("rb") as file:
                return hashlib.file_digest(file, "sha256").digest()
        finally:
            fetched.unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        """As Blobs.names."""
        return list(self._objects(folder))

    def written_at(self, name: str) -> float | None:
        """As Blobs.written_at."""
        found = self._objects(name.partition("/")[0]).get(name)
        return None if found is None else _changed_at(found)

    def sweep(self, folder: str, named: frozenset[str], older_than_s: float) -> list[str]:
        """As Blobs.sweep; the age is told by the storage's clock."""
        deadline = time.time() - older_than_s
        swept = [
            name
            for name, found in self._objects(folder).items()
            if name not in named and (_changed_at(found) or deadline) < deadline
        ]
        if swept:
            with self._answers("remove", folder):
                self._system.rm([self._path(name) for name in swept])
        return swept

    def _put(self, spooled: Spooled, name: str, point: str) -> None:
        """Upload a file, again when it fails in a way that may pass.

        A failure may have come after the object was stored (its answer was lost), and the next try then finds its own
        name taken; so what is there counts when it is byte for byte the file.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                with spooled.path.open("r+b") as file:
                    fault(f"{point}.put", file.fileno())
                self._put_once(spooled, name)
            except (FileNotFoundError, PermissionError):
                raise
            except self._errors as error:
                if self._is_stored(spooled, name):
                    return
                if attempt == ATTEMPTS:
                    raise
                log.warning("%s was not stored (%s); trying again", self._shown(name), error)
                time.sleep(FIRST_WAIT_S * 2 ** (attempt - 1) * random.uniform(1.0, 1.5))  # noqa: S311 -- no secret
            else:
                return

    def _put_once(self, spooled: Spooled, name: str) -> None:
        mode = "create" if self._conditional else "overwrite"
        try:
            self._system.put_file(str(spooled.path), self._path(name), mode=mode, **self._parts())
        except OSError as error:
            if not self._conditional or error.errno != errno.ENOSYS:
                raise
            # A server that knows no If-None-Match; names are fresh, so nothing can be overwritten anyway.
            self._conditional = False
            self._put_once(spooled, name)

    def _is_stored(self, spooled: Spooled, name: str) -> bool:
        try:
            if int(self._system.info(self._path(name))["size"]) != spooled.size_bytes:
                return False
            fetched = self._download(name)
        except self._errors:
            return False
        try:
            return is_sound(fetched, name)
        finally:
            fetched.unlink(missing_ok=True)

    def _fetch(self, name: str, expected_bytes: int) -> Path:
        for _ in range(2):  # a download may be damaged on the way
            with self._answers("read", name):
                fetched = self._download(name)
            size = fetched.stat().st_size
            if size == expected_bytes and is_sound(fetched, name):
                return self._cache.keep(fetched, name)
            fetched.unlink(missing_ok=True)
        if size != expected_bytes:
            raise CorruptFile(f"{self._shown(name)} has {size} bytes, the catalogue recorded {expected_bytes}")
        raise CorruptFile(f"{self._shown(name)} is damaged: its checksum is not {digest_in(name)}")

    def _download(self, name: str) -> Path:
        partial = self._cache.partial()
        try:
            self._system.get_file(self._path(name), str(partial), **self._parts())
            with partial.open("r+b") as file:
                fault("cache.write", file.fileno())
        except BaseException:
            partial.unlink(missing_ok=True)
            raise
        return partial

    def _objects(self, folder: str) -> dict[str, Mapping[str, Any]]:
        with self._answers("list", folder):
            found = self._system.find(self._path(folder), detail=True)
            if not found:
                self._require_bucket()
            root = self._path("")
            return {path.removeprefix(root): info for path, info in found.items()}

    @cached_property
    def _system(self) -> Any:
        """The fsspec file system, made when it is first needed: importing S3's takes a second."""
        import fsspec

        protocol = self._protocol
        options: dict[str, Any] = {"skip_instance_cache": True, "use_listings_cache": False}
        if protocol in S3:
            # One layer of retries for each request, below our own for a whole upload.
            options["config_kwargs"] = {
                "connect_timeout": CONNECT_TIMEOUT_S,
                "read_timeout": READ_TIMEOUT_S,
                "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            }
        try:
            system = fsspec.filesystem(protocol, **options)
        except ImportError as error:
            extra = "pip install 'lookalike[s3]'" if protocol in S3 else str(error)
            raise UsageError(f"blobs {self._url!r}: a package is missing: {extra}") from error
        except ValueError as error:
            raise UsageError(f"blobs {self._url!r}: {error}; use a folder or s3://bucket/prefix") from error
        if protocol in S3:
            from aiohttp import ClientError
            from botocore.exceptions import BotoCoreError

            self._errors = (OSError, BotoCoreError, ClientError)
            system.retries = 1
        return system

    @contextmanager
    def _answers(self, verb: str, name: str) -> Iterator[None]:
        try:
            try:
                yield
            except FileNotFoundError as error:
                self._require_bucket()
                if verb != "read":
                    raise
                raise CorruptFile(f"{self._shown(name)} is missing") from error
        except self._errors as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise self._cache.unusable(error) from error
            raise StoreUnavailable(f"cannot {verb} {self._shown(name)}: {_reason(error)}; {_remedy(error)}") from error

    def _require_bucket(self) -> None:
        """Raises:
        FileNotFoundError: the bucket is not there.
        """
        bucket = self._path("").split("/")[0]
        if self._protocol in S3 and not self._system.exists(bucket):
            raise FileNotFoundError(errno.ENOENT, f"there is no bucket {bucket!r}")

    def _parts(self) -> dict[str, int]:
        return {"chunksize": PART_BYTES, "max_concurrency": PARTS_AT_ONCE} if self._protocol in S3 else {}

    @property
    def _protocol(self) -> str:
        return self._url.partition("://")[0]

    def _path(self, name: str) -> str:
        root: str = self._system._strip_protocol(self._url)
        return f"{root}/{name}"

    def _shown(self, name: str) -> str:
        return f"{self._url}/{name}"


def _changed_at(found: Mapping[str, Any]) -> float | None:
    """Return when an object was stored, in seconds since 1970; None where the storage does not tell."""
    for field in ("LastModified", "mtime", "created"):
        value = found.get(field)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, int | float):
            return float(value)
    return None


def _reason(error: Exception) -> str:
    text = str(error.strerror or error) if isinstance(error, OSError) else str(error)
    return (text.strip().splitlines() or [type(error).__name__])[0]


def _remedy(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "make the bucket, or name another in `blobs` of store.toml or LOOKALIKE_BLOBS"
    if isinstance(error, PermissionError) or "credentials" in str(error).lower():
        return "check the credentials (AWS_ACCESS_KEY_ID or AWS_PROFILE) and what they may do"
    return "check the network and AWS_ENDPOINT_URL, then run again"
