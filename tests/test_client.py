"""The client of a server: what it sends, what it makes of answers, when it tries again."""

import asyncio
import inspect
import io
import json
import math
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from httpx2 import ConnectError, MockTransport, ReadError, ReadTimeout, Response
from PIL import Image

import lookalike
from api.client import (
    AccessRefused,
    AsyncClient,
    Busy,
    Client,
    Conflict,
    NotFound,
    NotLookalike,
    Refused,
    ServerUnreachable,
)
from api.client.calls import step
from api.client.pictures import picture_part
from search.errors import UsageError
from tests.scripted_server import ADDRESS, Server, problem

ROOT = Path(__file__).parent.parent
LABELS = {"items": [{"label": "tabby", "images": 3}], "next_cursor": None}


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The waits of clients, which take no time here."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    monkeypatch.setattr("api.client.blocking.time.sleep", waits.append)
    monkeypatch.setattr("api.client.awaiting.anyio.sleep", sleep)
    return waits


@pytest.mark.parametrize("module", ["api.client", "lookalike"])
def test_a_client_is_light(module: str) -> None:
    heavy = "{'torch', 'faiss', 'sqlalchemy', 'PIL', 'cv2', 'onnxruntime', 'pyarrow', 'fastapi', 'typer'}"
    make = "lookalike.connect('http://server.test')" if module == "lookalike" else "api.client.Client('http://x.test')"
    script = f"import sys, {module}; {make}; sys.exit(','.join({heavy} & set(sys.modules)) or None)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr


def test_both_clients_have_the_same_methods_with_the_same_arguments() -> None:
    def public(kind: type) -> dict[str, list[str]]:
        methods = {name: method for name, method in vars(kind).items() if not name.startswith("_")}
        return {name: list(inspect.signature(method).parameters)[1:] for name, method in methods.items()}

    assert public(Client) == public(AsyncClient)
    assert len(public(Client)) > 15


def test_every_method_and_argument_is_in_the_docs() -> None:
    page = (ROOT / "docs" / "client.md").read_text()
    shown = dict(re.findall(r"`(\w+)\((.*?)\)`", page))
    public = {name: method for name, method in vars(Client).items() if not name.startswith("_") and name != "close"}
    for name, method in {"Client": Client, **public}.items():
        wanted = set(list(inspect.signature(method).parameters)[0 if name == "Client" else 1 :])
        given = wanted - {"said"}  # shown as what it is: a list of (first, second, verdict)
        assert given <= set(re.findall(r"\w+", shown[name])), name


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_server_is_asked_again_after_the_time_it_names(slept: list[float], status: int) -> None:
    server = Server(problem(status, **{"retry-after": "7"}), Response(200, json=LABELS))
    assert [one.label for one in server.client().labels()] == ["tabby"]
    assert slept == [7.0]


def test_the_same_request_is_waited_for_while_it_is_at_work_and_no_other_conflict(slept: list[float]) -> None:
    server = Server(problem(409, "StillAtWork", **{"retry-after": "2"}), Response(204))
    server.client().remove(7, idempotency_key="mine")
    assert (slept, len(server.asked)) == ([2.0], 2)
    with pytest.raises(Conflict):
        Server(problem(409, "GuardRefused")).client().remove(7)
    assert slept == [2.0]


def test_the_async_client_waits_and_goes_on_alike(slept: list[float]) -> None:
    server = Server(problem(503, **{"retry-after": "7"}), ReadError("gone"), Response(200, json=LABELS))

    async def labels() -> list[str]:
        async with AsyncClient(ADDRESS, transport=MockTransport(server)) as client:
            return [one.label async for one in client.labels()]

    assert asyncio.run(labels()) == ["tabby"]
    assert (slept[0], 0.5 <= slept[1] <= 1) == (7.0, True), "the second wait is a doubled one"


def test_a_time_to_come_back_may_be_a_date(slept: list[float]) -> None:
    date = formatdate(time.time() + 30, usegmt=True)
    list(Server(problem(503, **{"retry-after": date}), Response(200, json=LABELS)).client().labels())
    assert 20 < slept[0] <= 30


