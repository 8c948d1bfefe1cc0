"""Which archives need not be opened again, and from which source each image came."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from indexer.sources.found import Source, Visit, archive_of
from search.records import LedgerEntry
from search.storing.origins import KnownSource, Origins
from search.upkeep.repairing import LOST

# Failures that another try may not meet: an archive with one of them is read again.
_PASSING: Final = frozenset(
    {
        *("decoder_crashed", "decoder_timeout", "out_of_memory", "permission_denied", "vanished", "read_error"),
        "invalid_embedding",
    }
)
_LABELLED: Final = "+labels"
_REGIONED: Final = "+regions"
_LOCAL: Final = "+local"
_EXTRAS: Final = (_LABELLED, _REGIONED, _LOCAL)  # behind a stamp, in this order


class RememberedSources:
    """The archives and manifests of one job. An archive is unchanged when its size, date and ETag are, and all its
    images are still there, with their embeddings, or in the ledger.
    """

    def __init__(self, origins: Origins, sources: Sequence[Source]) -> None:
        self._origins = origins
        self._archives = [source.uri for source in sources if source.kind == "archive"]
        self._ids: dict[str, int] = {}
        self._troubled: set[str] = set()

    def unchanged(
        self, ledger: Iterable[LedgerEntry], *, labels: bool, regions: bool, local: bool
    ) -> dict[str, tuple[str, int]]:
        """Return (stamp, images) of the archives that are to be opened only when changed, by uri.

        ledger: of the collection. labels, regions, local: only those whose pictures were all labelled, embedded in
        their regions, or got local features, when they were read.
        """
        known = self._origins.sources(self._archives) if self._archives else {}
        wanted = {extra for extra, is_wanted in zip(_EXTRAS, (labels, regions, local), strict=True) if is_wanted}
        # An image whose embedding was lost is still there, and only its file can bring the embedding back.
        maimed = {archive_of(entry.uri) for entry in ledger if entry.reason == LOST} if known else set()
        return {
            uri: (stamp, source.images)
            for uri, source in known.items()
            for stamp, made in [_read(source.stamp)]
            if uri not in maimed and self._complete(source) and wanted <= made
        }

    def _complete(self, known: KnownSource) -> bool:
        if not known.stamp:
            return False
        return known.stored >= known.images or known.stored + len(self._origins.failures_in(known.uri)) >= known.images

    def id_of(self, uri: str) -> int:
        """Return the id of a source that images came from."""
        if uri not in self._ids:
            self._ids[uri] = self._origins.put(uri)
        return self._ids[uri]

    def note_failure(self, archive: str | None, reason: str) -> None:
        """Note that a member of an archive failed, so that the archive may have to be read again."""
        if archive is not None and reason in _PASSING:
            self._troubled.add(archive)

    def remember(self, visits: Mapping[str, Visit], *, labels: bool, regions: bool, local: bool) -> None:
        """Note what archives and manifests looked like, once all they hold is committed."""
        for visit in visits.values():
            if visit.unchanged or not (visit.stamp or visit.uri in self._ids):
                continue
            whole = visit.whole and bool(visit.stamp) and visit.uri not in self._troubled
            told = _LABELLED * labels + _REGIONED * regions + _LOCAL * local
            self._origins.remember(self.id_of(visit.uri), visit.stamp + told if whole else "", visit.images)


def _read(stamp: str) -> tuple[str, set[str]]:
    """Return a stamp as it was made, and what all pictures got when it was."""
    made: set[str] = set()
    for extra in reversed(_EXTRAS):
        if stamp.endswith(extra):
            stamp = stamp.removesuffix(extra)
            made.add(extra)
    return stamp, made
