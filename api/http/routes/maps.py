"""The handler of maps: binary for the page, JSON for whoever asks for it."""

import hashlib
from http import HTTPStatus
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from numpy.typing import NDArray

from api.http.access import needs
from api.http.compressed import packed, takes_gzip
from api.http.maps import Maps
from api.http.request_parts import Target, Work
from api.http.routes.images import names_tag
from api.shapes.views import Map, MapPoint, MapProgress
from search.mapping.collection_map import CollectionMap

router = APIRouter()
BINARY = "application/octet-stream"
_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": Map, "content": {BINARY: {"schema": {"type": "string", "format": "binary"}}}},
    202: {"model": MapProgress, "description": "it is being made; ask again"},
    304: {"description": "unchanged"},
}


@router.get(
    "/collections/{collection}/map", response_model=None, responses=_ANSWERS, summary="Images by what they look like"
)
@needs("read")
def collection_map(request: Request, workspace: Work, target: Target) -> Response:
    """Return a place in the plane for each of at most 20,000 images: near each other are those that look alike."""
    maps: Maps = request.app.state.maps
    found, done = maps.get(target)
    if found is None:
        body = MapProgress(state="making", done=done or 0.0).model_dump()
        return JSONResponse(body, HTTPStatus.ACCEPTED, headers={"Retry-After": "1", "Cache-Control": "no-store"})
    now = workspace.snapshot(target)
    return _answer(request, found, now.living(found.ids), len(now))


def _answer(request: Request, found: CollectionMap, living: NDArray[np.int64], images: int) -> Response:
    """living: ids of the map's images that are still there. images: how many there are."""
    kept = np.isin(found.ids, living)
    ids, points = found.ids[kept], found.points[kept]
    binary = BINARY in request.headers.get("accept", "")
    small = binary and takes_gzip(request)
    told = hashlib.sha256(f"{found.name} {images} {binary} {small}".encode() + ids.tobytes())
    headers = {
        "ETag": f'"{told.hexdigest()[:32]}"',
        "Cache-Control": "private, no-cache",
        "Vary": "Authorization, Accept, Accept-Encoding",
    }
    if names_tag(request.headers.get("if-none-match", ""), headers["ETag"]):
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if binary:
        data = _binary(images, ids, points)
        if small:
            data, headers["Content-Encoding"] = packed(data), "gzip"
        return Response(data, media_type=BINARY, headers=headers)
    shown = [MapPoint(id=str(one), x=x, y=y) for one, (x, y) in zip(ids.tolist(), points.tolist(), strict=True)]
    return Response(Map(images=images, points=shown).model_dump_json(), media_type="application/json", headers=headers)


def _binary(images: int, ids: NDArray[np.int64], points: NDArray[np.float32]) -> bytes:
    """Return, little-endian: how many images there are, the N ids, all float64; N times x and y, float32."""
    # Ids are below 2^53, so that float64, which JavaScript can read, keeps them.
    return np.concatenate([[images], ids]).astype("<f8").tobytes() + points.astype("<f4").tobytes()