def test_a_proxy_that_is_busy_is_believed_too(slept: list[float]) -> None:
    assert len(list(Server(Response(503, text="<html>"), Response(200, json=LABELS)).client().labels())) == 1
    with pytest.raises(Busy, match="answered 429; try again later"):
        list(Server(Response(429)).client(retries=0).labels())


def test_without_a_time_to_come_back_waits_double_and_then_end(slept: list[float]) -> None:
    server = Server(*[problem(503) for _ in range(4)])
    with pytest.raises(Busy):
        list(server.client().labels())
    assert (len(server.asked), len(slept)) == (4, 3)
    assert all(low <= waited <= 2 * low for low, waited in zip((0.25, 0.5, 1.0), slept, strict=True))


def test_nobody_waits_for_an_hour_and_the_error_says_when_to_come_back(slept: list[float]) -> None:
    with pytest.raises(Busy) as refused:
        list(Server(problem(429, **{"retry-after": "3600"})).client().labels())
    assert (refused.value.retry_after_s, slept) == (3600.0, [])


def test_what_may_not_happen_twice_is_sent_again_under_the_same_name(slept: list[float]) -> None:
    acts: tuple[Callable[[Client], object], ...] = (
        lambda client: client.remove(7),
        lambda client: client.change_metadata(7, {}, if_match='"a"'),
        lambda client: client.dedup(),
        lambda client: client.start_import(["/photos"]),
        lambda client: client.apply("20261123-0a1b2c3d"),
        lambda client: client.undo("20261123-0a1b2c3d"),
        lambda client: client.purge("20261123-0a1b2c3d"),
    )
    names = set()
    for act in acts:
        server = Server(ReadError("gone"), problem(503), problem(422))
        with pytest.raises(Refused):
            act(server.client())
        (name,) = {request.headers["idempotency-key"] for request in server.asked}
        assert len(server.asked) == 3
        names.add(name)
    assert len(names) == len(acts)


def test_a_connection_that_broke_is_made_again_and_one_that_cannot_be_made_is_not(slept: list[float]) -> None:
    assert len(list(Server(ReadError("gone"), Response(200, json=LABELS)).client().labels())) == 1
    for error in (ConnectError("refused"), ReadTimeout("")):
        server = Server(error)
        with pytest.raises(ServerUnreachable, match=rf"{ADDRESS} cannot be reached: .*`lookalike serve`"):
            list(server.client().labels())
        assert len(server.asked) == 1
    assert len(slept) == 1


def test_a_port_where_nobody_listens_is_one_clear_error() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(ServerUnreachable, match="is `lookalike serve` running there"):
            Client(f"http://127.0.0.1:{taken.getsockname()[1]}").status()


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, AccessRefused), (403, AccessRefused), (404, NotFound), (409, Conflict), (412, Conflict), (422, Refused)],
)
def test_a_problem_is_an_exception_with_its_fields(status: int, kind: type[Refused]) -> None:
    with pytest.raises(kind) as refused:
        Server(problem(status, "ImageNotFound")).client().status()
    error = refused.value
    assert (type(error), str(error), error.kind, error.status) == (kind, "because", "ImageNotFound", status)
    assert (error.title, error.reason, error.position, error.problem.detail) == ("no", None, None, "because")


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Response(200, text="<html>welcome</html>"), "no answer of a Lookalike server.*look at the address"),
        (Response(200, json={"items": "none"}), "no answer of a Lookalike server"),
        (Response(404, text="not found"), "answered 404.*look at the address"),
        (Response(502, text="bad gateway"), "answered 502.*what lies between"),
        (Response(500, json={"odd": 1}, headers={"content-type": "application/problem+json"}), "answered 500"),
        (Response(301, headers={"location": "https://other.test/"}), "sends on to https://other.test/"),
    ],
)
def test_what_is_no_lookalike_server_is_told_apart(answer: Response, said: str) -> None:
    with pytest.raises(NotLookalike, match=said):
        list(Server(answer).client().labels())


def test_fields_of_a_newer_server_are_passed_over() -> None:
    newer = {"items": [{"label": "tabby", "images": 3, "colour": "red"}], "next_cursor": None, "total": 1}
    (found,) = Server(Response(200, json=newer)).client().labels()
    assert found.model_dump() == {"label": "tabby", "images": 3}


