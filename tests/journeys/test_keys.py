"""Keys from the command line, before a real server: made, used, revoked, and never in its log."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from api.cli import main
from search.storing.store import Store
from tests.fakes import FakeBackbone

Run = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def run(local_store: Store, capsys: pytest.CaptureFixture[str]) -> Run:
    """A function that runs a command with --json; its exit code and the object it printed."""
    local_store.open_collection("photos", FakeBackbone().space)

    def command(*arguments: str) -> tuple[int, dict[str, Any]]:
        with pytest.raises(SystemExit) as ended:
            main(["--store", str(local_store.root), "--json", *arguments])
        return int(str(ended.value.code)), json.loads(capsys.readouterr().out)

    return command


@contextmanager
def server(store: Path, log: Path, *options: str) -> Iterator[str]:
    command = [sys.executable, "-m", "api", "--store", str(store), "--verbose", "serve", "--port", "0", *options]
    with log.open("w") as opened, subprocess.Popen(command, stderr=opened, stdout=opened) as process:
        while (found := re.search(r"http://\S+", log.read_text())) is None:
            assert process.poll() is None, log.read_text()
        try:
            yield found[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(timeout=30)


def status(url: str, key: str | None = None) -> int:
    headers = {} if key is None else {"Authorization": f"Bearer {key}"}
    try:
        with urllib.request.urlopen(urllib.request.Request(url, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_a_server_for_other_machines_begins_with_a_key_of_a_file_and_obeys_those_made_meanwhile(
    run: Run, local_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, first, mistaken = tmp_path / "key", os.urandom(32).hex(), f"lk_{'x' * 43}"
    file.write_text(f"{first}\n")
    monkeypatch.setenv("LOOKALIKE_ADMIN_KEY_FILE", str(file))
    log = tmp_path / "log"
    with server(local_store.root, log, "--host", "0.0.0.0") as bound:
        url = bound.replace("0.0.0.0", "127.0.0.1")
        collections = f"{url}v1/collections"
        assert [status(collections), status(collections, mistaken), status(collections, first)] == [401, 401, 200]
        code, made = run("keys", "create", "--role", "read", "--collection", "photos", "--expires", "90d")
        assert (code, made["key"][:11], made["collection"]) == (0, made["prefix"], "photos")
        assert [status(one, made["key"]) for one in (collections, f"{collections}/photos")] == [200, 200]
        assert [status(one, made["key"]) for one in (f"{collections}/others", f"{url}metrics")] == [403, 403]
        assert [status(url), status(f"{url}healthz"), status(f"{url}readyz")] == [200, 200, 503]
        assert run("keys", "revoke", made["id"])[0] == 0
        assert [status(collections, made["key"]), status(collections, first)] == [401, 200]
    written = log.read_text()
    assert "listens on" in written
    for secret in (first, made["key"], made["key"][11:], mistaken):
        assert secret not in written
    kept = b"".join(path.read_bytes() for path in local_store.root.rglob("*") if path.is_file())
    assert made["key"].encode() not in kept
    assert made["prefix"].encode() in kept


def test_keys_are_listed_without_what_they_are(run: Run) -> None:
    _, first = run("keys", "create", "--role", "admin", "--name", "ops")
    run("keys", "create", "--role", "write", "--expires", "12h")
    run("keys", "revoke", first["prefix"])
    _, listed = run("keys", "list")
    one, two = listed["items"]
    assert (one["id"], one["role"], one["name"], one["state"]) == ("1", "admin", "ops", "revoked")
    assert (two["role"], two["state"], one["expires_at"], one["collection"]) == ("write", "valid", None, None)
    assert two["expires_at"] > two["created_at"]
    assert first["key"] not in json.dumps(listed)


def test_for_people_the_key_alone_is_on_stdout(
    run: Run, local_store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments in (["create", "--role", "dedup", "--name", "\x1b[2Jnight job"], ["list"], ["revoke", "1"], ["list"]):
        with pytest.raises(SystemExit, match="0"):
            main(["--store", str(local_store.root), "keys", *arguments])
        printed = capsys.readouterr()
        if arguments[0] == "create":
            assert re.fullmatch(r"lk_[A-Za-z0-9]{43}\n", printed.out)
            assert "it is not shown again" in printed.err
        if arguments[0] == "list":
            assert "\\x1b[2Jnight job" in printed.out
    assert "revoked" in printed.out


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["create"], 2, "--role"),
        (["create", "--role", "root"], 2, "--role 'root' is not one of read, write, dedup, admin"),
        (["create", "--role", "read", "--collection", "nowhere"], 2, "nowhere"),
        (["create", "--role", "read", "--expires", "soon"], 2, "--expires 'soon' is no length of time"),
        (["create", "--role", "read", "--expires", "0d"], 2, "give one such as 30m, 12h, 90d or 4w"),
        (["create", "--role", "read", "--expires", "999999999w"], 2, "is no length of time"),
        (["create", "--role", "read", "--expires", "-1d"], 2, "is no length of time"),
        (["revoke", "99"], 2, "there is no key '99'"),
    ],
)
def test_what_cannot_be_is_refused_and_makes_no_key(run: Run, arguments: list[str], code: int, says: str) -> None:
    found, shape = run("keys", *arguments)
    assert found == code
    assert says in shape["error"]["message"]
    assert run("keys", "list")[1] == {"items": []}


@pytest.mark.parametrize(
    ("options", "code", "says"),
    [
        (["--host", "0.0.0.0"], 4, "lookalike keys create"),
        (["--host", "::"], 4, "--auth none"),
        (["--auth", "sometimes"], 2, "--auth 'sometimes' is not one of auto, keys, none"),
        (["--admin-key-file", "/no/file"], 2, "cannot read the admin key in /no/file"),
    ],
)
def test_a_server_that_would_be_open_to_others_does_not_start(
    run: Run, options: list[str], code: int, says: str
) -> None:
    found, shape = run("serve", "--port", "0", *options)
    assert found == code
    assert says in shape["error"]["message"]
