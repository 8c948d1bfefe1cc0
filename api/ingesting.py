"""Pictures that are sent one by one: gate -> decode -> embed -> keep -> commit. Acknowledged is durable and searchable.

What the index journey does with many files, for a server that gets them as they come. Thread-safe.
"""

import hashlib
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final, Literal

from api.checks import Check, check_picture
from api.intake import Intake
from api.queries import CheckRequest
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from indexer.jobs.group_commits import Part, machine_lock
from search.errors import BadImage, DuplicatePicture, KeyTaken, LookalikeError
from search.records import Collection, ImageRecord, Label
from search.storing.image_rows import NewImage
from search.storing.uploads import SCHEME, Uploads

Keep = Literal["original", "thumbnail", "none"]
OnDuplicate = Literal["allow", "link", "reject"]
Outcome = Literal["added", "replaced", "linked", "exists", "rejected"]
SMALL_PIXELS: Final = 1_024  # long side of what is kept instead of an original
OTHER_LABELS: Final = (
    "the labels that were sent do not count: those of a picture are written once, for all images that hold its file; "
    "what is to differ between images goes into their metadata"
)


@dataclass(frozen=True, slots=True)
class Sent:
    """A picture that was sent. name: for messages. uri: where it lies and stays; None for one that lies nowhere else.

    named: the address it came from, which names it where it has no key. mtime_ns: of the file at the uri.
    """

    data: bytes
    name: str
    key: str | None = None
    uri: str | None = None
    named: str | None = None
    metadata: Mapping[str, object] | None = None
    labels: tuple[Label, ...] | None = None
    mtime_ns: int | None = None

    def key_of(self, sha256: bytes) -> str:
        """Return the key of its image. sha256: of its bytes, which name it where nothing else does."""
        return self.key or self.named or self.uri or f"sha256:{sha256.hex()}"


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of it. image: that is there now, or was. error: why it was rejected. check: what the gate said."""

    outcome: Outcome
    image: ImageRecord | None
    error: LookalikeError | None = None
    check: Check | None = None

    def has_other_labels(self, sent: Sent) -> bool:
        """Tell whether the labels that came with the picture do not count, as its file has others (`OTHER_LABELS`)."""
        if sent.labels is None or self.image is None or self.outcome == "rejected":
            return False
        wanted, there = (
            sorted((one.label, one.probability) for one in some) for some in (sent.labels, self.image.labels)
        )
        return wanted != there


class Ingest:
    """Takes pictures into the collections of one workspace."""

    def __init__(self, workspace: Workspace) -> None:
        """Nothing is loaded before the first picture comes."""
        self._workspace = workspace
        self._store = workspace.store
        self.uploads = Uploads(workspace.store)
        self._stack = ExitStack()
        self._intakes: dict[Collection, Intake] = {}
        self._small: DecoderPool | None = None
        self._lock = threading.Lock()
        self._checking = threading.Lock()

    def close(self) -> None:
        """End what runs beside."""
        self._stack.close()

    def add(self, target: Collection, sent: Sent, keep: Keep, on_duplicate: OnDuplicate) -> Ingested:
        """Take a picture as a new image; one whose key leads to another picture is rejected.

        Raises:
            LookalikeError: by name, where it is not the picture's fault; nothing was stored.
        """
        sha256 = hashlib.sha256(sent.data).digest()
        try:
            if on_duplicate == "allow":
                return self._known(target, sent, sha256) or self._stored(target, sent, sha256, keep)
            # One at a time, so that of two copies that come together the second is known as one.
            with self._checking, machine_lock(self._store.root / f".gate-{target.id}.lock"):
                return self._known(target, sent, sha256) or self._gated(target, sent, sha256, keep, on_duplicate)
        except (BadImage, KeyTaken) as error:
            return Ingested("rejected", None, error)

    def put(self, target: Collection, key: str, sent: Sent, keep: Keep) -> Ingested:
        """Make a picture the image of a key, whatever that was before.

        Raises:
            BadImage: it cannot be decoded; what the key led to stays.
            LookalikeError: by name; nothing was stored.
        """
        sha256 = hashlib.sha256(sent.data).digest()
        before = self._by_key(target, key)
        if before is not None and before.sha256 == sha256 and not sent.metadata and not sent.labels:
            return Ingested("exists", before)
        return self._stored(target, replace(sent, key=key), sha256, keep, new_key=False)

    def _known(self, target: Collection, sent: Sent, sha256: bytes) -> Ingested | None:
        """Return the image that a picture sent again leads to.

        Raises:
            KeyTaken: its key leads to another picture.
            BadImage: it is empty.
        """
        if not sent.data:
            raise BadImage("empty", f"{sent.name} has no bytes")
        found = self._by_key(target, sent.key_of(sha256))
        if found is None and sent.key is None and sent.uri is not None:
            found = self._at(target, sent.uri)
        if found is None:
            return None
        if found.sha256 != sha256:
            raise KeyTaken(
                f"the key {found.key!r} leads to another picture, image {found.id}; PUT to images/by-key replaces it"
            )
        return Ingested("exists", found)

    def _gated(self, target: Collection, sent: Sent, sha256: bytes, keep: Keep, on_duplicate: OnDuplicate) -> Ingested:
        """Ask the gate; store what is new, and link or reject what is a copy."""
        check = check_picture(self._workspace, target, sent.data, sent.name, CheckRequest())
        match = check.checked.match
        if match is None:
            return self._stored(target, sent, sha256, keep, check=check)
        if on_duplicate == "reject":
            detail = f"it is a copy of image {match.image.id}, {match.image.key!r} (score {match.score:.3f})"
            return Ingested("rejected", match.image, DuplicatePicture(detail), check)
        if sent.key is None:
            return Ingested("linked", match.image, check=check)
        known = self._store.catalogue.embedded_contents(target.space_id, [match.image.sha256])
        image = match.image
        place = (image.uri, image.size_bytes, image.mtime_ns)
        new = NewImage(sent.key, *place, known[image.sha256], labels=sent.labels, metadata=sent.metadata)
        self._intake(target).commits.commit(Part(new, image.sha256))
        return Ingested("linked", self._by_key(target, sent.key), check=check)

    def _stored(
        self,
        target: Collection,
        sent: Sent,
        sha256: bytes,
        keep: Keep,
        *,
        new_key: bool = True,
        check: Check | None = None,
    ) -> Ingested:
        """Embed, keep and commit a picture.

        Raises:
            BadImage: it cannot be decoded.
            KeyTaken: somebody else was faster with its key.
        """
        intake = self._intake(target)
        with self.uploads.adding():
            made = intake.made(sent.data, sha256, sent.name)
            uri = sent.uri or self._kept(sent.data, sha256, keep, made.format)
            image = NewImage(
                sent.key_of(sha256),
                uri,
                len(sent.data),
                sent.mtime_ns or time.time_ns(),
                made.content,
                labels=sent.labels or made.labels,
                metadata=sent.metadata,
                local=made.local,
            )
            part = Part(image, sha256, made.embedding, made.regions, new_key=new_key)
            intake.commits.commit(part)
        if part.outcome == "key_taken":
            again = self._known(target, sent, sha256)
            if again is not None:
                return again
        now = self._by_key(target, image.key) or self._at(target, uri)
        if part.before is None:
            return Ingested("added", now, check=check)
        if part.before.uri != uri:
            self.uploads.drop_unused(*part.before)
        return Ingested("exists" if part.before.sha256 == sha256 else "replaced", now, check=check)

    def _kept(self, data: bytes, sha256: bytes, keep: Keep, kind: str) -> str:
        """Keep what is to be kept of a picture, and return the uri of its image."""
        if keep == "original":
            return self.uploads.keep_original(data, sha256, kind)
        if keep == "thumbnail":
            self.uploads.keep_small(self._thumbnails().thumbnail(data, SMALL_PIXELS), sha256)
        return f"{SCHEME}{sha256.hex()}"

    def _by_key(self, target: Collection, key: str) -> ImageRecord | None:
        catalogue = self._store.catalogue
        found = catalogue.known_keys(target.id, [key])
        return catalogue.images_by_id(target.id, found.values()).get(found.get(key, 0))

    def _at(self, target: Collection, uri: str) -> ImageRecord | None:
        catalogue = self._store.catalogue
        found = catalogue.files(target.id, [uri])
        return None if uri not in found else catalogue.image_by_id(target.id, found[uri].image_id)

    def _thumbnails(self) -> DecoderPool:
        with self._lock:
            if self._small is None:
                self._small = self._stack.enter_context(DecoderPool(BUILTIN_PREPARATION, children=1))
            return self._small

    def _intake(self, target: Collection) -> Intake:
        # A collection that was promoted, or has other wishes by now, is another one.
        name = replace(target, sequence=0)
        with self._lock:
            if name not in self._intakes:
                self._intakes[name] = Intake(self._workspace, target, self._stack)
            return self._intakes[name]
