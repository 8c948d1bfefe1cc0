"""What takes pictures into one collection: its backbone, its wishes, its commits, and the renewal of its index."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import select

from api.workspace import Workspace
from indexer.backbones.prepared_backbone import PreparedBackbone
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.decoding import Decoder
from indexer.decoding.resizing import resizer
from indexer.jobs.group_commits import GroupCommits
from indexer.jobs.new_pictures import NewPictures
from search.database.tables import content
from search.finding.publishing import BackgroundPublisher
from search.local.published import publish_local_if_due
from search.records import Collection, ContentFacts, Embeddings, Label
from search.storing.region_rows import contents_without_regions

PUBLISH_EVERY: Final = 1_000  # new images, after which an index may be due
MOST_CHILDREN: Final = 4


@dataclass(frozen=True, slots=True)
class Made:
    """What a commit takes of a picture. content: its facts, or the id of one that the catalogue has; the rest is None
    where it is there already, or nobody wants it. format: of the file.
    """

    content: ContentFacts | int
    format: str
    embedding: Embeddings | None = None
    labels: tuple[Label, ...] | None = None
    regions: Embeddings | None = None
    local: NDArray[np.uint8] | None = None


class Intake:
    """Takes pictures into a collection as it is: in its space, with its regions, labels and local features."""

    def __init__(self, workspace: Workspace, target: Collection, stack: ExitStack) -> None:
        """stack: what is to be ended with the process.

        Raises:
            LookalikeError: the backbone cannot be loaded.
        """
        self._store = workspace.store
        self._target = target
        embedder = workspace.embedder(target)
        backbone = embedder.backbone
        labeller = None
        if target.labels and isinstance(backbone, PreparedBackbone):
            labeller = backbone.labeller_if_any()
        pool: Decoder = embedder.pool
        if target.regions_rule or target.local:
            children = min(MOST_CHILDREN, os.cpu_count() or 1)
            preparation = backbone.preparation
            pool = stack.enter_context(
                DecoderPool(
                    preparation,
                    children=children,
                    resize=resizer(preparation),
                    regions=target.regions_rule > 0,
                    keypoints=target.local,
                )
            )
        self._pictures = NewPictures(embedder, pool, labeller, local=target.local)
        also = publish_local_if_due if target.local else None
        # An index of other processes may be due at any growth; looking for damage is for `index`.
        publisher = BackgroundPublisher(self._store, target, also, every=PUBLISH_EVERY, growth=1e-9)
        stack.callback(publisher.close)
        self.commits = GroupCommits(self._store, target, publisher.committed)

    def made(self, data: bytes, sha256: bytes, name: str) -> Made:
        """Return what a commit takes of a picture; one whose content is known is not looked at.

        Raises:
            BadImage: it cannot be decoded, or the backbone has no usable answer.
        """
        known = self._store.catalogue.embedded_contents(self._target.space_id, [sha256]).get(sha256)
        if known is not None and not self._lacks(known):
            return Made(known, self._format_of(known))
        new = self._pictures.make(data, sha256, name)
        if known is not None:
            return Made(known, new.facts.format, None, new.labels, new.regions, new.local)
        return Made(new.facts, new.facts.format, new.embedding, new.labels, new.regions, new.local)

    def _lacks(self, content_id: int) -> bool:
        """Tell whether a content lacks what the collection wants of its pictures."""
        target, catalogue = self._target, self._store.catalogue
        return bool(
            (target.labels and catalogue.labels.missing(target.space_id, [content_id]))
            or (target.regions_rule and contents_without_regions(self._store.database, target.space_id, [content_id]))
            or (target.local and catalogue.local.missing([content_id]))
        )

    def _format_of(self, content_id: int) -> str:
        with self._store.database.reading() as connection:
            return str(connection.execute(select(content.c.format).where(content.c.id == content_id)).scalar_one())
