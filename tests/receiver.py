"""A receiver of webhooks on this machine, which answers as a test says and remembers what came."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from queue import Empty, SimpleQueue
from threading import Thread

Answer = Callable[[BaseHTTPRequestHandler], None]
LONG_S = 60


@dataclass(frozen=True)
class Call:
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Receiver:
    """url: below which it answers. answers: to the next calls of a path; 204 when there is none left."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    calls: SimpleQueue[Call] = field(default_factory=SimpleQueue)

    def next(self) -> Call:
        """Return the next call, which must come."""
        return self.calls.get(timeout=LONG_S)

    def all(self) -> list[Call]:
        """Return the calls that nobody has asked for yet."""
        found = []
        while True:
            try:
                found.append(self.calls.get_nowait())
            except Empty:
                return found


def status(code: int, **headers: str) -> Answer:
    def answer(to: BaseHTTPRequestHandler) -> None:
        to.send_response(code)
        for name, value in headers.items():
            to.send_header(name.replace("_", "-"), value)
        to.send_header("Content-Length", "0")
        to.end_headers()

    return answer


@contextmanager
def receiving() -> Iterator[Receiver]:
    made = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            made.calls.put(Call(self.path, {name.lower(): text for name, text in self.headers.items()}, body))
            waiting = made.answers.get(self.path, [])
            (waiting.pop(0) if waiting else status(204))(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
