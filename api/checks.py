"""The ingest gate: whether a picture is new to a collection, an exact copy of one of its images, or a near copy."""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from api.queries import CheckRequest, DedupThreshold
from api.workspace import Workspace
from search.calibration.current import with_probability
from search.finding.find_similar import QueryContent, Wanted
from search.finding.ingest_gate import Checked, Evidence, Limits, NearGate, Seen, same_bytes, same_pixels
from search.finding.plain_pictures import note_on, why_plain, why_plain_image
from search.finding.snapshot import Snapshot
from search.geometry.keypoints import STORED
from search.records import Collection, Embeddings, ImageRecord, Match

# How far below the threshold a copy is still looked for where nobody has calibrated. For the built-in backbone that is
# .65: of 200 unrelated photographs no two score more than .62.
LOOK_BELOW: Final = 0.15
_MATCHES: Final = 10  # of an accurate search, among which a copy is looked for


@dataclass(frozen=True, slots=True)
class Check:
    """What the gate says. threshold: None where hashes told. took_ms: milliseconds by step, as of searches."""

    checked: Checked
    threshold: DedupThreshold | None
    took_ms: dict[str, float | None]

    def as_json(self) -> dict[str, object]:
        """Return the answer as the command line and HTTP print it."""
        status, match = self.checked.status, self.checked.match
        shape: dict[str, object] = {"status": status}
        if match is not None:
            shape["match"] = match.as_json()
            if match.probability is not None:
                shape["probability"] = match.probability
        return shape | {"evidence": self._evidence(self.checked.evidence), "took_ms": self.took_ms}

    def _evidence(self, found: Evidence) -> dict[str, object]:
        match = self.checked.match
        edits = None if match is None or match.edits is None else [edit.as_json() for edit in match.edits]
        return {
            "same_bytes": found.same_bytes,
            "same_pixels": found.same_pixels,
            "score": found.score,
            "nearest": None if found.nearest is None else str(found.nearest),
            "threshold": None if self.threshold is None else self.threshold.score,
            "threshold_source": None if self.threshold is None else self.threshold.source,
            "verified": found.verified,
            "reason": found.reason,
            "inliers": found.inliers,
            "agreement": None if found.agreement is None else round(found.agreement, 4),
            "edits": edits,
            "note": found.note,
        }


@dataclass(slots=True)
class _Watch:
    """Milliseconds by step; the steps that were not taken stay None."""

    took: dict[str, float | None] = field(
        default_factory=lambda: dict.fromkeys(("decode", "embed", "search", "verify", "total"))
    )
    began: float = field(default_factory=time.perf_counter)
    last: float = field(default_factory=time.perf_counter)

    def step(self, name: str) -> None:
        """Count what passed since the step before to this one."""
        now = time.perf_counter()
        self.took[name] = round((self.took[name] or 0.0) + 1000 * (now - self.last), 3)
        self.last = now

    def done(self, checked: Checked, threshold: DedupThreshold | None = None) -> Check:
        """Return the answer with how long it took."""
        self.took["total"] = round(1000 * (time.perf_counter() - self.began), 3)
        return Check(checked, threshold, self.took)


def check_picture(workspace: Workspace, target: Collection, data: bytes, name: str, wanted: CheckRequest) -> Check:
    """Return whether a picture given as bytes is new to a collection; name is for messages.

    Raises:
        BadImage: it cannot be decoded, and no image has the same bytes.
        LookalikeError: the backbone cannot be loaded, or a segment is damaged.
    """
    watch, catalogue = _Watch(), workspace.store.catalogue
    sha256 = hashlib.sha256(data).digest()
    found = same_bytes(catalogue, target, sha256)
    watch.step("search")
    if found is not None:
        return watch.done(_certain(found))
    snapshot = workspace.snapshot(target)
    embedder = workspace.embedder(snapshot.collection)
    picture = embedder.decode(data, name)
    watch.step("decode")
    content = QueryContent(sha256, picture.pixel_hash)
    found = same_pixels(catalogue, target, content)
    plain = why_plain(picture.contrast, picture.width, picture.height)
    watch.step("search")
    if found is not None or plain is not None:
        return watch.done(_by_hashes(found, plain, content))
    embedding = embedder.embedding(picture)
    watch.step("embed")
    gate = _Gate(workspace, snapshot, wanted, None)

    def see() -> Seen:
        return workspace.accurate_searches().looked_at_decoded(data, picture, name, detail=STORED)

    checked = gate.near(embedding, see)
    watch.step("verify" if checked.evidence.verified is not None else "search")
    if wanted.accurate and checked.status == "new":
        checked = gate.accurate(checked, data, name)
        watch.step("verify")
    return watch.done(gate.told(checked), gate.threshold)


