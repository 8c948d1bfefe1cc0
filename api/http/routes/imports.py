"""The handler that starts imports: many pictures by their addresses."""

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from api.http.access import needs
from api.http.allowed_sources import AllowedSources
from api.http.ingest_requests import sent_of
from api.http.job_requests import start_job
from api.http.repeats import SAME_REQUEST, OnceRoute, names_itself
from api.http.request_parts import Target
from api.jobs.import_job import local_sources
from api.shapes.imports import ImportBody
from api.shapes.jobs import Job

router = APIRouter(route_class=OnceRoute)


@router.post(
    "/collections/{collection}/imports",
    status_code=HTTPStatus.ACCEPTED,
    summary="Take many pictures in",
    dependencies=[names_itself],
    responses=SAME_REQUEST,
)
@needs("write")
def start_import(request: Request, response: Response, target: Target, body: ImportBody) -> Job:
    """Start a job that indexes folders, files and archives, and takes in pictures by address; both can be repeated."""
    sources: AllowedSources = request.app.state.sources
    local_sources(sources, body)  # what may not be asked for is refused now, and not by the job
    for one in body.manifest:
        sent_of(one)
    return start_job(request, response, "import", target, body)
