"""Requests made from /openapi.json, right and wrong ones, sent to a real server, and what its answers must be.

Nothing here knows single operations: one that is new is asked like all others. What is left out says why.
"""

import io
import json
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from requests import Session
from schemathesis import Case as AnyCase
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.core.parameters import ParameterLocation
from schemathesis.core.transport import Response
from schemathesis.generation import GenerationMode
from schemathesis.generation.stateful.state_machine import APIStateMachine
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.conftest import painted
from tests.small_server import SmallServer

Operation = APIOperation[Any, Any, Any, Any]
Case = AnyCase[Any]
LINES: Final = "application/x-ndjson"
# Left out: every valid request is taken (conditions, ids and pictures are narrower than any schema can say).
CHECKS: Final = (
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
)
# Operations that are not asked, and why.
LEFT_OUT: Final = {"events": "an answer that goes on as long as its job does"}
# What there is in the store of small_server, or will soon be; by the names of parameters and of fields of bodies.
KNOWN: Final[dict[str, tuple[object, ...]]] = {
    "collection": ("default",),
    "image_id": (1, 2, 7),
    "id": ("1", "2", "7"),
    "job_id": (1, 2),
    "where": ("width >= 20", 'format = "png" and not metadata.rating = 5', "metadata.a is null"),
    "box": ("0,0,9,9",),
    "cursor": ("3",),
    "like": (["1", "2"],),
    "unlike": (["3"],),
    "uri": ("file:///nowhere/a.png",),
}
LONGEST_HEAD: Final = 50_000
LONGEST_S: Final = 120  # on a busy machine, where a network has to be loaded
OFTEN: Final = 3  # of four


def _picture() -> bytes:
    file = io.BytesIO()
    painted(1, (24, 16)).save(file, "PNG")
    return file.getvalue()


def prepare() -> None:
    """Teach schemathesis pictures and lines."""
    picture = _picture()
    schemathesis.openapi.format("binary", st.sampled_from([picture, picture, picture[:40], b"GIF89a", b""]))

    @schemathesis.serializer(LINES)
    def one_line(_context: object, value: object) -> bytes:
        return json.dumps(value).encode()


def asked(schema: BaseSchema) -> Iterator[Operation]:
    """Yield the operations of a description that are asked."""
    for found in schema.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr] # an invalid one has none, and fails here
        if operation_of(operation) not in LEFT_OUT:
            yield operation


def operation_of(operation: Operation) -> str:
    """Return the operationId."""
    return str(operation.definition.raw["operationId"])


@st.composite
def cases(draw: st.DrawFn, operation: Operation) -> Case:
    """Draw a request that is right, mostly about what there is, or one that is wrong in some way."""
    # Nothing can be wrong with a request that says nothing.
    says = operation.path_parameters or operation.query or operation.headers or operation.body
    wrong = bool(says) and draw(st.booleans())
    mode = GenerationMode.NEGATIVE if wrong else GenerationMode.POSITIVE
    case: Case = draw(operation.as_strategy(generation_mode=mode))
    for location, fields in (("path", case.path_parameters), ("query", case.query), ("body", case.body)):
        if isinstance(fields, dict) and not (case.meta and case.meta.is_negative_at(ParameterLocation(location))):
            _name_what_is_there(draw, fields)
    return case


def _name_what_is_there(draw: st.DrawFn, given: dict[str, Any]) -> None:
    for name in given:
        if name in KNOWN and draw(st.integers(0, 3)) < OFTEN:
            given[name] = draw(st.sampled_from(KNOWN[name]))


def described(server: SmallServer) -> BaseSchema:
    """Return the description that a server gives of itself."""
    prepare()
    schema = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
    # The server asks for no keys.
    schema.config.generation.update(with_security_parameters=False)
    return schema


def machine(schema: BaseSchema) -> type[APIStateMachine]:
    """Return what walks from operation to operation by the links between them."""

    class Walk(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            self.session = Session()

        def teardown(self) -> None:
            self.session.close()

        def get_call_kwargs(self, _case: Case) -> dict[str, Any]:
            return {"session": self.session, "timeout": LONGEST_S}

        def before_call(self, case: Case) -> None:
            if "collection" in case.path_parameters and case.operation.label.startswith("GET"):
                case.path_parameters["collection"] = "default"

        def validate_response(self, response: Response, case: Case, **_: Any) -> None:
            wrong = unexpected(case, response)
            assert not wrong, "\n".join(wrong)

    return Walk


def unexpected(case: Case, answer: Response) -> list[str]:
    """Return what is wrong with an answer."""
    # A line of a batch that is wrong is answered by its problem, and the batch by 200.
    hides_it = case.media_type == LINES or _says_nothing_of_a_field(case)
    checks = [one for one in CHECKS if not (hides_it and one is negative_data_rejection)]
    if len(case.as_curl_command()) > LONGEST_HEAD and answer.status_code == HTTPStatus.BAD_REQUEST:
        return []  # refused by the HTTP parser, in plain text, before there is a request to answer
    found = []
    try:
        case.validate_response(answer, checks=checks)
    except FailureGroup as failures:
        found = [f"{one.title}: {one.message}" for one in failures.exceptions]
    if not found:
        return []
    return [f"{one}\n  {case.as_curl_command()}\n  {answer.status_code} {answer.text[:400]}" for one in found]


def _says_nothing_of_a_field(case: Case) -> bool:
    """Tell whether a field of a form is a list of nothing, which no form can say: nothing of it is sent."""
    if case.media_type != "multipart/form-data" or not isinstance(case.body, dict):
        return False
    return any(value == [] for value in case.body.values())


def fuzzed(operation: Operation, session: Session, examples: int, start: int | None) -> list[str]:
    """Return what is wrong with the answers to many requests, each kind of it once. start: a seed; None: always so."""
    found: dict[str, str] = {}

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=start is None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(case=cases(operation))
    def ask(case: Case) -> None:
        for one in unexpected(case, case.call(session=session, timeout=LONGEST_S)):
            found.setdefault(one.splitlines()[0][:200], one)

    (ask if start is None else seed(start)(ask))()
    return list(found.values())
