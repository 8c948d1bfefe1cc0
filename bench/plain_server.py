"""What a competent engineer writes first: a FastAPI handler around FAISS flat. The peer of bench/serving.py.

    python -m bench.plain_server FOLDER PORT [--engine torch|prepared]

Embeddings lie in `rows.npy` and what answers say of images in `images.json`, both held in memory; handlers are plain
functions, which FastAPI runs in threads, where FAISS, Pillow and torch let other threads run. --engine torch: an upload
is opened by Pillow, reduced as the backbone wants it, and given to its network under `torch.inference_mode`. --engine
prepared: the same with the network as Lookalike prepares it.
"""

import argparse
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import faiss
import numpy as np
import uvicorn
from fastapi import FastAPI, Form, HTTPException, UploadFile
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel

from indexer.decoding.preparation import prepare

Rows = NDArray[np.float32]
Embed = Callable[[NDArray[np.uint8]], Rows]


class Query(BaseModel):
    id: int
    k: int = 10


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--engine", choices=("torch", "prepared"), default="torch")
    options = parser.parse_args()
    app = made(options.folder, torch_embed() if options.engine == "torch" else prepared_embed())
    uvicorn.run(app, host="127.0.0.1", port=options.port, log_level="warning")


def made(folder: Path, embed: Embed) -> FastAPI:
    rows = np.load(folder / "rows.npy").astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    images: list[dict[str, Any]] = json.loads((folder / "images.json").read_text())
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    app = FastAPI()

    def matches(query: Rows, k: int) -> dict[str, Any]:
        scores, found = index.search(query, k)
        return {
            "matches": [{**images[row], "score": float(score)} for row, score in zip(found[0], scores[0], strict=True)]
        }

    @app.post("/search")
    def search(query: Query) -> dict[str, Any]:
        if not 0 < query.id <= len(rows):
            raise HTTPException(404)
        return matches(rows[query.id - 1 : query.id], query.k)

    @app.post("/upload")
    def upload(image: UploadFile, k: Annotated[int, Form()] = 10) -> dict[str, Any]:
        with Image.open(io.BytesIO(image.file.read())) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        return matches(embed(pixels), k)

    return app


def torch_embed() -> Embed:
    import torch

    from indexer.backbones.backbones import BUILTIN_PREPARATION as PREPARATION
    from indexer.backbones.builtin import load_builtin

    network = load_builtin().eval()
    mean, std = (torch.tensor(each).view(3, 1, 1) for each in (PREPARATION.mean, PREPARATION.std))

    def embed(pixels: NDArray[np.uint8]) -> Rows:
        picture = torch.from_numpy(prepare(pixels, PREPARATION)).permute(2, 0, 1).float() / 255
        with torch.inference_mode():
            row: Rows = network(((picture - mean) / std)[None]).numpy()
        return row

    return embed


def prepared_embed() -> Embed:
    from indexer.backbones.backbones import load_backbone

    backbone, lock = load_backbone("builtin"), threading.Lock()

    def embed(pixels: NDArray[np.uint8]) -> Rows:
        with lock:
            return backbone.embed(prepare(pixels, backbone.preparation)[None])

    return embed


if __name__ == "__main__":
    main()
