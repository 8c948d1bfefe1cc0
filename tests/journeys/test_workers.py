"""`serve --workers`: several real processes on one socket, watched, killed, ended."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from api.cli import main
from api.http import worker_processes
from api.http.server import listen
from api.http.worker_processes import MOST_DEATHS, Workers
from api.webhooks.deliveries import POLL_S
from bench.http_load import picture_request, request_bytes
from search.errors import LookalikeError
from search.storing.server_jobs import ServerJobs
from search.storing.store import Store
from tests.conftest import painted
from tests.receiver import Receiver, receiving, status


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("workers")
    photos = folder / "photos"
    photos.mkdir()
    for number in range(3):
        painted(number, (200, 150)).save(photos / f"{number}.png")
    with pytest.raises(SystemExit):
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(photos)])
    return folder / "store"


@contextmanager
def serving(store: Path, *options: str) -> Iterator[tuple[str, "subprocess.Popen[str]"]]:
    command = [sys.executable, "-m", "api", "--store", str(store), "serve", "--port", "0", "--workers", "2", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        assert "listens on http://" in line, line
        try:
            yield next(word for word in line.split() if word.startswith("http://")), process
        finally:
            for worker in workers(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)
            process.kill()


def workers(pid: int) -> set[int]:
    """Return the processes that a server has started."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):
                if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found.add(int(entry.name))
    return found


def until(true: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.05)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}readyz", timeout=20) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def figures(url: str) -> dict[str, float]:
    """Return the figures of monitoring by their series."""
    with urllib.request.urlopen(f"{url}metrics", timeout=20) as answer:
        lines = [line for line in answer.read().decode().splitlines() if not line.startswith("#")]
    return {series: float(value) for series, _, value in (line.rpartition(" ") for line in lines)}


def connected(url: str) -> socket.socket:
    host, port = url.removeprefix("http://").rstrip("/").split(":")
    return socket.create_connection((host, int(port)), timeout=60)


def whole_answer(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes the connection, as one that ends does."""
    received = b""
    while part := connection.recv(65536):
        received += part
    return received


def told_once(store: Path, receiver: Receiver) -> None:
    """Of jobs that end, receivers are told by one process, however often the others look while it waits for answers."""

    def late(to: BaseHTTPRequestHandler) -> None:
        time.sleep(1.5 * POLL_S)
        status(204)(to)

    receiver.answers = {f"/{number}": [late] for number in range(3)}
    with Store(store) as opened:
        jobs = ServerJobs(opened.database)
        ended = [jobs.cancel(jobs.create("dedup", "default", {}, receiver.url + path).id) for path in receiver.answers]
        until(lambda: all(jobs.get(job.id).webhook_due is None for job in ended))
        assert all(jobs.get(job.id).webhook_attempts == 1 for job in ended)
    assert sorted(call.path for call in receiver.all()) == sorted(receiver.answers)


def require_figures_of_all(url: str) -> None:
    """Search a few times, by one worker or another: any of them tells of all."""
    by_id = request_bytes("/v1/collections/default/search", b'{"id": "1"}', "application/json")
    request = by_id.replace(b"Host: localhost", b"Host: 127.0.0.1\r\nConnection: close")
    for _ in range(6):
        with connected(url) as connection:
            connection.sendall(request)
            assert whole_answer(connection).startswith(b"HTTP/1.1 200")
    found = figures(url)
    assert {found[f'lookalike_worker_up{{worker="{number}"}}'] for number in "01"} == {1.0}
    done = [series for series in found if series.startswith("lookalike_requests_done_total") and '"finds"' in series]
    assert len(done) == 2
    assert sum(found[series] for series in done) == 6


def test_a_worker_that_is_killed_is_missed_by_nobody_and_started_anew(store: Path) -> None:
    (store.parent / "secret").write_text(f"whsec_{'A' * 32}")
    secret = ("--webhook-secret-file", str(store.parent / "secret"))
    with receiving() as receiver, serving(store, "--allow-webhook", receiver.url, *secret) as (url, process):
        until(lambda: answers(url))
        told_once(store, receiver)
        before = workers(process.pid)
        assert len(before) == 2
        require_figures_of_all(url)
        killed = before.pop()
        os.kill(killed, signal.SIGKILL)
        # Connections that nobody has taken yet are taken by the other.
        assert all(answers(url) for _ in range(20))
        until(lambda: len(workers(process.pid) - {killed}) == 2)
        until(lambda: answers(url))
        assert before < workers(process.pid), "the other went on"
        until(lambda: all(figures(url)[f'lookalike_worker_up{{worker="{number}"}}'] for number in "01"))

        # What is being answered when the server is asked to end is answered.
        upload = picture_request("/v1/collections/default/search", (store.parent / "photos" / "1.png").read_bytes())
        with connected(url) as connection:
            connection.sendall(upload.replace(b"Host: localhost", b"Host: 127.0.0.1")[:-40])
            time.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            connection.sendall(upload[-40:])
            answer = whole_answer(connection)
        assert answer.startswith(b"HTTP/1.1 200"), answer
        assert b'"relation":"identical"' in answer
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        log = process.stderr.read()
        assert f"worker process {killed} was killed by SIGKILL" in log
        assert not re.search("Traceback|Fatal Python error|asked to end", log), "both workers have ended well"


def test_workers_end_with_the_process_that_started_them(store: Path) -> None:
    with serving(store) as (url, process):
        until(lambda: answers(url))
        left = workers(process.pid)
        process.kill()
        process.wait()

        def alive(pid: int) -> bool:
            with suppress(OSError):
                return "python" in Path(f"/proc/{pid}/cmdline").read_text()
            return False

        until(lambda: not any(alive(pid) for pid in left))
        with pytest.raises(OSError, match="refused"):
            connected(url)


def test_workers_that_end_again_and_again_end_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_processes, "BOOT", "import sys; sys.exit(7)")
    told: list[str] = []
    with listen("127.0.0.1", 0) as listening:
        with pytest.raises(LookalikeError, match=f"{MOST_DEATHS} worker processes .* ended with exit code 7"):
            Workers(2, {}, listening).run(lambda: told.append("ready"), 1.0)
        assert told == []


def test_a_store_that_cannot_be_served_is_one_clear_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "api", "--store", str(tmp_path), "serve", "--port", "0", "--workers", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no store in" in done.stderr
    assert "worker" not in done.stderr
