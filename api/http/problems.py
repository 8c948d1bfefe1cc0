"""Errors over HTTP: RFC 9457 problem documents, and the only place that knows HTTP status codes of errors."""

from http import HTTPStatus

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as StarletteHTTPException

from api.request_errors import SHOWN_LETTERS, closest, in_words
from api.shapes.problems import Problem
from search import errors

MEDIA_TYPE = "application/problem+json"

_BY_ERROR: tuple[tuple[type[errors.LookalikeError], HTTPStatus], ...] = (
    (errors.CollectionNotFound, HTTPStatus.NOT_FOUND),
    (errors.ImageNotFound, HTTPStatus.NOT_FOUND),
    (errors.JobNotFound, HTTPStatus.NOT_FOUND),
    (errors.ReportNotFound, HTTPStatus.NOT_FOUND),
    (errors.PlanNotFound, HTTPStatus.NOT_FOUND),
    (errors.UsageError, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.BadImage, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.ImageChanged, HTTPStatus.PRECONDITION_FAILED),
    (errors.KeyTaken, HTTPStatus.CONFLICT),
    (errors.StillAtWork, HTTPStatus.CONFLICT),
    (errors.KeyReused, HTTPStatus.UNPROCESSABLE_ENTITY),
    (errors.DuplicatePicture, HTTPStatus.CONFLICT),
    (errors.GuardRefused, HTTPStatus.CONFLICT),
    (errors.SpaceMismatch, HTTPStatus.CONFLICT),
    (errors.StoreUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.SourceUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
    (errors.WeightsUnavailable, HTTPStatus.SERVICE_UNAVAILABLE),
)


def install(app: FastAPI) -> None:
    """Make every error of this app answer with a problem document."""
    app.add_exception_handler(errors.LookalikeError, _lookalike)
    app.add_exception_handler(StarletteHTTPException, _http)
    app.add_exception_handler(RequestValidationError, _validation)
    app.add_exception_handler(Exception, _unexpected)


def status_of(error: errors.LookalikeError) -> HTTPStatus:
    """Return the HTTP status of an error."""
    return next((status for kind, status in _BY_ERROR if isinstance(error, kind)), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(
    kind: str, status: HTTPStatus, detail: str, *, reason: str | None = None, position: int | None = None
) -> JSONResponse:
    """Return a problem document as a response."""
    return _answer(_document(kind, status, detail, reason=reason, position=position))


def document_of(error: errors.LookalikeError) -> Problem:
    """Return what an error says, as a problem document."""
    kind, status = type(error).__name__, status_of(error)
    if isinstance(error, errors.BadCondition):
        return _document(kind, status, f"{error}\n{error.drawing}", position=error.position)
    return _document(kind, status, str(error), reason=error.reason if isinstance(error, errors.BadImage) else None)


def _document(
    kind: str, status: HTTPStatus, detail: str, *, reason: str | None = None, position: int | None = None
) -> Problem:
    name = f"urn:lookalike:problem:{kind}"
    return Problem(type=name, title=status.phrase, status=status, detail=detail, reason=reason, position=position)


def _answer(document: Problem) -> JSONResponse:
    return JSONResponse(document.model_dump(exclude_none=True), status_code=document.status, media_type=MEDIA_TYPE)


async def _lookalike(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, errors.LookalikeError):
        raise error
    answer = _answer(document_of(error))
    if isinstance(error, errors.StillAtWork):
        answer.headers["Retry-After"] = str(error.retry_after_s)
    return answer


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, StarletteHTTPException):
        raise error
    if error.status_code == HTTPStatus.BAD_REQUEST:  # the framework's, of a form that it could not read
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        return problem("InvalidForm", status, f"the form cannot be read: {error.detail}")
    status = HTTPStatus(error.status_code)
    said = _framework_words(request, status) if error.detail == status.phrase else str(error.detail)
    answer = problem(status.phrase.title().replace(" ", ""), status, said)
    answer.headers.update(error.headers or {})
    return answer


def _framework_words(request: Request, status: HTTPStatus) -> str:
    """Return what is said where the framework says no more than what a status is called."""
    place = repr(request.url.path[:SHOWN_LETTERS])
    if status == HTTPStatus.NOT_FOUND:
        return f"there is nothing at {place}; /openapi.json lists what there is"
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.method[:SHOWN_LETTERS]} is nothing that {place} takes; the header Allow names what it takes"
    return status.phrase


async def _validation(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if error.errors()[0]["loc"][:1] == ("body",) and not kind.endswith("json"):  # the framework took it for a text
        return await _http(request, unsupported_media(kind, "application/json"))
    return _answer(invalid_request(error))


def invalid_request(error: RequestValidationError) -> Problem:
    """Return what is wrong with the fields of a request, as a problem document."""
    return _document("InvalidRequest", HTTPStatus.UNPROCESSABLE_ENTITY, in_words(closest(error.errors())))


async def _unexpected(_request: Request, _error: Exception) -> JSONResponse:
    # The framework logs the traceback; the client learns nothing of our insides.
    return problem(
        "Unexpected", HTTPStatus.INTERNAL_SERVER_ERROR, "something went wrong here; the server's log says what"
    )


def unsupported_media(found: str, wanted: str) -> HTTPException:
    """Return the error for a body of a type that is not taken there."""
    detail = f"send {wanted}, not {found or 'a body without a content type'}"
    return HTTPException(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, detail)
