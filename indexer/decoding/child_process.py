"""The parent's end of a decoding child (indexer/decoding/decoder_pool.py): its process, and the socket to it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from multiprocessing import Pipe
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from indexer.decoding.decoder_child import READY, Reply, Want
from indexer.decoding.region_frames import region_frames
from indexer.decoding.shared_pixels import SharedPixels
from search.errors import LookalikeError
from search.regions import REGIONS

_LARGEST_REPLY: Final = 1 << 26  # bytes; a prepared picture of 4,096 x 4,096 fits
_START_TIMEOUT_S: Final = 60.0
_BOOT: Final = (
    "import json, sys; start = json.loads(sys.argv[1]); sys.path[:] = start['path'];"
    " from indexer.decoding.decoder_child import be_child; be_child(start)"
)
# All that a child sees of the environment: no keys, no passwords; and one thread.
_KEPT_VARIABLES: Final = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "PYTHONHOME", "LD_LIBRARY_PATH")
_ONE_THREAD: Final = dict.fromkeys(
    ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENCV_FOR_THREADS_NUM"), "1"
)

# What prepares decoded pixels in the caller's thread; the answer must have memory of its own.
Resize = Callable[[NDArray[np.uint8]], NDArray[np.uint8]]


class ChildProcess:
    """The parent's end of a child: its process, and the socket to it. served: requests so far."""

    def __init__(self, start: dict[str, Any]) -> None:
        self.served = 0
        self._connection, theirs = Pipe()
        self._shared = SharedPixels(start["shared_bytes"]) if start["shared_bytes"] else None
        self._regions: bool = start["regions"]
        self._largest_reply = _LARGEST_REPLY * (1 + REGIONS * self._regions)
        environment = {key: os.environ[key] for key in _KEPT_VARIABLES if key in os.environ} | _ONE_THREAD
        path = [str(Path(__file__).resolve().parents[2]), *(str(Path(entry).absolute()) for entry in sys.path)]
        with theirs:
            inherited = [theirs.fileno(), *([self._shared.fd] if self._shared else [])]
            shared = self._shared.fd if self._shared else None
            start = {**start, "path": path, "parent": os.getpid(), "socket": theirs.fileno(), "shared": shared}
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-c", _BOOT, json.dumps(start)],
                    pass_fds=inherited,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    env=environment,
                )
            except OSError:
                if self._shared is not None:
                    self._shared.close()
                raise
        self.pid = self._process.pid

    def ask(self, want: Want, size: int, data: bytes, timeout_s: float) -> Reply:
        """Send a file, return the answer.

        Raises:
            EOFError, OSError: the child died.
            TimeoutError: there was no answer in time.
            ValueError: the answer is not JSON.
            LookalikeError: children cannot start.
        """
        if not self.served:
            self._await_start()
        self.served += 1
        self._connection.send_bytes(json.dumps({"want": want, "size": size}).encode())
        self._connection.send_bytes(data)
        if not self._connection.poll(timeout_s):
            raise TimeoutError
        facts = json.loads(self._connection.recv_bytes(_LARGEST_REPLY))
        return facts, self._connection.recv_bytes(self._largest_reply)

    def prepared(self, facts: dict[str, Any], resize: Resize | None) -> bytes:
        """Return the prepared pixels of the picture that the child left in shared memory. facts: what it says of it.

        Raises:
            ValueError: the child named a shape that cannot be.
        """
        if self._shared is None or resize is None:
            raise ValueError("no memory is shared with this child")
        height, width = facts.pop("shared")
        picture = self._shared.picture(height, width)
        frames = resize(picture).tobytes()
        if self._regions:
            frames += region_frames(picture, (facts["width"], facts["height"]), resize).tobytes()
        self._shared.release(3 * height * width)
        return frames

    def _await_start(self) -> None:
        """A child that dies before its first file says nothing about that file, but that no child can start."""
        try:
            if self._connection.poll(_START_TIMEOUT_S) and self._connection.recv_bytes() == READY:
                return
        except (EOFError, OSError):
            pass
        raise LookalikeError("decoding children cannot start; what they said on standard error is above")

    def kill(self) -> None:
        """End the process, whatever it does; its socket stays with the thread that waits for an answer."""
        self._process.kill()
        self._process.wait()

    def end(self) -> int:
        """Leave nothing of the child; return its exit code, negative for a signal. May be called twice."""
        self._connection.close()
        if self._shared is not None:
            self._shared.close()
            self._shared = None
        self._process.kill()
        return self._process.wait()
