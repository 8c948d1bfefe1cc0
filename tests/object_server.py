"""An S3 server of our own (moto) that can be told to fail, lose its answers or dawdle."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import Any
from wsgiref.types import StartResponse, WSGIEnvironment

import fsspec
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server
from werkzeug.wsgi import get_input_stream

BUCKET = "pictures"
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "tester", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_DEFAULT_REGION": "us-east-1"}
App = Callable[[WSGIEnvironment, StartResponse], Iterable[bytes]]


class Quiet(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: Any) -> None:  # noqa: A002 -- werkzeug's name
        pass


class ObjectServer:
    """fail: how many of the next PUTs are refused. lose: how many are done, and answered by an error. delay_s: of every
    answer; of those lost, lose_after_s."""

    def __init__(self) -> None:
        self._app: App = DomainDispatcherApplication(create_backend_app)
        self._server = make_server("127.0.0.1", 0, self._answer, threaded=True, request_handler=Quiet)
        self._thread = Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self.calm()

    def calm(self) -> None:
        self.fail, self.lose, self.delay_s, self.lose_after_s, self.unconditional = 0, 0, 0.0, 0.0, False
        self.requests: list[tuple[str, str, str]] = []

    def stop(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _answer(self, environ: WSGIEnvironment, respond: StartResponse) -> Iterable[bytes]:
        method, condition = environ["REQUEST_METHOD"], environ.get("HTTP_IF_NONE_MATCH", "")
        self.requests.append((method, environ["PATH_INFO"], condition))
        time.sleep(self.delay_s)
        if method == "PUT" and self.unconditional and condition:
            get_input_stream(environ).read()
            return refused(respond, "501 Not Implemented", "NotImplemented")
        if method == "PUT" and self.fail > 0:
            self.fail -= 1
            get_input_stream(environ).read()
            return refused(respond, "500 Internal Server Error", "InternalError")
        if method == "PUT" and self.lose > 0:
            self.lose -= 1
            b"".join(self._app(environ, lambda *_: lambda _: None))
            time.sleep(self.lose_after_s)
            return refused(respond, "500 Internal Server Error", "InternalError")
        return self._app(environ, respond)


def refused(respond: StartResponse, status: str, code: str) -> Iterable[bytes]:
    respond(status, [("Content-Type", "application/xml")])
    return [f"<Error><Code>{code}</Code><Message>planted</Message></Error>".encode()]


@contextmanager
def environment(server: ObjectServer) -> Iterator[dict[str, str]]:
    """Point this process and its children at the server; give the variables that do."""
    wanted = CREDENTIALS | {"AWS_ENDPOINT_URL": server.endpoint}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield wanted
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value


def object_system() -> Any:
    """Return a file system over the server that the environment names."""
    return fsspec.filesystem("s3", skip_instance_cache=True, use_listings_cache=False)


def empty_bucket(system: Any) -> None:
    """Make the bucket new."""
    if system.exists(BUCKET):
        system.rm(BUCKET, recursive=True)
    system.mkdir(BUCKET)
