"""The real server process: it says where it listens, answers, and stops when asked."""

import asyncio
import io
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import httpx2
import pytest
import uvicorn
from threadpoolctl import threadpool_info, threadpool_limits

from api.cli import main
from api.http.key_gate import Guard
from api.http.server import listen, serve_on
from api.jobs.supervising import Launch
from tests.conftest import painted
from tests.served import server


@pytest.fixture
def store(tmp_path: Path) -> Path:
    photos = tmp_path / "photos"
    photos.mkdir()
    painted(1, (200, 150)).save(photos / "a b&c.png")
    with pytest.raises(SystemExit):
        main(["--store", str(tmp_path / "store"), "--progress", "none", "index", str(photos)])
    return tmp_path / "store"


def get(url: str) -> dict[str, object]:
    with urllib.request.urlopen(url) as answer:
        return dict(json.load(answer))


def test_the_server_answers_keeps_its_address_and_ends_when_asked(store: Path) -> None:
    with server(store) as (url, process):
        base = f"{url}v1/collections/default/images"
        items = get(base)["items"]
        assert isinstance(items, list)
        key = items[0]["key"]
        assert "%20" in key, "percent signs in a key must survive the path"
        assert get(f"{base}/by-key/{quote(key, safe='')}") == items[0]
        port = url.rstrip("/").rsplit(":", maxsplit=1)[1]
        second = [sys.executable, "-m", "api", "--store", str(store), "serve", "--port", port]
        done = subprocess.run(second, capture_output=True, text=True, check=False)
        assert (done.returncode, "choose another --port" in done.stderr) == (2, True)
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_products_of_a_server_take_one_thread_each(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def threads(*_: object, **__: object) -> None:
        counted.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas")

    counted: list[int] = []
    monkeypatch.setattr(uvicorn.Server, "run", threads)
    before, switching = threadpool_limits(2, user_api="blas"), sys.getswitchinterval()
    try:
        with listen("127.0.0.1", 0) as listening:
            serve_on(listening, Launch(store, "cpu", None), ["*"], Guard("none", public=False), lambda: None)
    finally:
        before.restore_original_limits()
        sys.setswitchinterval(switching)
    assert counted
    assert set(counted) == {1}


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="only Linux shows what a process has loaded")
def test_a_server_that_embeds_with_the_built_in_backbone_loads_no_torch(store: Path) -> None:
    with server(store) as (url, process):
        while not is_ready(url):  # pytest-timeout ends the wait for one that never is
            time.sleep(0.05)
        sent = httpx2.post(f"{url}v1/collections/default/search", files={"image": jpeg()}, timeout=60)
        taken = httpx2.post(f"{url}v1/collections/default/images", files={"image": jpeg()}, timeout=60)
        assert (sent.status_code, taken.status_code) == (200, 201)
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "onnxruntime" in loaded
        assert "libtorch" not in loaded


def is_ready(url: str) -> bool:
    return httpx2.get(f"{url}readyz").status_code == 200


def jpeg() -> bytes:
    file = io.BytesIO()
    painted(2, (200, 150)).save(file, "JPEG")
    return file.getvalue()


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_answers_are_sent_at_once_and_not_when_their_head_was_acknowledged(host: str) -> None:
    sent_at_once: list[int] = []

    async def accept_one() -> None:
        def accepted(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            sent_at_once.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen(host, 0) as listening:
            async with await asyncio.start_server(accepted, sock=listening):
                reader, writer = await asyncio.open_connection(*listening.getsockname()[:2])
                await reader.read()
                writer.close()

    asyncio.run(accept_one())
    assert sent_at_once[0] != 0


def test_a_store_that_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "api", "--store", str(tmp_path), "serve", "--port", "0"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "there is no store in" in done.stderr
    assert "Traceback" not in done.stderr
