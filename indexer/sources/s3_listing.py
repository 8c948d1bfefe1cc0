"""What lies below a folder of S3, page by page in the order of names, however many objects that are.

One listing goes through all folders below: a request brings a thousand objects, wherever they lie, and nothing but one
page is held.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

PAGE_OBJECTS: Final = 1_000  # S3 gives no more at once
_LAST: Final = "\U0010fffd"  # behind whatever else a name goes on with


class OutOfOrder(OSError):
    """A server lists objects in another order than that of their names, as S3's directory buckets do."""


def lists_in_order(system: Any) -> bool:
    """Tell whether a file system speaks S3's own listing."""
    return hasattr(system, "call_s3")


def objects_below(system: Any, root: str, passed_over: Callable[[str], bool]) -> Iterator[Mapping[str, Any]]:
    """Yield what the listing says of every object below a folder, ascending by `name`, the path in the file system.

    passed_over: of the path of a folder, whether to leave it out; such a folder costs a page at most.

    Raises:
        FileNotFoundError: there is no such bucket or folder.
        OutOfOrder: the listing is not sorted.
        OSError: or whatever else s3fs raises.
    """
    bucket, key, _ = system.split_path(root)
    request = {"Bucket": bucket, "Prefix": f"{key}/" if key else "", "MaxKeys": PAGE_OBJECTS} | system.req_kw
    folders = _Folders(root, passed_over)
    last = ""
    place: dict[str, str] = {}
    while True:
        page = system.call_s3("list_objects_v2", **request, **place)
        contents = page.get("Contents", [])
        if key and not last and not contents:
            raise FileNotFoundError(root)
        names = [last, *(one["Key"] for one in contents)]
        if names != sorted(names):  # told before anything of the page is used
            raise OutOfOrder(f"{root} is listed in another order than that of names")
        last = names[-1]
        for one in contents:
            path = f"{bucket}/{one['Key']}"
            # An object named as a folder only marks it.
            if not path.endswith("/") and folders.passed_over_above(path) is None:
                yield {**one, "name": path, "size": one["Size"], "type": "file"}
        if not page.get("IsTruncated"):
            return
        over = folders.passed_over_above(f"{bucket}/{last}")
        behind = {"StartAfter": over.removeprefix(f"{bucket}/") + "/" + _LAST} if over is not None else {}
        place = behind or {"ContinuationToken": page["NextContinuationToken"]}


class _Folders:
    """Which folders are passed over; the last answer is remembered, since neighbours ask the same."""

    def __init__(self, root: str, passed_over: Callable[[str], bool]) -> None:
        self._root = root
        self._passed_over = passed_over
        self._asked: tuple[str, str | None] = ("", None)

    def passed_over_above(self, path: str) -> str | None:
        """Return the outermost folder around an object that is passed over, None when there is none."""
        folder = path.rpartition("/")[0]
        if folder != self._asked[0]:
            self._asked = (folder, next(filter(self._passed_over, self._between(folder)), None))
        return self._asked[1]

    def _between(self, folder: str) -> Iterator[str]:
        at = len(self._root)
        while (at := folder.find("/", at + 1)) > 0:
            yield folder[:at]
        if len(folder) > len(self._root):
            yield folder
