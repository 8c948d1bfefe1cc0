"""The calls of `lookalike.Lookalike` that remove things. Heavy libraries are imported when they are first needed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from api.plan_calls import PlanCalls
from api.python_arguments import image_id, require_flags, require_texts, several
from search.errors import UsageError

if TYPE_CHECKING:
    import os

    from search.upkeep.compaction import CompactSummary


class UpkeepCalls(PlanCalls):
    """Images of a collection, and bytes of a store, that go."""

    def remove(
        self,
        *,
        id: int | str | None = None,  # noqa: A002
        key: str | None = None,
        path: str | os.PathLike[str] | None = None,
        where: str | None = None,
        dry_run: bool = False,
    ) -> int:
        """Remove images, however many; return how many. Searches stop naming them at once; their files stay.

        path: a file, or a folder with all below it, gone or not. where: as of `search`. dry_run: only count them.

        Raises:
            LookalikeError: by name: no such image, a condition that is none, ...
            UsageError: not exactly one of id, key, path and where is given.
        """
        from api.removing import Which, chosen_ids
        from search.storing.removals import remove_images

        require_flags(dry_run=dry_run)
        require_texts(key=key, where=where)
        place = None if path is None else "".join(several("path", path, "a path")[:1])
        which = Which(None if id is None else image_id("id", id), key, place, where)
        if which.named != 1:
            raise UsageError("give exactly one of: id, key, path, where")
        store = self._opened_store()
        target = store.catalogue.collection(self.collection)
        ids = chosen_ids(store, target, which)
        return len(ids) if dry_run or not ids else remove_images(store.database, target, ids)

    def compact(self, *, progress: bool = True) -> CompactSummary:
        """Merge segments and drop what removed images left behind, in all collections of the store.

        What could not be touched because it is damaged is named in the summary; `lookalike repair` tells what to do.

        Raises:
            LookalikeError: by name, whatever stopped it; run again to go on.
        """
        from api.work_progress import work_progress
        from search.upkeep.compaction import compact

        with work_progress("auto" if progress else "none", "copied", "rows") as advance:
            return compact(self._opened_store(), advance)
