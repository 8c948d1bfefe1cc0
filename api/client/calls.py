"""What a request to the server is, and how its answer is read: the same for the blocking and the async client."""

import json
import reprlib
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, TypeVar, get_args
from urllib.parse import quote

from httpx2 import Response
from pydantic import ValidationError

from api.client.errors import NotLookalike, refusal
from api.client.waiting import BUSY, retry_after_s
from api.shapes.base import Page, Shape
from api.shapes.problems import Problem
from search.errors import UsageError

T = TypeVar("T")
S = TypeVar("S", bound=Shape)
Value = str | int | float | bool | list[str]
PROBLEM = "application/problem+json"
LINES: Final = "application/x-ndjson"
REDIRECTS = range(300, 400)
SHOWN_BYTES = 200


@dataclass(frozen=True, slots=True)
class Part:
    """A picture of a multipart body."""

    field: str
    name: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. path: below the server's address, percent-encoded. read: what a good answer means.

    params, fields: those of None are left out, but for fields with `nulls`. fields with parts are a form, without
    parts JSON. body: sent as it is instead. repeatable: doing it twice is the same as doing it once.
    """

    method: str
    path: str
    read: Callable[[Response], T]
    params: Mapping[str, Value | None] = field(default_factory=dict)
    fields: Mapping[str, object] | None = None
    parts: Sequence[Part] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    repeatable: bool = True
    nulls: bool = False
    body: bytes | None = None

    def request(self, address: str) -> dict[str, Any]:
        """Return the request for the server at this address, as the HTTP library builds it.

        Raises:
            UsageError: a value cannot be sent.
        """
        asked: dict[str, Any] = {"method": self.method, "url": f"{address}{self.path}", "params": given(self.params)}
        for name, param in given(self.params).items():
            _require_whole(str(param), name)
        asked["headers"] = self.headers
        if self.parts:
            files = [(part.field, (part.name, part.data)) for part in self.parts]
            form = {name: _as_text(value) for name, value in given(self.fields or {}).items()}
            for name, text in form.items():
                for one in text if isinstance(text, list) else [text]:
                    _require_whole(one, name)
            return asked | {"data": form, "files": files}
        if self.body is not None:
            asked["content"] = self.body
        elif self.fields is not None:
            asked["json"] = _writable(dict(self.fields) if self.nulls else given(self.fields))
        return asked

    def answered(self, response: Response) -> T:
        """Return what an answer means.

        Raises:
            Refused: the server says why it does not do it.
            NotLookalike: the answer is none of a Lookalike server.
        """
        if not response.is_success:
            raise _error(response)
        try:
            return self.read(response)
        except ValidationError as error:
            raise strange(response, response.content, error.errors()[0]["msg"]) from error


@dataclass(frozen=True, slots=True)
class Lines(Generic[T]):
    """A request whose answer comes a line at a time. item: what a line means."""

    call: Call[None]
    item: Callable[[bytes], T]


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """A list that comes a page at a time; line by line in one answer where it has a `limit`, and that is None."""

    path: str
    page: type[Page[T]]
    params: Mapping[str, Value | None] = field(default_factory=dict)

    @property
    def in_lines(self) -> bool:
        """Return whether all of it is wanted in one answer."""
        return "limit" in self.params and self.params["limit"] is None

    def call(self, cursor: str | None) -> Call[Page[T]]:
        """Return the request for one page. cursor: `next_cursor` of the page before, None for the first."""
        return Call("GET", self.path, shaped(self.page), {**self.params, "cursor": cursor})

    def lines(self) -> Lines[T]:
        """Return the request for the whole list."""
        (shape,) = get_args(self.page.model_fields["items"].annotation)
        call = Call("GET", self.path, nothing, self.params, headers={"Accept": LINES})
        return Lines(call, lambda line: shape.model_validate_json(line, extra="ignore"))


def shaped(shape: type[S]) -> Callable[[Response], S]:
    """Return what reads an answer of this shape; fields of a newer server are passed over."""
    return lambda response: shape.model_validate_json(response.content, extra="ignore")


def nothing(_response: Response) -> None:
    """Read an answer without a body."""


def content(response: Response) -> bytes:
    """Read an answer that is a file."""
    return bytes(response.content)


def below(collection: str, *steps: str | int) -> str:
    """Return a path below a collection, every step percent-encoded."""
    return "/".join(("/v1/collections", step(collection), *(step(one) for one in steps)))


def step(name: str | int) -> str:
    """Return a name as one step of a path. Dots are encoded where they alone would mean another folder.

    Raises:
        UsageError: it holds half of a character.
    """
    text = str(name)
    _require_whole(text, "a key or an id")
    return text.replace(".", "%2E") if text in (".", "..") else quote(text, safe="")


def given(values: Mapping[str, T | None]) -> dict[str, T]:
    """Return what is not None."""
    return {name: value for name, value in values.items() if value is not None}


def named(key: str | None) -> dict[str, str]:
    """Return what lets the server tell the same request from another one, however often it comes.

    Raises:
        UsageError: it cannot be sent as a header.
    """
    if key is not None and not (isinstance(key, str) and key.isascii() and key.isprintable()):
        raise UsageError(f"idempotency_key is {key!r}; give letters, digits and signs of ASCII")
    return {"Idempotency-Key": key or uuid.uuid4().hex}


def _writable(fields: dict[str, T]) -> dict[str, T]:
    """Return fields that JSON can hold.

    Raises:
        UsageError: one of them it cannot.
    """
    for name, value in fields.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise UsageError(f"{name} is {reprlib.repr(value)}, which no request can hold: {error}") from error
    return fields


def _require_whole(text: str, name: str) -> None:
    """Raises:
    UsageError: the text holds half of a character, which has no bytes.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{name} is {reprlib.repr(text)}, which holds half of a character; give whole ones") from error


def _as_text(value: object) -> str | list[str]:
    """Return a value as a field of a form; a list becomes fields of one name."""
    if isinstance(value, list):
        return [str(one) for one in value]
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def strange(response: Response, told: bytes, why: str) -> NotLookalike:
    """Return the error of an answer, or a line of one, that no server of this release gives."""
    return NotLookalike(
        f"{_place(response)} answered {told[:SHOWN_BYTES]!r}, which is no answer of a Lookalike server of this "
        f"release ({why}); look at the address, and at the server's release"
    )


def _error(response: Response) -> Exception:
    if response.headers.get("content-type", "").startswith(PROBLEM):
        try:
            problem = Problem.model_validate_json(response.content, extra="ignore")
        except ValidationError:
            pass
        else:
            return refusal(problem, retry_after_s(response.headers))
    if response.status_code in BUSY:  # a proxy says it in its own words
        detail = f"{_place(response)} answered {response.status_code}; try again later"
        busy = Problem(type="about:blank", title=response.reason_phrase, status=response.status_code, detail=detail)
        return refusal(busy, retry_after_s(response.headers))
    if response.status_code in REDIRECTS:
        there = response.headers.get("location", "elsewhere")
        return NotLookalike(f"{_place(response)} sends on to {there}; give that address, if you trust it")
    return NotLookalike(
        f"{_place(response)} answered {response.status_code}, {response.content[:SHOWN_BYTES]!r}, which no Lookalike "
        "server does; look at the address, and at what lies between"
    )


def _place(response: Response) -> str:
    return str(response.request.url)
