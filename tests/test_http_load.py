"""The load generator of the server's benchmarks: what it charges to a server, and what it counts."""

import socketserver
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import cycle

from bench.http_load import closed_loop, open_loop, picture_request, request_bytes

ASK = [request_bytes("/search", b"{}", "application/json")]


class _Server(socketserver.ThreadingTCPServer):
    """Gives its answers in turn, one at a time: the first one after a stall, during which nobody gets any."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, answers: tuple[bytes, ...], stall_s: float) -> None:
        super().__init__(("127.0.0.1", 0), _Answering)
        self.answers = cycle(answers)
        self.stall_s = stall_s
        self.turn = threading.Lock()

    def next_answer(self) -> bytes:
        with self.turn:
            stall_s, self.stall_s = self.stall_s, 0.0
            time.sleep(stall_s)
            return next(self.answers)


class _Answering(socketserver.StreamRequestHandler):
    server: _Server

    def handle(self) -> None:
        while self.rfile.readline():
            length = 0
            while (line := self.rfile.readline().strip().lower()) != b"":
                if line.startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            self.rfile.read(length)
            answer = self.server.next_answer()
            self.wfile.write(answer)
            if b"Connection: close" in answer or not answer:
                return


@contextmanager
def answering(*answers: bytes, stall_s: float = 0.0) -> Iterator[tuple[str, int]]:
    with _Server(answers, stall_s) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        host, port = server.server_address[:2]
        yield str(host), port
        server.shutdown()


def reply(status: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status}", "Content-Length: 2", *headers, "", "ok"]).encode()


def test_whoever_came_while_the_server_stalled_is_counted_as_having_waited() -> None:
    with answering(reply("200 OK"), stall_s=0.5) as place:
        load = open_loop(place, ASK, rate=100, seconds=1.0)
    # One request met the stall; the fifty that were due meanwhile waited, too, a quarter of a second on average.
    waited = [one for one in load.good if one > 0.1]
    assert len(load.good) > 60
    assert len(waited) > 25
    assert max(waited) > 0.4


def test_refusals_are_counted_apart_and_so_are_those_that_do_not_say_when_to_come_again() -> None:
    answers = (reply("200 OK"), reply("503 Busy", "Retry-After: 1"), reply("503 Busy"), reply("429 Much"))
    with answering(*answers) as place:
        load = closed_loop(place, ASK, connections=1, seconds=0.3)
    answered = sum(load.statuses.values())
    assert load.statuses[200] - load.statuses[429] in (0, 1)
    assert load.unexplained == load.statuses[429] + load.statuses[503] // 2
    assert (load.lost, answered > 8) == (0, True)


def test_a_connection_that_ends_without_an_answer_is_a_lost_request() -> None:
    with answering(reply("200 OK"), b"") as place:
        ending = closed_loop(place, ASK, connections=1, seconds=0.2)
    assert ending.lost > 2
    assert len(ending.good) - ending.lost in (0, 1)
    with answering(reply("200 OK", "Connection: close")) as place:
        closing = closed_loop(place, ASK, connections=2, seconds=0.2)
    assert closing.lost == 0
    assert len(closing.good) > 2


def test_an_upload_is_the_form_that_browsers_send() -> None:
    sent = picture_request("/upload", b"JPEG", k="5")
    head, _, body = sent.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    assert b'name="k"\r\n\r\n5\r\n' in body
    assert b'name="image"; filename="query.jpg"\r\nContent-Type: image/jpeg\r\n\r\nJPEG\r\n' in body
