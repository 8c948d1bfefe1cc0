"""A small album behind the HTTP application, with the built-in backbone: what several journeys ask."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from httpx2 import Response
from starlette.testclient import TestClient

from api.cli import main
from api.http.app import Parts, create_app
from api.http.readiness import Readiness
from api.http.thumbnails import Thumbnails
from api.workspace import Workspace
from indexer.backbones.backbones import BUILTIN_PREPARATION
from indexer.decoding.decoder_pool import DecoderPool
from tests.conftest import painted

BASE = "/v1/collections/default"


@pytest.fixture(scope="module")
def album(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("album")
    photos = folder / "photos"
    photos.mkdir()
    for number in range(8):
        painted(number, (320, 240)).save(photos / f"{number}.png")
    (photos / "0 again.png").write_bytes((photos / "0.png").read_bytes())
    painted(1, (320, 240)).save(photos / "1 small.jpg", quality=70)
    with pytest.raises(SystemExit):
        main(["--store", str(folder / "store"), "--progress", "none", "index", str(photos)])
    return folder


@pytest.fixture(scope="module")
def client(album: Path) -> Iterator[TestClient]:
    with (
        Workspace(album / "store") as workspace,
        DecoderPool(BUILTIN_PREPARATION, children=1) as pool,
        TestClient(
            create_app(Parts(workspace, Thumbnails(pool), Readiness(workspace), ("testserver",))),
            raise_server_exceptions=False,
        ) as made,
    ):
        while made.get("/readyz").status_code == 503:
            pass
        yield made


def upload(client: TestClient, data: bytes, **fields: str) -> Response:
    return client.post(f"{BASE}/search", files={"image": ("query.png", data)}, data=fields)


def problem(answer: Response) -> dict[str, Any]:
    assert answer.headers["content-type"] == "application/problem+json"
    shape = answer.json()
    assert shape["status"] == answer.status_code
    assert {"type", "title", "status", "detail"} <= set(shape)
    return dict(shape)
