"""Lookalike for notebooks and scripts: the same three journeys as the command line.

    import lookalike
    with lookalike.open("~/photos.store") as photos:
        photos.index("~/Pictures")
        for match in photos.search("query.jpg", k=5):
            print(match.score, match.image.uri)
        report = photos.dedup()
        print(report.groups)
        plan = photos.plan(report)
        photos.apply(plan)
        photos.undo(plan)

Heavy libraries are imported when a journey first needs them.
"""

from __future__ import annotations

import logging
import os
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING

from api.python_arguments import (
    box_of,
    embedding_of,
    image_id,
    image_ids,
    pictures_of,
    read,
    require_flags,
    require_texts,
    several,
)
from api.upkeep_calls import UpkeepCalls
from search.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from api.checks import Check
    from api.client import Client
    from api.notebook.results import Matches, ShownReport
    from api.notebook.small_pictures import SmallPictures
    from api.picture_bytes import Picture
    from api.queries import Found
    from api.workspace import Workspace
    from indexer.jobs.summary import IndexSummary
    from search.records import Collection, ImageRecord
    from search.storing.store import Store

__all__ = ["Lookalike", "connect", "open"]

PathLike = str | os.PathLike[str]


def open(store: PathLike | None = None, *, collection: str = "default", device: str = "auto") -> Lookalike:  # noqa: A001
    """Return a collection of a store, which `index` makes when it is not there yet.

    store: the folder of the store; None takes LOOKALIKE_STORE, else the platform's user data folder.

    Raises:
        UsageError: store is no path, or collection or device no text.
    """
    from api.named_pictures import real_path
    from search.storing.store import default_root

    require_texts(collection=collection, device=device)
    if not isinstance(store, str | os.PathLike | None):
        raise UsageError(f"store is {store!r}; give the path of a folder")
    root = default_root() if store is None else real_path(Path(store)).absolute()
    return Lookalike(root, collection, device)


def connect(url: str, *, key: str | None = None, collection: str = "default") -> Client:
    """Return a client of a collection on a server (docs/client.md).

    key: None takes LOOKALIKE_API_KEY, where it is set.

    Raises:
        UsageError: the address is none of a server, or the key cannot be sent.
    """
    from api.client import Client

    return Client(url, key=key, collection=collection)


