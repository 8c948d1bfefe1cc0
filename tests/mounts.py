"""Folders mounted a second time, or read-only: in a child that has mounts of its own, so that nobody else sees them."""

import ctypes
import os
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Final

import pytest

NEW_MOUNTS: Final = 0x20000  # CLONE_NEWNS of Linux
PRIVATE, BIND, AGAIN, READ_ONLY = 0x44000, 0x1000, 0x20, 0x1  # MS_REC | MS_PRIVATE, MS_BIND, MS_REMOUNT, MS_RDONLY
CANNOT: Final = 77
MADE_BYTES: Final = 320 << 20  # the least that XFS takes; nearly all of it is a hole


def with_own_mounts(work: Callable[[], None]) -> None:
    """Do something in a child that may mount folders, or skip the test where this user may not.

    What fails in the child fails here, with its traceback.
    """
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reading)
        code = 0
        try:
            if sys.platform != "linux" or _call("unshare", NEW_MOUNTS) or _call("mount", b"none", b"/", 0, PRIVATE, 0):
                os._exit(CANNOT)
            work()
        except BaseException:  # noqa: BLE001 -- told by the parent
            os.write(writing, traceback.format_exc()[-4000:].encode())
            code = 1
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading) as told:
        text = told.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == CANNOT:
        pytest.skip("this user may not mount that here")
    assert code == 0, text


def mount_again(source: Path, target: Path) -> None:
    """Let a folder be reached by another path, too."""
    target.mkdir(exist_ok=True)
    assert _call("mount", os.fsencode(source), os.fsencode(target), 0, BIND, 0) == 0


def make_read_only(folder: Path) -> None:
    """Let nobody write below a folder, not even root."""
    mount_again(folder, folder)
    assert _call("mount", b"none", os.fsencode(folder), 0, BIND | AGAIN | READ_ONLY, 0) == 0


def _call(name: str, *arguments: object) -> int:
    function: Callable[..., int] = getattr(ctypes.CDLL(None, use_errno=True), name)
    return function(*arguments)


def mount_new(kind: str, image: Path, target: Path) -> None:
    """Make a file system in a file and mount it, in a child of `with_own_mounts`, with which it goes.

    Where this machine cannot, the test is skipped.
    """
    make = shutil.which(f"mkfs.{kind}")
    if make is None:
        os._exit(CANNOT)
    with image.open("wb") as file:
        file.truncate(MADE_BYTES)
    subprocess.run([make, "-q", str(image)], check=True, capture_output=True)  # noqa: S603
    done = subprocess.run(["mount", "-o", "loop", str(image), str(target)], check=False, capture_output=True)  # noqa: S603, S607
    image.unlink()
    if done.returncode:
        os._exit(CANNOT)
