"""The maps of pictures by the backbone of a space, made when they are first needed; the last ones are remembered.

Loads neither torch nor the network before that: most accurate searches need no maps.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from search.geometry.dense_maps import DenseMap
from search.geometry.pixel_edits import PictureFile
from search.records import SpaceSpec

if TYPE_CHECKING:
    from indexer.backbones.map_maker import MapMaker

REMEMBERED: Final = 128  # maps: about 40 MB of the built-in backbone's


LOADING: Final = "loading the backbone's network, once, for pictures that show too little for keypoints: some seconds"

Tell = Callable[[str], None]

log = logging.getLogger(__name__)


class SpaceMaps:
    """Maps of pictures. Thread-safe: they are made one after the other."""

    def __init__(self, space: SpaceSpec, tell: Tell = log.info) -> None:
        """tell: called with a line for people who wait, when the network must be loaded."""
        self._space = space
        self._tell = tell
        self._lock = threading.Lock()
        self._known: OrderedDict[str, DenseMap | None] = OrderedDict()
        self._maker: MapMaker | None = None
        self._loaded = False

    def __call__(self, picture: PictureFile) -> DenseMap | None:
        """Return the map of a picture, (C, h, w) float32, None where its backbone has none."""
        with self._lock:
            if picture.sha256 in self._known:
                self._known.move_to_end(picture.sha256)
                return self._known[picture.sha256]
            maker = self._loading()
            made = None if maker is None else maker(picture.pixels)
            if picture.sha256:  # a part of a picture has none
                self._known[picture.sha256] = made
                if len(self._known) > REMEMBERED:
                    self._known.popitem(last=False)
            return made

    def _loading(self) -> "MapMaker | None":
        if not self._loaded:
            self._tell(LOADING)
            from indexer.backbones.map_maker import map_maker

            self._maker, self._loaded = map_maker(self._space), True
        return self._maker
