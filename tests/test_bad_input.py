"""What is too much, malformed, slow or hostile is refused before it costs anything, by a real server, in words."""

import json
import socket
import struct
import time
import zlib
from collections.abc import Iterator

import pytest

from api.http.app import MAX_BODY_BYTES
from api.http.key_gate import KeyGate
from api.http.wrong_keys import MOST, WITHIN_S, WrongKeys
from api.queries import MAX_DIMS
from search.storing.api_keys import ApiKeys
from search.storing.store import Store
from tests.small_server import SmallServer, small_server, small_store

HOME = "/v1/collections/default"
FORM = "multipart/form-data; boundary=x"
LINES = "application/x-ndjson"
QUICK_S = 0.5  # what a body may take, where a test waits for that


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallServer]:
    with small_server(small_store(tmp_path_factory.mktemp("small"))) as running:
        while answer_to(running, b"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")[0] != 200:
            time.sleep(0.1)
        yield running


def answer_to(server: SmallServer, sent: bytes) -> tuple[int, dict[str, object]]:
    """Send bytes and return the status and the JSON of the answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        connection.sendall(sent)
        head, body = b"", b""
        while b"\r\n\r\n" not in head:
            part = connection.recv(65536)
            assert part, "the connection ended without an answer"
            head += part
        head, _, body = head.partition(b"\r\n\r\n")
        fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
        while len(body) < int(fields.get(b"content-length", b"0")):
            body += connection.recv(65536)
        status = int(head.split()[1])
        if status >= 400:
            assert fields[b"content-type"] == b"application/problem+json"
        return status, json.loads(body) if body else {}


def request(path: str, kind: str, body: bytes, length: int | None = None, method: str = "POST") -> bytes:
    size = len(body) if length is None else length
    head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + body


def part(name: str, value: bytes, file: str | None = None) -> bytes:
    named = f'; filename="{file}"' if file is not None else ""
    return f'--x\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + value + b"\r\n"


def png(width: int, height: int) -> bytes:
    """A file that says it is that large, and is nothing but that."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_body_that_is_too_large_is_refused_before_it_is_sent(server: SmallServer) -> None:
    status, problem = answer_to(server, request(f"{HOME}/search", "application/json", b"", MAX_BODY_BYTES + 1))
    assert (status, str(MAX_BODY_BYTES) in str(problem["detail"])) == (413, True)


def test_a_body_of_unknown_length_is_refused_once_it_is_too_large(server: SmallServer) -> None:
    head = f"POST {HOME}/search HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
    block = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    sent = head.encode() + b"Transfer-Encoding: chunked\r\n\r\n" + block * (MAX_BODY_BYTES // 0x100000 + 1)
    assert answer_to(server, sent)[0] == 413


JSON = [
    (b'{"id": "1", "k": 1001}', 422),
    (b'{"id": "1", "k": 0}', 422),
    (b'{"id": "1", "k": 1' + b"0" * 400 + b"}", 422),
    (b'{"id": "1", "k": 1' + b"0" * 5000 + b"}", 422),
    (b'{"id": "1", "k": 1.5}', 422),
    (b'{"id": "1", "k": "many"}', 422),
    (b'{"id": "1", "k": true, "k": null}', 422),
    (b'{"id": 1}', 422),
    (b'{"id": "99999999999999999999"}', 422),
    (b'{"id": "9999999999999999"}', 404),
    (b'{"id": "1", "min_score": NaN}', 422),
    (b'{"id": "1", "min_score": 1e999}', 422),
    (b'{"id": "1", "colour": "red"}', 422),
    (b'{"id": ["1"]}', 422),
    (b'{"key": "\\ud800"}', 422),
    (b'{"key": "\\u0000"}', 404),
    (b'{"id": "1", "where": "width >"}', 422),
    (b'{"id": "1", "where": "' + b"(" * 5000 + b'"}', 422),
    (b'{"id": "1", "where": "' + b"not " * 60 + b'width = 1"}', 422),
    (b'{"id": "1", "where": "' + b"a" * 20_000 + b'"}', 422),
    (b'{"id": "1", "where": "width in (' + b"1," * 300 + b'1)"}', 422),
    (b'{"id": "1", "box": "0,0,1e9,1"}', 422),
    (b'{"embedding": [' + b"1," * MAX_DIMS + b"1]}", 422),
    (b'{"embedding": [1, -Infinity]}', 422),
    (b'{"embedding": [1, 2, 3]}', 422),
    (b'{"like": [' + b'"1",' * 100 + b'"1"]}', 422),
    (b'{"url": "http://169.254.169.254/"}', 422),
    (b"{", 422),
    (b"", 422),
    (b"\xff\xfe", 422),
    (b"[" * 100_000, 422),
    (b"null", 422),
]


@pytest.mark.parametrize(("body", "status"), JSON, ids=[body[:40].decode("latin-1") for body, _ in JSON])
def test_json_that_is_no_search_is_refused_in_words(server: SmallServer, body: bytes, status: int) -> None:
    found, problem = answer_to(server, request(f"{HOME}/search", "application/json", body))
    assert (found, bool(problem["detail"])) == (status, True)


PICTURE = png(8, 8)
FORMS = [
    (FORM, part("image", png(60_000, 60_000), "a.png") + b"--x--\r\n", "too_many_pixels"),
    (FORM, part("image", png(8, 2**31 - 1), "a.png") + b"--x--\r\n", ""),
    (FORM, part("image", b"", "a.png") + b"--x--\r\n", "empty"),
    (FORM, part("image", b"<svg onload=alert(1)>", "a.svg") + b"--x--\r\n", "unsupported_format"),
    (FORM, part("image", PICTURE[:20], "a.png") + b"--x--\r\n", ""),
    (FORM, part("image", PICTURE, "a.png") * 17 + b"--x--\r\n", ""),
    (FORM, part("like", b"1") * 300 + b"--x--\r\n", ""),
    (FORM, part("like", b"1" * 2_000_000) + b"--x--\r\n", ""),
    (FORM, part("picture", PICTURE, "a.png") + b"--x--\r\n", ""),
    (FORM, part("image", PICTURE) + b"--x--\r\n", ""),
    (FORM, part("image", PICTURE, "a.png") + part("id", b"1") + b"--x--\r\n", ""),
    (FORM, b"--x\r\nContent-Disposition: form-data\r\n\r\nx\r\n--x--\r\n", ""),
    (FORM, b"--x\r\n" + b"A: b\r\n" * 10_000 + b"\r\n", ""),
    (FORM, part("image", PICTURE, "a.png") + part("like", b"1").removesuffix(b"1\r\n"), ""),
    (FORM, b"no form at all", ""),
    (FORM, b"", ""),
    ("multipart/form-data", part("image", PICTURE, "a.png"), ""),
    ("multipart/form-data; boundary=" + "b" * 5_000, b"--b", ""),
]


@pytest.mark.parametrize(("kind", "body", "reason"), FORMS)
def test_forms_that_are_no_search_are_refused_in_words(
    server: SmallServer, kind: str, body: bytes, reason: str
) -> None:
    status, problem = answer_to(server, request(f"{HOME}/search", kind, body))
    assert (status in (413, 422), bool(problem["detail"])) == (True, True)
    assert not reason or (problem["reason"], "Error" in str(problem["detail"])) == (reason, False)


@pytest.mark.parametrize("path", ["search", "check", "batch-search", "dedup", "verdicts", "images"])
@pytest.mark.parametrize("kind", ["text/xml", "", "application/x-www-form-urlencoded", "application/octet-stream"])
def test_bodies_of_other_types_are_refused(server: SmallServer, path: str, kind: str) -> None:
    assert answer_to(server, request(f"{HOME}/{path}", kind, b"<a/>"))[0] == 415


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=1001",
        "limit=1e3",
        "limit=",
        "cursor=-1",
        "cursor=x",
        "cursor=" + "1" * 17,
        "where=" + "a" * 20_000,
    ],
)
def test_parameters_beyond_their_limits_are_refused(server: SmallServer, query: str) -> None:
    sent = f"GET {HOME}/images?{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()
    assert answer_to(server, sent)[0] == 422


