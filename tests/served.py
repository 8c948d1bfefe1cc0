"""A real server process over a store of drawn pictures."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from api.cli import main
from tests.conftest import painted

KEY = "lk_of_the_tests_0123456789abcdefghij"


@dataclass(frozen=True)
class Served:
    """url: of the server, with a slash at its end. photos: the indexed folder. store: that of the server."""

    url: str
    photos: Path
    store: Path


@contextmanager
def server(store: Path, *options: str, first: str = "") -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    """A server and its address. first: code that it runs before anything, such as shorter waits."""
    program = ["-c", f"{first}; from api.__main__ import main; main()"] if first else ["-m", "api"]
    command = [sys.executable, *program, "--store", str(store), "serve", "--port", "0", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listens on http://" in line, line
        try:
            yield next(word for word in line.split() if word.startswith("http://")), process
        finally:
            process.kill()


def stopped_child(server_pid: int) -> int:
    """Return the process of a job when it has come to where LOOKALIKE_FAULT stops it."""
    while True:  # pytest-timeout ends the wait for one that never comes
        for entry in Path("/proc").iterdir():
            with suppress(OSError, ValueError):
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
                if (state, int(parent)) == ("T", server_pid):
                    return int(entry.name)
        time.sleep(0.02)


def drawn_album(folder: Path) -> tuple[Path, Path]:
    """Return a folder of five drawn pictures, with a copy of the first, and a store of it.

    The third is called so that every careless step on the way of its key would show.
    """
    photos = folder / "photos"
    photos.mkdir()
    for number, name in enumerate(("0.png", "1.png", "a b&c#%20?.png", "3.png", "4.png")):
        painted(number, (200, 150)).save(photos / name)
    (photos / "copy.png").write_bytes((photos / "0.png").read_bytes())
    with pytest.raises(SystemExit) as ended:
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(photos)])
    assert ended.value.code == 0
    return photos, folder / "store"


@contextmanager
def served_album(folder: Path, *more: str, with_key: bool = False) -> Iterator[Served]:
    """A server of drawn_album. with_key: it answers only those who send the key, which may do everything.

    more: options of `serve`.
    """
    photos, store = drawn_album(folder)
    file = folder / "key.txt"
    file.write_text(KEY)
    options = ("--auth", "keys", "--admin-key-file", str(file)) if with_key else ()
    with server(store, *options, *more) as (url, _process):
        yield Served(url, photos, store)
