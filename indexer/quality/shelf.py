"""The folder of a bench: files that are made once, whole or not at all, so that a later run goes on."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from indexer.decoding.formats import SNIFF_BYTES, sniff
from search.errors import GuardRefused

MARK = "quality.json"
_SUFFIXES = {"jpeg": "jpg"}


class Shelf:
    """Files below one folder, by name."""

    def __init__(self, root: Path, settings: Mapping[str, object]) -> None:
        """Open the folder, or make it. settings: all that decides what the files hold.

        Raises:
            GuardRefused: the folder holds another bench, or something else.
        """
        self.root = root
        mark, told = root / MARK, json.dumps(settings, sort_keys=True, indent=2)
        if mark.exists():
            if mark.read_text("utf-8") != told:
                raise GuardRefused(
                    f"{root} holds a bench that was made with other options ({MARK} there names them): repeat those, "
                    "or keep this one in another folder"
                )
            return
        if root.exists() and any(root.iterdir()):
            raise GuardRefused(f"{root} is neither empty nor a bench that was kept: name another folder")
        root.mkdir(parents=True, exist_ok=True)
        self._write(mark, told.encode())

    def put(self, name: str, make: Callable[[], bytes]) -> str:
        """Return the name; the file is made unless it is there."""
        place = self.root / name
        if not place.exists():
            self._write(place, make())
        return name

    def put_picture(self, name: str, make: Callable[[], bytes]) -> str:
        """Return the name with the suffix of the picture's format; the file is made unless it is there."""
        place = self.root / name
        known = sorted(place.parent.glob(f"{place.name}.*"))
        if known:
            return known[0].relative_to(self.root).as_posix()
        data = make()
        kind = sniff(data[:SNIFF_BYTES]) or "picture"
        return self.put(f"{name}.{_SUFFIXES.get(kind, kind)}", lambda: data)

    def read(self, name: str) -> bytes:
        """Return the bytes of a file that was put here."""
        return (self.root / name).read_bytes()

    @staticmethod
    def _write(place: Path, data: bytes) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f".{place.name}.unfinished")
        unfinished.write_bytes(data)
        unfinished.replace(place)
