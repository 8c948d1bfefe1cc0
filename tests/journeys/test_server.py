"""The real server process: it says where it listens, answers, and stops when asked."""

import asyncio
import json
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

from api.cli import main
from api.http.server import listen
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
