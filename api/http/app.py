"""The HTTP application: routes, page, probes, headers. It builds nothing; server.py beside it hands it the parts."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any, ClassVar

from fastapi import Depends, FastAPI, Response
from fastapi.responses import JSONResponse
from starlette.middleware.body_limit import RequestBodyLimitMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.access import Authentication, Gate, OpenGate, bearer, needs, open_paths, permitted
from api.http.admission import Admission, Entrance, install_refusals
from api.http.all_lines import Lines
from api.http.allowed_sources import AllowedSources
from api.http.description import add_webhook, describe, operation_id
from api.http.foreign_pages import ForeignPages
from api.http.job_events import JobEvents
from api.http.kept_answers import KeptAnswers
from api.http.maps import Maps
from api.http.metrics import CONTENT_TYPE, Metrics
from api.http.ndjson import ListsAsLines
from api.http.page_files import add_page
from api.http.problems import install, problem
from api.http.readiness import Readiness
from api.http.routes.v1 import TAGS, include_all
from api.http.safe_fetch import Fetch, FetchNothing
from api.http.security_headers import SecurityHeaders
from api.http.thumbnails import Thumbnails
from api.http.worker_figures import WorkerFigures
from api.ingesting import Ingest
from api.shapes.base import Health
from api.webhooks.deliveries import Deliveries
from api.webhooks.rules import WebhookRules
from api.workspace import Workspace
from search.storing.server_jobs import ServerJobs

MAX_BODY_BYTES = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Parts:
    """What the application works with. wake: called when a job was written down. stopping: whether it is to end.

    lines: None for those of a process that has all cores. roots: folders of which clients may name files. webhooks: who
    may be told of the ends of jobs; deliveries: what tells them, None where that is nobody. among: the worker processes
    that this is one of.
    """

    workspace: Workspace
    thumbnails: Thumbnails
    readiness: Readiness
    allowed_hosts: tuple[str, ...] = ("*",)
    started: Callable[[], None] = lambda: None
    gate: Gate = OpenGate()
    fetch: Fetch = FetchNothing()
    wake: Callable[[], None] = lambda: None
    stopping: Callable[[], bool] = lambda: False
    lines: Lines | None = None
    roots: tuple[Path, ...] = ()
    webhooks: WebhookRules = WebhookRules()
    deliveries: Deliveries | None = None
    among: WorkerFigures | None = None


def create_app(parts: Parts) -> FastAPI:
    """Return the application; nothing global is touched."""
    lines = parts.lines or Lines.for_cores()
    figures = Metrics(parts.workspace, lines, parts.among, parts.deliveries)
    app = FastAPI(
        title="Lookalike",
        version="1",
        description="Search image collections by picture. Scores are cosine similarities: higher is closer.",
        docs_url=None,
        openapi_tags=TAGS,
        generate_unique_id_function=operation_id,
        redoc_url=None,
        dependencies=[Depends(permitted)],
        lifespan=_lifespan(parts, lines, figures),
    )
    _share(app, parts)
    install(app)
    install_refusals(app)
    include_all(app)
    _add_probes(app, parts.readiness)
    _add_metrics(app, figures)
    add_webhook(app)
    add_page(app)
    describe(app)
    app.state.lines = lines
    app.state.entrance = Entrance(lines)
    app.add_middleware(ListsAsLines)
    app.add_middleware(Authentication, gate=parts.gate, open_to_all=open_paths(app))
    app.add_middleware(ForeignPages)
    # DNS rebinding: a page of another site must not reach a server that trusts this machine.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=list(parts.allowed_hosts))
    app.add_middleware(Admission, entrance=app.state.entrance)
    # Not the max_body_size of FastAPI: that one answers outside all middleware, in plain text.
    app.add_middleware(RequestBodyLimitMiddleware, max_body_size=MAX_BODY_BYTES)
    app.add_middleware(PlainErrorsAsProblems)
    app.add_middleware(SecurityHeaders)
    return app


def _share(app: FastAPI, parts: Parts) -> None:
    """Put what handlers work with where they find it."""
    app.state.workspace = parts.workspace
    app.state.thumbnails = parts.thumbnails
    app.state.fetch = parts.fetch
    app.state.label_counts = KeptAnswers()
    app.state.facets = KeptAnswers()
    app.state.fields = KeptAnswers()
    app.state.timelines = KeptAnswers()
    app.state.maps = Maps(parts.workspace)
    app.state.jobs = ServerJobs(parts.workspace.store.database)
    app.state.job_events = JobEvents(app.state.jobs, parts.stopping)
    app.state.wake = parts.wake
    app.state.webhooks = parts.webhooks
    app.state.ingest = Ingest(parts.workspace)
    app.state.sources = AllowedSources(parts.roots, parts.fetch)


def _lifespan(parts: Parts, lines: Lines, figures: Metrics) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        parts.readiness.start()
        async with nullcontext() if parts.among is None else parts.among.telling(figures.own):
            parts.started()
            yield
        parts.readiness.stop()
        lines.close()
        app.state.ingest.close()

    return lifespan


def _add_probes(app: FastAPI, readiness: Readiness) -> None:
    @app.head("/healthz", include_in_schema=False)
    @app.get("/healthz", summary="The process answers")
    @needs("nothing")
    def healthz() -> Health:
        return Health(status="ok")

    not_yet: dict[int | str, dict[str, Any]] = {200: {"model": Health}, 503: {"description": "not yet, and why"}}

    @app.head("/readyz", include_in_schema=False)
    @app.get("/readyz", summary="Searches will be answered", responses=not_yet)
    @needs("nothing")
    def readyz() -> Response:
        reason = readiness.reason()
        if reason is None:
            return JSONResponse({"status": "ok"})
        answer = problem("NotReady", HTTPStatus.SERVICE_UNAVAILABLE, reason)
        answer.headers["Retry-After"] = "1"
        return answer


def _add_metrics(app: FastAPI, figures: Metrics) -> None:
    about = "Figures for monitoring, in the text format of Prometheus"
    text: dict[int | str, dict[str, Any]] = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}}

    @app.get("/metrics", summary=about, response_class=Response, responses=text, dependencies=[bearer])
    @needs("read")
    def metrics() -> Response:
        return Response(figures.text(), media_type=CONTENT_TYPE)


class PlainErrorsAsProblems:
    """Turns the framework's own refusals, which are plain text, into problem documents."""

    DETAILS: ClassVar[dict[int, str]] = {
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE: f"more than {MAX_BODY_BYTES} bytes were sent; send a smaller picture",
        HTTPStatus.BAD_REQUEST: "this host name is not served here; the server's --allow-host names those that are",
    }

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on; a plain refusal is answered with a problem document instead."""
        refused = False

        async def send_or_replace(message: Message) -> None:
            nonlocal refused
            if message["type"] == "http.response.start" and _is_plain_refusal(message):
                refused = True
                status = HTTPStatus(message["status"])
                kind = status.phrase.title().replace(" ", "")
                await problem(kind, status, self.DETAILS[status])(scope, receive, send)
            if not refused:
                await send(message)

        await self._app(scope, receive, send_or_replace)


def _is_plain_refusal(message: Message) -> bool:
    plain = any(name == b"content-type" and value.startswith(b"text/plain") for name, value in message["headers"])
    return plain and message["status"] in PlainErrorsAsProblems.DETAILS
