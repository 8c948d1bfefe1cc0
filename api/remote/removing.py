"""`remove` of a server: images are found by its lists, and removed one by one."""

from concurrent.futures import ThreadPoolExecutor
from typing import Final

from api.client import Client, NotFound
from api.console import Session
from api.remote.records import image
from api.removing import Which
from api.work_progress import work_progress
from search.errors import UsageError
from search.records import ImageRecord

AT_ONCE: Final = 4


def chosen_there(client: Client, which: Which) -> list[ImageRecord]:
    """Return the images that are named, in the one way that is used.

    Raises:
        UsageError: they are named by a path, which would be one of the server's machine.
        RemoteError: by name (api/client/errors.py).
    """
    if which.path is not None:
        raise UsageError("--path cannot be used with --remote; --where 'path like \"/folder/%\"' names the same images")
    if which.id is not None:
        return [image(client.image(which.id))]
    if which.key is not None:
        return [image(client.image_by_key(which.key))]
    return [image(one) for one in client.images(where=which.where, page_size=None)]


def remove_there(session: Session, client: Client, images: list[ImageRecord]) -> int:
    """Remove images from the collection; return how many went, without those that somebody else has removed meanwhile.

    Raises:
        RemoteError: by name (api/client/errors.py); what was removed until then is.
    """
    removed = 0
    with work_progress(session.progress, "removed", "images") as advance, ThreadPoolExecutor(AT_ONCE) as threads:
        for number, went in enumerate(threads.map(lambda one: _remove(client, one.id), images), 1):
            removed += went
            advance(number, len(images))
    return removed


def _remove(client: Client, image_id: int) -> bool:
    try:
        client.remove(image_id)
    except NotFound:
        return False
    return True
