"""Small pictures of stored images for notebooks: data URIs, as a notebook has no other place for them."""

from __future__ import annotations

import base64
import logging
import weakref
from typing import TYPE_CHECKING, Final

from search.errors import LookalikeError

if TYPE_CHECKING:
    from collections.abc import Callable

    from api.http.thumbnails import Thumbnails
    from search.records import ImageRecord

SIDE: Final = 160  # pixels of the longer side
log = logging.getLogger(__name__)


class SmallPictures:
    """Makes data URIs of images whose files lie on this machine. The child that decodes is started by the first one.

    Results outlive the album they came from, and are shown all the same: what they start then ends with them.
    """

    def __init__(self) -> None:
        self._thumbnails: Thumbnails | None = None
        self._end: Callable[[], object] = lambda: None

    def uri(self, image: ImageRecord) -> str | None:
        """Return a small JPEG of an image as a data URI; None where its file is not there any more, or elsewhere."""
        try:
            data = self._made().get(image, SIDE)
        except LookalikeError as error:
            log.debug("no picture of image %s: %s", image.id, error)
            return None
        return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"

    def close(self) -> None:
        """End the child; the next picture starts another one."""
        self._end()
        self._thumbnails = None

    def _made(self) -> Thumbnails:
        if self._thumbnails is None:
            from api.http.thumbnails import Thumbnails
            from indexer.backbones.backbones import BUILTIN_PREPARATION
            from indexer.decoding.decoder_pool import DecoderPool

            pool = DecoderPool(BUILTIN_PREPARATION, children=1)
            self._end = weakref.finalize(self, pool.close)
            self._thumbnails = Thumbnails(pool)
        return self._thumbnails