def check_image(workspace: Workspace, target: Collection, image: ImageRecord, wanted: CheckRequest) -> Check:
    """Return whether a stored image is the only one of its kind in its collection, or a copy of another image there.

    Raises:
        ImageNotFound: it was deleted meanwhile.
    """
    watch, catalogue = _Watch(), workspace.store.catalogue
    content = QueryContent(image.sha256, image.pixel_hash)
    found = same_bytes(catalogue, target, image.sha256, image.id) or same_pixels(catalogue, target, content, image.id)
    plain = why_plain_image(image)
    watch.step("search")
    if found is not None or plain is not None:
        return watch.done(_by_hashes(found, plain, content))
    snapshot = workspace.snapshot(target)
    embedding = snapshot.embedding_of(image.id)

    def see() -> Seen:
        searches = workspace.accurate_searches()
        data = searches.data_of(image)
        return None if data is None else searches.looked_at(data, image.uri, detail=STORED)

    gate = _Gate(workspace, snapshot, wanted, image.id)
    checked = gate.near(embedding, see)
    watch.step("verify" if checked.evidence.verified is not None else "search")
    if wanted.accurate and checked.status == "new":
        data = workspace.accurate_searches().data_of(image)
        if data is not None:
            checked = gate.accurate(checked, data, image.uri)
            watch.step("verify")
    return watch.done(gate.told(checked), gate.threshold)


class _Gate:
    """What comes after the hashes, with the limits of one collection. but: an image that does not count."""

    def __init__(self, workspace: Workspace, snapshot: Snapshot, wanted: CheckRequest, but: int | None) -> None:
        self._workspace = workspace
        self._snapshot = snapshot
        self._but = but
        self._known = workspace.calibration(snapshot)
        self.threshold = workspace.duplicates.threshold(snapshot.collection, wanted.threshold)

    def near(self, embedding: Embeddings, see: Callable[[], Seen]) -> Checked:
        """Return the answer of the nearest images."""
        limits = Limits(self.threshold.score, self._look_from())
        workspace = self._workspace
        gate = NearGate(self._snapshot, workspace.store.catalogue, lambda: workspace.accurate_searches().stored, limits)
        return gate.check(embedding, see, self._but)

    def accurate(self, before: Checked, data: bytes, name: str) -> Checked:
        """Return the answer of an accurate search, for a picture to which the nearest images are none."""
        viewed = self._workspace.embedder(self._snapshot.collection).view(data, name)
        limits = Wanted(_MATCHES, None, self.threshold.score)
        matches = self._workspace.accurate_searches().by_picture(self._snapshot, viewed, limits).matches
        for match in matches:
            below = self.threshold.source == "user" and match.score < self.threshold.score
            if match.image.id != self._but and match.relation in ("same_picture", "probable") and not below:
                evidence = Evidence(score=match.score, nearest=match.image.id, verified=match.verified)
                return Checked("near", match, evidence)
        return before

    def told(self, checked: Checked) -> Checked:
        """Return the answer with how probable its match is, where that is known."""
        if checked.match is None:
            return checked
        (match,) = with_probability([checked.match], self._known, looked=checked.match.verified == "yes")
        return replace(checked, match=match)

    def _look_from(self) -> float:
        """Return the score from which a copy below the threshold is looked for."""
        score, source = self.threshold
        if source == "user":
            return score  # whoever chose it wants nothing below
        if self._known is not None and self._known.review.score is not None:
            return min(score, self._known.review.score)
        return score - LOOK_BELOW


def _by_hashes(found: Checked | None, plain: str | None, content: QueryContent) -> Checked:
    """Return an exact copy, else that a picture which shows next to nothing is new. plain: in what way it does."""
    if found is not None:
        return _certain(found)
    return Checked("new", None, Evidence(note=None if plain is None else note_on(plain, content)))


def _certain(found: Checked) -> Checked:
    match: Match | None = found.match
    return found if match is None else replace(found, match=replace(match, probability=1.0))