def test_a_batch_of_many_bad_lines_costs_one_answer_each(server: SmallServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        sent = request(f"{HOME}/batch-search", LINES, b'{"k": 0}\n' * 500)
        connection.sendall(sent.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.count(b'"problem"') == 500


def test_a_body_that_does_not_come_is_given_up(server: SmallServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.http.admission.BODY_S", QUICK_S)
    for kind in ("application/json", FORM, LINES):
        path = f"{HOME}/batch-search" if kind == LINES else f"{HOME}/search"
        assert answer_to(server, request(path, kind, b"--x\r\n", 1000))[0] == 408


def test_who_hangs_up_in_the_middle_harms_nobody(server: SmallServer) -> None:
    for kind in ("application/json", FORM, LINES):
        path = f"{HOME}/batch-search" if kind == LINES else f"{HOME}/search"
        for _ in range(5):
            with socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(request(path, kind, b"--x\r\n", 100_000))
    assert answer_to(server, request(f"{HOME}/search", "application/json", b'{"id": "1"}'))[0] == 200


def test_an_address_that_sends_wrong_keys_on_and_on_has_to_wait_and_others_have_not(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    store = small_store(tmp_path_factory.mktemp("keyed"))
    with Store(store) as opened:
        keys = ApiKeys(opened.database)
        _, secret = keys.create("read")
        _, late = keys.create("read")
        with small_server(store, gate=KeyGate(keys, None, always=True)) as server:

            def ask(key: str) -> int:
                sent = f"GET /v1/collections HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {key}\r\n\r\n"
                return answer_to(server, sent.encode())[0]

            assert ask(secret) == 200
            assert {ask(f"lk_wrong{number}") for number in range(MOST)} == {401}
            assert [ask("lk_wrong"), ask(late), ask(secret)] == [429, 429, 200]


def test_wrong_keys_are_forgiven_after_a_while_and_memory_of_them_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    known = WrongKeys(now=lambda: clock[0])
    for _ in range(MOST):
        known.wrong("1.2.3.4", "a")
    assert (known.retry_after_s("1.2.3.4", "b"), known.retry_after_s("5.6.7.8", "b")) == (WITHIN_S, 0)
    clock[0] += WITHIN_S
    assert known.retry_after_s("1.2.3.4", "b") == 0
    known.wrong("1.2.3.4", "a")
    assert known.retry_after_s("1.2.3.4", "b") == 0
    monkeypatch.setattr("api.http.wrong_keys.KEPT", 5)
    for number in range(20):
        known.wrong(str(number), "a")
        known.right(str(number))
    assert (len(known._wrong), len(known._right)) == (5, 5)
