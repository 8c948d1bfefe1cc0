"""Pictures by address: nothing is dialled but what everybody can reach, and nobody learns why something was refused.

No test leaves this machine: names are resolved from a table, and where a public address would be dialled, a server of
the test answers instead. What was about to be dialled is written down where the event loop does it.
"""

import asyncio
import logging
import time
from asyncio.selector_events import BaseSelectorEventLoop
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET, socket
from threading import Thread
from typing import Any

import pytest
from aiohttp.abc import ResolveResult

from api.http.public_addresses import is_public
from api.http.safe_fetch import REFUSED, AddressRefused, FetchLimits, FetchNothing, SafeFetch
from search.errors import UsageError

PUBLIC = "93.184.215.14"
ALSO_PUBLIC = "2606:2800:21f:cb07:6820:80da:af6b:8b2c"
PICTURE = b"\x89PNG and so on" * 100
Answer = Callable[[BaseHTTPRequestHandler], None]


def picture(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.send_header("Content-Length", str(len(PICTURE)))
    to.end_headers()
    to.wfile.write(PICTURE)


def redirect(place: str, status: int = 302) -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        to.send_header("Location", place)
        to.send_header("Set-Cookie", "seen=1")
        to.end_headers()

    return answer


@dataclass
class Internet:
    """Names and what they are at, in turn; what pages answer; and all that was asked of either."""

    names: dict[str, list[Sequence[str]]] = field(default_factory=dict)
    pages: dict[str, Answer] = field(default_factory=dict)
    resolved: list[str] = field(default_factory=list)
    dialled: list[str] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def resolve(self, host: str, _port: int) -> Sequence[str]:
        self.resolved.append(host)
        answers = self.names.get(host, [])
        if not answers:
            raise OSError("no such host")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    def get(self, address: str, limits: FetchLimits | None = None) -> bytes:
        return asyncio.run(self._get(address, limits))

    async def _get(self, address: str, limits: FetchLimits | None) -> bytes:
        return await SafeFetch(limits, self.resolve).get(address)


@pytest.fixture
def internet(monkeypatch: pytest.MonkeyPatch) -> Iterator[Internet]:
    made = Internet({"pictures.example": [[PUBLIC]]}, {"/a.png": picture})
    with served(made) as port:

        async def dial_here(loop: Any, sock: socket, place: Any) -> None:
            made.dialled.append(f"{place[0]} {place[1]}")
            if not is_public(place[0]):
                raise AssertionError(f"{place[0]} was dialled")
            await connect(loop, sock, ("127.0.0.1", port))

        connect = BaseSelectorEventLoop.sock_connect
        monkeypatch.setattr(BaseSelectorEventLoop, "sock_connect", dial_here)
        yield made


@contextmanager
def served(internet: Internet) -> Iterator[int]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            internet.requests.append((self.headers["Host"], self.path, dict(self.headers)))
            page = internet.pages.get(self.path)
            if page is None:
                self.send_error(404)
            else:
                page(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def test_a_picture_that_everybody_can_reach_is_fetched_under_its_name(internet: Internet) -> None:
    assert internet.get("http://pictures.example/a.png") == PICTURE
    assert (internet.resolved, internet.dialled) == (["pictures.example"], [f"{PUBLIC} 80"])
    host, _, headers = internet.requests[0]
    assert host == "pictures.example"
    assert {name for name in headers if name not in ("Host", "Connection")} == {
        "Accept",
        "Accept-Encoding",
        "User-Agent",
    }
    assert headers["Accept-Encoding"] == "identity"


# Addresses that lead to this machine, its networks, or nowhere, in all the ways to write them down: none is dialled.
PRIVATE = [
    "127.0.0.1",
    "127.255.255.254",
    "0.0.0.0",
    "0.1.2.3",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.192",
    "192.0.2.1",
    "192.88.99.1",
    "198.18.0.1",
    "198.51.100.7",
    "203.0.113.7",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:93.184.215.14",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::5db8:d70e",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:0:5db8:d70e::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "2002:5db8:d70e::1",
    "3fff::1",
    "5f00::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
    "",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_a_name_that_leads_to_an_address_that_not_everybody_reaches_is_refused_undialled(
    internet: Internet, address: str
) -> None:
    internet.names["innocent.example"] = [[address]]
    internet.names["mixed.example"] = [[PUBLIC, address, ALSO_PUBLIC]]
    for host in ("innocent.example", "mixed.example"):
        with pytest.raises(AddressRefused):
            internet.get(f"http://{host}/a.png")
    assert internet.dialled == []


@pytest.mark.parametrize("address", [one for one in PRIVATE if one and " " not in one])
def test_the_same_address_written_into_the_url_is_refused_undialled(internet: Internet, address: str) -> None:
    host = f"[{address}]" if ":" in address else address
    for scheme in ("http", "https"):
        with pytest.raises(AddressRefused):
            internet.get(f"{scheme}://{host}/a.png")
    assert (internet.dialled, internet.resolved) == ([], [])


@pytest.mark.parametrize(
    "url",
    [
        "http://2130706433/a.png",
        "http://017700000001/a.png",
        "http://0x7f000001/a.png",
        "http://0X7F.1/a.png",
        "http://0177.0.0.1/a.png",
        "http://127.1/a.png",
        "http://127.0.1/a.png",
        "http://127.0.0.1./a.png",
        "http://2130706433./a.png",
        "http://0/a.png",
        "http://1572399886/a.png",  # a public address, but only to some programs
        "http://0x5d.0xb8.0xd7.0xe/a.png",
        "http://0x/a.png",
        "http://①②⑦.⓪.⓪.①/a.png",
        "http://１２７.0.0.1/a.png",
        "http://[::ffff:7f00:1]/a.png",
        "http://[0:0:0:0:0:0:0:1]/a.png",
        "http://[fe80::1%25eth0]/a.png",
        "http://pictures.example@127.0.0.1/a.png",
        "http://user@pictures.example/a.png",
        "http://user:word@pictures.example/a.png",
        "http://@pictures.example/a.png",
        "http://:@pictures.example/a.png",
        "http://127.0.0.1\\@pictures.example/a.png",
        "http://pictures.example\\.evil.example/a.png",
        "http://pictures.example /a.png",
        "http://pictures.example\t/a.png",
        "http://pictures.example/a.png\r\nHost: evil",
        "http://pictures.example\x00.evil/a.png",
        "http://pictures.example%00/a.png",
        "http://pictures.example\u3000/a.png",
        "http://pictures.example:81/a.png",
        "http://pictures.example:22/a.png",
        "http://pictures.example:0/a.png",
        "http://pictures.example:8080/a.png",
        "http://pictures.example:99999/a.png",
        "http://pictures.example:-80/a.png",
        "http:///a.png",
        "http:/a.png",
        "http:a.png",
        "//pictures.example/a.png",
        "pictures.example/a.png",
        "",
        "file:///etc/passwd",
        "file://pictures.example/a.png",
        "ftp://pictures.example/a.png",
        "gopher://pictures.example:80/_GET",
        "dict://pictures.example:80/",
        "data:image/png;base64,AAAA",
        "javascript:alert(1)",
        "unix:///run/docker.sock",
        "http+unix://%2Frun%2Fdocker.sock/a.png",
        "ws://pictures.example/a.png",
        "s3://bucket/a.png",
        "http://[::1/a.png",
        "http://nowhere.example/a.png",
        "http://" + "a" * 2050 + ".example/a.png",
    ],
)
def test_an_address_of_another_kind_is_refused_undialled(internet: Internet, url: str) -> None:
    # To whoever would resolve these after all, they are harmless: the refusal must come before.
    for host in ("0x7f000001", "2130706433", "0x", "0", "127.1", "pictures.example%00"):
        internet.names[host] = [[PUBLIC]]
    with pytest.raises(AddressRefused) as refused:
        internet.get(url)
    assert str(refused.value) == REFUSED
    assert internet.dialled == []


def test_a_name_is_resolved_once_so_that_what_was_looked_at_is_what_is_dialled(internet: Internet) -> None:
    internet.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"], ["127.0.0.1"]]
    assert internet.get("http://rebinding.example/a.png") == PICTURE
    assert (internet.resolved, internet.dialled) == (["rebinding.example"], [f"{PUBLIC} 80"])


def test_a_redirect_to_the_same_name_looks_at_its_address_anew(internet: Internet) -> None:
    internet.names["rebinding.example"] = [[PUBLIC], ["127.0.0.1"]]
    internet.pages["/hop"] = redirect("http://rebinding.example/a.png")
    with pytest.raises(AddressRefused):
        internet.get("http://rebinding.example/hop")
    assert internet.dialled == [f"{PUBLIC} 80"]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    "place",
    [
        "http://127.0.0.1/a.png",
        "http://169.254.169.254/latest/meta-data/",
        "http://[::1]/a.png",
        "//127.0.0.1/a.png",
        "http://inside.example/a.png",
        "http://pictures.example:8080/a.png",
        "file:///etc/passwd",
        "http://user@pictures.example/a.png",
        "http://0x7f.1/",
        "",
    ],
)
def test_a_redirect_leads_nowhere_that_could_not_be_asked_for(internet: Internet, place: str, status: int) -> None:
    internet.names["inside.example"] = [["10.0.0.1"]]
    internet.pages["/hop"] = redirect(place, status)
    with pytest.raises(AddressRefused):
        internet.get("http://pictures.example/hop")
    assert set(internet.dialled) == {f"{PUBLIC} 80"}


@pytest.mark.parametrize(("hops", "arrives"), [(1, True), (3, True), (4, False)])
def test_three_redirects_are_followed_and_no_more(internet: Internet, hops: int, arrives: bool) -> None:
    internet.names["elsewhere.example"] = [[PUBLIC]]
    places = ["http://elsewhere.example/1", "/2", "3", "//pictures.example/4"][:hops]
    for number, place in enumerate([*places[:-1], "/a.png"]):
        internet.pages[f"/{number}"] = redirect(place)
    if arrives:
        assert internet.get("http://pictures.example/0") == PICTURE
        assert all("Cookie" not in headers for _, _, headers in internet.requests)
    else:
        with pytest.raises(AddressRefused):
            internet.get("http://pictures.example/0")
    assert len(internet.requests) == min(hops, 3) + 1


def test_proxies_of_the_environment_are_not_asked(internet: Internet, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
        monkeypatch.setenv(name.upper(), "http://127.0.0.1:9")
    assert internet.get("http://pictures.example/a.png") == PICTURE
    assert internet.dialled == [f"{PUBLIC} 80"]


def test_a_file_of_passwords_is_not_read(
    internet: Internet, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    netrc = tmp_path_factory.mktemp("home") / "netrc"
    netrc.write_text("machine pictures.example login me password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    internet.get("http://pictures.example/a.png")
    assert "Authorization" not in internet.requests[0][2]


def too_long(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.send_header("Content-Length", "1001")
    to.end_headers()


def too_much(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    to.wfile.write(bytes(1001))


def too_little(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.send_header("Content-Length", "500")
    to.end_headers()
    to.wfile.write(bytes(499))


def compressed(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.send_header("Content-Encoding", "gzip")
    to.send_header("Content-Length", "0")
    to.end_headers()


def silent(to: BaseHTTPRequestHandler) -> None:
    to.rfile.read(1)  # until the other side hangs up


def trickling(to: BaseHTTPRequestHandler) -> None:
    to.send_response(200)
    to.end_headers()
    with suppress(OSError):  # the other side hangs up
        for _ in range(200):
            to.wfile.write(b"x")
            time.sleep(0.02)


def no_http(to: BaseHTTPRequestHandler) -> None:
    to.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")


@pytest.mark.parametrize("answer", [too_long, too_much, too_little, compressed, silent, trickling, no_http])
def test_what_is_too_much_or_too_slow_or_broken_is_refused_in_the_words_of_what_is_forbidden(
    internet: Internet, answer: Answer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "api.http.safe_fetch")
    internet.pages["/a.png"] = answer
    limits = FetchLimits(most_bytes=1000, total_s=0.4, connect_s=0.3, silence_s=0.3)
    with pytest.raises(AddressRefused) as refused:
        internet.get("http://pictures.example/a.png", limits)
    assert str(refused.value) == REFUSED
    assert refused.value.__cause__ is None
    assert len(caplog.records) == 1


@pytest.mark.parametrize("status", [201, 204, 206, 304, 400, 401, 403, 404, 407, 500, 503])
def test_only_an_answer_of_200_is_a_picture(internet: Internet, status: int) -> None:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(status)
        to.send_header("Content-Length", "0")
        to.end_headers()

    internet.pages["/a.png"] = answer
    with pytest.raises(AddressRefused, match="cannot be fetched"):
        internet.get("http://pictures.example/a.png")


def test_no_more_than_so_many_are_fetched_at_once(internet: Internet) -> None:
    now, most = 0, 0

    async def resolve(_host: str, _port: int) -> list[str]:
        nonlocal now, most
        now, most = now + 1, max(most, now + 1)
        await asyncio.sleep(0.01)
        now -= 1
        return [PUBLIC]

    async def many() -> list[bytes]:
        fetch = SafeFetch(FetchLimits(at_once=2), resolve)
        return await asyncio.gather(*(fetch.get("http://pictures.example/a.png") for _ in range(6)))

    assert asyncio.run(many()) == [PICTURE] * 6
    assert most == 2


def test_whatever_the_library_comes_to_dial_must_have_been_looked_at(
    internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def elsewhere(*_: object, **_more: object) -> list[ResolveResult]:
        return [ResolveResult(hostname="x", host="127.0.0.1", port=80, family=AF_INET, proto=0, flags=0)]

    monkeypatch.setattr("api.http.pinned.Pinned.resolve", elsewhere)
    with pytest.raises(AddressRefused):
        internet.get("http://pictures.example/a.png")
    assert (internet.resolved, internet.dialled) == (["pictures.example"], [])


def test_where_it_is_off_nothing_is_fetched() -> None:
    with pytest.raises(UsageError, match="serve --allow-url"):
        asyncio.run(FetchNothing().get("http://pictures.example/a.png"))


@pytest.mark.parametrize("address", [PUBLIC, ALSO_PUBLIC, "1.1.1.1", "8.8.8.8", "2620:fe::fe", "2a00:1450:4001::8a"])
def test_what_everybody_can_reach_is_known_as_such(address: str) -> None:
    assert is_public(address)
