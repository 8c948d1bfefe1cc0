"""A server that answers its client with what a test wrote down beforehand."""

from collections.abc import AsyncIterator, Iterator

from httpx2 import AsyncByteStream, MockTransport, Request, Response, SyncByteStream

from api.client import Client

ADDRESS = "http://server.test"


def problem(status: int, kind: str = "Wrong", **headers: str) -> Response:
    document = {"type": f"urn:lookalike:problem:{kind}", "title": "no", "status": status, "detail": "because"}
    return Response(status, json=document, headers={"content-type": "application/problem+json", **headers})


class Server:
    """Answers with what it was given, one after the other, and remembers what it was asked."""

    def __init__(self, *answers: Response | Exception) -> None:
        self.asked: list[Request] = []
        self._answers = list(answers)

    def __call__(self, request: Request) -> Response:
        self.asked.append(request)
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def client(self, retries: int = 3) -> Client:
        return Client(ADDRESS, transport=MockTransport(self), retries=retries)


class Chunks(SyncByteStream, AsyncByteStream):
    """A body that comes in these pieces, and may break at the end."""

    def __init__(self, *pieces: bytes, error: Exception | None = None) -> None:
        self._pieces, self._error = pieces, error

    def __iter__(self) -> Iterator[bytes]:
        yield from self._pieces
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self:
            yield piece
