"""A PostgreSQL server of our own with its default settings, for benchmarks."""

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg


@contextmanager
def postgresql_server(folder: Path) -> Iterator[str | None]:
    """Give the URL of a fresh server's own database; None where PostgreSQL is not installed."""
    found = shutil.which("initdb") or max(map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None)
    if found is None:
        yield None
        return
    programs = Path(found).resolve().parent
    folder.mkdir(parents=True)
    # PostgreSQL refuses to run as root; the folder must be reachable for the other user.
    user = "nobody" if os.geteuid() == 0 else None
    if user is not None:
        folder.parent.chmod(folder.parent.stat().st_mode | 0o055)
        shutil.chown(folder, user)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    data = folder / "data"
    subprocess.run(
        [programs / "initdb", "-D", data, "-U", "bench", "-A", "trust"],
        check=True,
        capture_output=True,
        cwd="/",
        user=user,
    )
    settings = ["-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", str(folder)]
    command = [str(programs / "postgres"), "-D", str(data), *settings]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", user=user) as server:
        url = f"postgresql://bench@127.0.0.1:{port}/postgres"
        try:
            wait_for(url)
            yield url
        finally:
            server.send_signal(signal.SIGINT)  # without waiting for those who are still connected


def wait_for(url: str) -> None:
    for _ in range(100):
        try:
            psycopg.connect(url).close()
        except psycopg.OperationalError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("PostgreSQL did not start")