class Lookalike(UpkeepCalls):
    """One collection of one store. Close it, or use it in a `with`."""

    def __init__(self, root: Path, collection: str, device: str) -> None:
        super().__init__()
        self.store = root
        self.collection = collection
        self._device = device
        self._workspace: Workspace | None = None
        self._closed = False
        self._pictures: SmallPictures | None = None

    def index(  # noqa: PLR0913 -- a notebook wants options, not an object of them
        self,
        *sources: PathLike,
        backbone: str | None = None,
        weights: PathLike | None = None,
        labels: bool | None = None,
        regions: bool | None = None,
        local: bool | None = None,
        accept_license: str | None = None,
        exclude: Sequence[str] = (),
        prune: bool = False,
        max_fraction: float | None = None,
        progress: bool = True,
    ) -> IndexSummary:
        """Index folders, files and globs; return what was done. Files that failed are counted in the summary.

        labels: store the backbone's labels with the images. regions: embed four parts of each image, too, so that a
        search finds a picture inside a collage or a screenshot. local: keep local features, so that accurate searches
        find small parts of pictures. Each None as the collection remembers. accept_license: the
        licence of the weights you agree to, asked for once where it allows no commercial use. exclude: globs of files
        and folders to pass over. prune: remove images whose files are gone from these sources; where that looks like
        a missing disk, or would be more than max_fraction of the collection, nothing is removed and `refused` of the
        summary says why.

        Raises:
            LookalikeError: by name, whatever stopped it.
            UsageError: max_fraction is not between 0 and 1.
        """
        from api.console import Session
        from api.indexing import IndexRequest, run_index

        if max_fraction is not None and not (isinstance(max_fraction, Real) and 0 <= max_fraction <= 1):
            raise UsageError(f"max_fraction is {max_fraction!r}, expected a share between 0 and 1")
        require_flags(prune=prune, progress=progress)
        named = [place for source in sources for place in several("a source", source, "a folder, a file or a glob")]
        self._require_open()
        session = Session(self.store, self.collection, json=False, progress="auto" if progress else "none")
        file = None if weights is None else Path(weights)
        request = IndexRequest(
            named,
            backbone,
            file,
            device=self._device,
            labels=labels,
            regions=regions,
            local=local,
            accept_license=accept_license,
            exclude=several("exclude", exclude, "a glob"),
            prune=prune,
            max_fraction=max_fraction,
        )
        return run_index(session, request)[0]

    def search(  # noqa: PLR0913 -- a notebook wants options, not an object of them
        self,
        image: Picture | Sequence[Picture] | None = None,
        *,
        id: int | str | None = None,  # noqa: A002
        key: str | None = None,
        embedding: Sequence[float] | None = None,
        like: Sequence[int | str] | int | str = (),
        unlike: Sequence[int | str] | int | str = (),
        k: int = 10,
        min_score: float | None = None,
        where: str | None = None,
        accurate: bool = False,
        box: str | Sequence[float] | None = None,
        unique: bool = False,
    ) -> Matches:
        """Return the k images closest to a picture, or to a stored image by id or key; best first: a list, which
        notebooks show as pictures.

        image: a file by its path, the bytes of one, a PIL image, or an array of pixels, (height, width, 3) uint8 RGB.
        Of several, or with `like` and `unlike` (ids): those closest to what all that is liked has in common,
        less half of what is disliked; these examples are not among them. embedding: of the collection's space.

        min_score: least cosine. where: what they must fulfil, such as 'width >= 1000 and label = "tabby"'. accurate:
        also turned, mirrored and in parts; the pixels of the likeliest images are looked at, and `verified` of a match
        says what came of it. box: the part of the picture to search by, (x, y, width, height) in pixels. unique: name
        each duplicate group of the last `dedup` once; `copies` of a match counts the others. A picture that shows next
        to nothing is compared with identical images alone; a warning is logged then.

        Raises:
            LookalikeError: by name: no such image, a picture that cannot be decoded, ...
            UsageError: not exactly one of image, id, key and embedding is given, and no `like` either.
        """
        from api.queries import QueryRequest
        from api.query_examples import Examples, search_by_examples

        images, given = pictures_of(image), embedding_of(embedding)
        likes, dislikes = image_ids("like", like), image_ids("unlike", unlike)
        require_flags(accurate=accurate, unique=unique)
        sources = (bool(images), id is not None, key is not None, given is not None)
        if sum(sources) > 1 or not (any(sources) or likes):
            raise UsageError("give exactly one of: image, id, key, embedding; or images to be `like`")
        workspace = self._open()
        target = workspace.collection(self.collection)
        wanted = QueryRequest(k, min_score, where, accurate, box_of(box), unique)
        pictures = [read(one) for one in images]
        record = None if id is None and key is None else _stored(workspace, target, id, key)
        if likes or dislikes or given is not None or len(pictures) > 1:
            liked = (*likes, *(() if record is None else (record.id,)))
            examples = Examples(tuple(pictures), liked, dislikes, given)
            return self._told(search_by_examples(workspace, target, examples, wanted))
        if record is not None:
            return self._told(workspace.search_by_image(target, record, wanted))
        return self._told(workspace.search_by_picture(target, *pictures[0], wanted))

    def check(
        self,
        image: Picture | None = None,
        *,
        id: int | str | None = None,  # noqa: A002
        key: str | None = None,
        threshold: float | None = None,
        accurate: bool = False,
    ) -> Check:
        """Return whether a picture is new here, or an exact or near copy of an image: `checked.status` says which.

        image: as of `search`. id, key: ask the same of a stored image and the others. threshold: least cosine of a near
        copy, by default as of `dedup`. accurate: also turned, mirrored and in parts, and many images are looked at.

        Raises:
            LookalikeError: by name: no such image, a picture that cannot be decoded, ...
            UsageError: not exactly one of image, id and key is given.
        """
        from api.checks import check_image, check_picture
        from api.queries import CheckRequest

        require_flags(accurate=accurate)
        if sum(given is not None for given in (image, id, key)) != 1:
            raise UsageError("give exactly one of: image, id, key")
        workspace = self._open()
        target, wanted = workspace.collection(self.collection), CheckRequest(threshold, accurate)
        if image is not None:
            return check_picture(workspace, target, *read(image), wanted)
        return check_image(workspace, target, _stored(workspace, target, id, key), wanted)

    def dedup(  # noqa: PLR0913 -- a notebook wants options, not an object of them
        self,
        threshold: float | None = None,
        *,
        precision: float = 0.99,
        calibrate: bool = True,
        within: PathLike | None = None,
        between: str | None = None,
        protect: Sequence[PathLike] = (),
        prefer: Sequence[PathLike] = (),
        keep: Sequence[str] | None = None,
    ) -> ShownReport:
        """Return the duplicate groups, which notebooks show as pictures; nothing is changed.

        threshold: least cosine of a near copy, instead of a precision. calibrate: first, where nobody has. within: only
        images below a folder. between: only pairs with another collection, which holds the keepers. protect: folders
        whose files are always kept; prefer: folders whose files are kept before others. keep: keeper rules in order.

        Raises:
            LookalikeError: by name, whatever stopped it.
        """
        from api.acting import ReportOrigin
        from api.deduplicating import DedupOptions, Told, deduplicate, require_folders
        from api.notebook.results import shown
        from search.duplicates.keeper_rules import RULES, KeeperRules, rules_named
        from search.folders import absolute

        require_flags(calibrate=calibrate)
        require_texts(between=between)
        named = {"within": () if within is None else within, "protect": protect, "prefer": prefer}
        folders = {name: several(name, given, "a folder") for name, given in named.items()}
        for name, places in folders.items():
            require_folders(name, places)
        rules_kept = RULES if keep is None else rules_named(several("keep", keep, "a rule"))
        protected, preferred = (tuple(absolute(one) for one in folders[name]) for name in ("protect", "prefer"))
        rules = KeeperRules(rules_kept, protected, preferred)
        place = absolute(folders["within"][0]) if folders["within"] else None
        options = DedupOptions(threshold, precision, calibrate, rules, place, between)
        workspace = self._open()
        told = Told(say=logging.getLogger(__name__).info)
        found = deduplicate(workspace, workspace.collection(self.collection), options, told)
        for note in found.notes:
            logging.getLogger(__name__).info(note)
        self._last = ReportOrigin(found.source, protected, between)
        return shown(found.report, self._small_pictures())

    def close(self) -> None:
        """End the decoding children and close the store; nothing can be asked of it then."""
        self._closed = True
        if self._pictures is not None:
            self._pictures.close()
        if self._workspace is not None:
            self._workspace.close()
            self._workspace = None

    def __enter__(self) -> Lookalike:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _told(self, found: Found) -> Matches:
        """Return the matches; why they may be fewer than expected goes to the log, which notebooks show."""
        from api.notebook.results import Matches

        if found.note is not None:
            logging.getLogger(__name__).warning(found.note)
        return Matches(found.matches, self._small_pictures())

    def _small_pictures(self) -> SmallPictures:
        from api.notebook.small_pictures import SmallPictures

        if self._pictures is None:
            self._pictures = SmallPictures()
        return self._pictures

    def _opened_store(self) -> Store:
        return self._open().store

    def _require_open(self) -> None:
        """Raises:
        UsageError: it was closed.
        """
        if self._closed:
            raise UsageError(f"{self.store} was closed; lookalike.open opens it again")

    def _open(self) -> Workspace:
        from api.workspace import Workspace

        self._require_open()
        if self._workspace is None:
            self._workspace = Workspace(self.store, device=self._device)
        return self._workspace


def _stored(workspace: Workspace, target: Collection, named_id: int | str | None, key: str | None) -> ImageRecord:
    require_texts(key=key)
    if named_id is None:
        return workspace.store.catalogue.image_by_key(target.id, key or "")
    return workspace.store.catalogue.image_by_id(target.id, image_id("id", named_id))