def test_pages_are_asked_for_when_they_are_needed() -> None:
    pages = [{"items": [{"label": str(n), "images": n}], "next_cursor": str(n) if n < 3 else None} for n in (1, 2, 3)]
    server = Server(*(Response(200, json=page) for page in pages))
    labels = server.client().labels(page_size=1)
    assert server.asked == []
    assert (next(labels).label, len(server.asked)) == ("1", 1)
    assert [one.label for one in labels] == ["2", "3"]
    assert [request.url.query for request in server.asked] == [b"limit=1", b"limit=1&cursor=1", b"limit=1&cursor=2"]


def test_the_key_is_the_argument_else_that_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    def sent(key: str | None) -> str | None:
        server = Server(Response(200, json=LABELS))
        list(Client(ADDRESS, key=key, transport=MockTransport(server)).labels())
        return server.asked[0].headers.get("authorization")

    monkeypatch.delenv("LOOKALIKE_API_KEY", raising=False)
    assert sent(None) is None
    monkeypatch.setenv("LOOKALIKE_API_KEY", "lk_environment\n")
    assert [sent(None), sent("lk_argument"), sent("")] == ["Bearer lk_environment", "Bearer lk_argument", None]
    assert "lk_environment" not in repr(vars(Client(ADDRESS))), "no key in a traceback or a notebook"


NO_HOSTS = ["http://[", "http://]", "http://a..b", "http://a b", "http://%zz", f"http://{'a' * 64}", "http://*"]


@pytest.mark.parametrize("url", ["server.test", "ftp://server.test", "http://", "http://a.test/?x=1", 5, *NO_HOSTS])
def test_an_address_of_no_server_is_refused_at_once(url: str) -> None:
    with pytest.raises(UsageError, match="no address of a server|url is 5; give a text"):
        lookalike.connect(url)


def test_an_address_with_a_port_that_no_server_has_is_refused_at_once() -> None:
    with pytest.raises(UsageError, match="'http://a.test:70000' has the port 70000; give one of 1 to 65535"):
        lookalike.connect("http://a.test:70000")
    for good in (
        "http://a.test:65535",
        "http://[::1]:8080",
        "https://bücher.test/below",
        "http://my_host.",
        "http://10.0.0.1",
    ):
        lookalike.connect(good).close()


def test_an_address_without_the_version_is_wanted() -> None:
    with pytest.raises(UsageError, match="ends in /v1, which requests bring themselves; leave it out"):
        lookalike.connect("https://server.test/v1/")


WRONG_CALLS: dict[str, tuple[Callable[[Client], object], str]] = {
    "half a character in a path": (lambda to: to.put("l\ud800k", b"x"), "holds half of a character"),
    "half a character in a form": (lambda to: to.add(b"x", key="l\ud800k"), "key is .* holds half of a character"),
    "half a character in a query": (
        lambda to: list(to.images(where="\ud800")),
        "where is .* holds half of a character",
    ),
    "no picture": (lambda to: to.add_all([]), "no picture to take in; give one or more"),
    "a long embedding": (
        lambda to: to.search(embedding=[math.nan] * 256),
        r"embedding is \[nan, nan, .{1,40}\.\.\.\], ",
    ),
    "a header in a header": (lambda to: to.add(b"x", idempotency_key="a\nb: c"), "idempotency_key is .*of ASCII"),
    "no number of attempts": (lambda _: Client(ADDRESS, retries=-1), "retries is -1, give 0 or more"),
    "letters for numbers": (
        lambda to: to.search(embedding="abc"),  # type: ignore[arg-type]
        "embedding is a str; give the numbers",
    ),
    "no time": (lambda _: Client(ADDRESS, timeout_s=0), "timeout_s is 0; give seconds, more than 0"),
}


@pytest.mark.parametrize("name", WRONG_CALLS)
def test_what_cannot_be_sent_is_a_usage_error_before_anything_is_sent(name: str) -> None:
    call, message = WRONG_CALLS[name]
    server = Server()
    with pytest.raises(UsageError, match=message):
        call(server.client())
    assert not server.asked


def test_a_key_that_cannot_be_sent_is_refused_without_showing_it() -> None:
    with pytest.raises(UsageError, match="cannot be sent") as refused:
        lookalike.connect(ADDRESS, key="lk_\nX: y")
    assert "lk_" not in str(refused.value)


def test_a_server_may_lie_below_a_path_and_another_collection_shares_the_connections() -> None:
    server = Server(*(Response(200, json=LABELS) for _ in range(2)))
    client = Client(f"{ADDRESS}/pictures/", transport=MockTransport(server))
    list(client.labels())
    list(client.in_collection("a/b").labels())
    assert [request.url.raw_path for request in server.asked] == [
        b"/pictures/v1/collections/default/labels?limit=100",
        b"/pictures/v1/collections/a%2Fb/labels?limit=100",
    ]


@pytest.mark.parametrize(
    ("name", "shown"), [("..", "%2E%2E"), (".", "%2E"), ("a.b/ü", "a.b%2F%C3%BC"), ("%2F", "%252F")]
)
def test_a_name_is_one_step_of_a_path_whatever_it_is(name: str, shown: str) -> None:
    assert step(name) == shown


def test_a_search_without_a_picture_is_json_and_leaves_out_what_nobody_asked_for() -> None:
    answer = {
        "query": {"id": "17"},
        "matches": [],
        "took_ms": dict.fromkeys(("decode", "embed", "search", "verify", "total"), 0),
    }
    server = Server(Response(200, json=answer))
    assert server.client().search(id=17, min_score=0.5).matches == []
    assert json.loads(server.asked[0].content) == {"id": "17", "min_score": 0.5}
    with pytest.raises(UsageError, match="min_score is nan"):
        server.client().search(id=17, min_score=float("nan"))


def test_null_in_a_patch_is_sent_because_it_takes_metadata_away() -> None:
    image = {"id": "7", "key": "k", "uri": "u", "width": 1, "height": 1, "bytes": 1, "format": "png"}
    server = Server(*(Response(200, json=image, headers={"etag": '"v2"'}) for _ in range(2)))
    assert server.client().change_metadata(7, None, if_match='"v1"').etag == '"v2"'
    server.client().change_metadata(7, {"draft": None})
    assert [json.loads(one.content) for one in server.asked] == [{"metadata": None}, {"metadata": {"draft": None}}]
    assert [one.headers.get("if-match") for one in server.asked] == ['"v1"', None]


PIXELS = np.random.default_rng(5).integers(0, 256, (5, 7, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "given",
    [
        lambda _folder: PIXELS,
        lambda _folder: Image.fromarray(PIXELS),
        lambda _folder: Image.fromarray(PIXELS).convert("RGBA"),
        lambda folder: str(folder / "half \udcff.png"),
        lambda folder: folder / "half \udcff.png",
        lambda folder: (folder / "half \udcff.png").read_bytes(),
    ],
    ids=["array", "PIL", "transparent", "path as text", "path", "bytes"],
)
def test_a_picture_may_be_a_path_bytes_an_array_or_an_image_of_pil(
    given: Callable[[Path], object], tmp_path: Path
) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "half \udcff.png")
    sent = picture_part(given(tmp_path))  # type: ignore[arg-type]
    sent.name.encode()
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(sent.data)).convert("RGB")), PIXELS)


def test_a_cmyk_image_is_sent_as_rgb() -> None:
    sent = picture_part(Image.fromarray(PIXELS).convert("CMYK"))
    assert Image.open(io.BytesIO(sent.data)).mode == "RGB"


@pytest.mark.parametrize(
    "given",
    [PIXELS / 255, PIXELS[:, :, :2], PIXELS[:0], 17, None],
    ids=["floats", "two channels", "empty", "int", "None"],
)
def test_what_is_no_picture_is_refused_with_what_to_give(given: object) -> None:
    with pytest.raises(UsageError, match="is no picture; give"):
        picture_part(given)  # type: ignore[arg-type]


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read .*gone.jpg: No such file"):
        Client(ADDRESS).search(tmp_path / "gone.jpg")
