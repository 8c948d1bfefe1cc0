"""A small collection to try Lookalike with, made from the photographs that ship inside installed libraries.

Nothing is downloaded: the pictures are those in the wheels of scikit-image, scikit-learn and matplotlib. About half of
them also appear as edited copies whose names say what was done, so that a search or a report can be judged by eye. The
bytes are the same every time, for the same version of Pillow.

    python -m bench.sample_collection FOLDER    makes FOLDER/photos (to index) and FOLDER/query (to search with)
"""

import argparse
import importlib.util
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

# Where an installed package keeps its pictures, and those taken from it.
SOURCES = {
    "skimage/data": "astronaut.png brick.png camera.png cell.png chelsea.png clock_motion.png coffee.png coins.png "
    "grass.png gravel.png hubble_deep_field.jpg ihc.png moon.png motorcycle_left.png page.png retina.jpg rocket.jpg "
    "text.png",
    "sklearn/datasets/images": "china.jpg flower.jpg",
    "matplotlib/mpl-data/sample_data": "grace_hopper.jpg",
}
# Photographs that their library ships as PNG; the other pictures are kept byte for byte.
AS_JPEG = ("astronaut.png", "chelsea.png", "coffee.png", "ihc.png", "motorcycle_left.png")
# What is done to which picture; EDITS, below, says how.
EDITED = {
    "astronaut.jpg": ("cropped", "recompressed"),
    "camera.png": ("mirrored",),
    "chelsea.jpg": ("captioned", "mirrored"),
    "china.jpg": ("as webp", "resized"),
    "coffee.jpg": ("cropped", "same pixels"),
    "flower.jpg": ("captioned", "recompressed"),
    "grace_hopper.jpg": ("mirrored", "resized"),
    "motorcycle_left.jpg": ("cropped", "resized"),
    "retina.jpg": ("recompressed",),
    "rocket.jpg": ("captioned", "resized"),
}
QUALITY = 92
EDITED_QUALITY = 70  # who edits a picture saves it again, and smaller
CROP_SIDE = 0.88  # of each side: a visible crop that leaves the subject whole
CAPTION = "seen on the internet"
NOTES = "This folder also holds a file that is no picture: an indexer should pass it by.\n"


@dataclass(frozen=True, slots=True)
class SampleCollection:
    """photos: the folder to index. query: a picture outside it, an edited astronaut. copies: files made of them."""

    photos: Path
    query: Path
    originals: int
    copies: int


def build(folder: Path, *, with_broken: bool = False) -> SampleCollection:
    """Write the sample collection below a folder and return where its parts are.

    Files of the same names are overwritten, others left alone. with_broken: add a JPEG that ends half way, which an
    indexer must report as failed.

    Raises:
        FileNotFoundError: a library that ships the pictures is not installed.
    """
    photos = folder / "photos"
    originals = _originals()
    for name, data in originals.items():
        _write(photos / name, data)
    for name, edits in EDITED.items():
        picture = Image.open(io.BytesIO(originals[name])).convert("RGB")
        for edit in edits:
            suffix, applied = EDITS[edit]
            _write(photos / "edited" / f"{Path(name).stem} ({edit}){suffix}", applied(picture))
    _write(photos / "notes.txt", NOTES.encode())
    if with_broken:
        _write(photos / "coffee (broken).jpg", originals["coffee.jpg"][: len(originals["coffee.jpg"]) // 2])
    query = folder / "query" / "astronaut-edited.jpg"
    _write(query, _query(Image.open(io.BytesIO(originals["astronaut.jpg"]))))
    return SampleCollection(photos, query, len(originals), sum(map(len, EDITED.values())))


def _originals() -> dict[str, bytes]:
    """Return the bytes of each original by its name in the collection."""
    found = {}
    for place, names in SOURCES.items():
        package, _, inside = place.partition("/")
        for name in names.split():
            data = (_package_folder(package) / inside / name).read_bytes()
            if name in AS_JPEG:
                found[f"{Path(name).stem}.jpg"] = _jpeg(Image.open(io.BytesIO(data)).convert("RGB"))
            else:
                found[name] = data
    return found


def _package_folder(package: str) -> Path:
    """Return where a package is installed, without importing it: scikit-image alone takes a second."""
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise FileNotFoundError(f"{package} is not installed, and its pictures are needed: run `make setup`")
    return Path(spec.submodule_search_locations[0])


def _recompressed(picture: Image.Image) -> bytes:
    return _jpeg(picture, 40)


def _resized(picture: Image.Image) -> bytes:
    return _jpeg(picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS))


def _cropped(picture: Image.Image) -> bytes:
    return _jpeg(_crop(picture, CROP_SIDE))


def _mirrored(picture: Image.Image) -> bytes:
    return _jpeg(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT), EDITED_QUALITY)


def _captioned(picture: Image.Image) -> bytes:
    """Write words on a white bar over the bottom of the picture."""
    bar = max(24, picture.height // 10)
    canvas = picture.convert("RGB")
    draw = ImageDraw.Draw(canvas)
    draw.rectangle((0, picture.height - bar, picture.width, picture.height), fill="white")
    centre = (picture.width / 2, picture.height - bar / 2)
    draw.text(centre, CAPTION, fill="black", font=ImageFont.load_default(size=bar * 0.6), anchor="mm")
    return _jpeg(canvas, EDITED_QUALITY)


def _webp(picture: Image.Image) -> bytes:
    return _encoded(picture, "WEBP", quality=80)


def _png(picture: Image.Image) -> bytes:
    return _encoded(picture, "PNG")


EDITS: dict[str, tuple[str, Callable[[Image.Image], bytes]]] = {
    "as webp": (".webp", _webp),
    "captioned": (".jpg", _captioned),
    "cropped": (".jpg", _cropped),
    "mirrored": (".jpg", _mirrored),
    "recompressed": (".jpg", _recompressed),
    "resized": (".jpg", _resized),
    "same pixels": (".png", _png),
}


def _query(picture: Image.Image) -> bytes:
    """Return what a stranger might send: cropped tighter than the copy in the collection, smaller, recompressed."""
    cropped = _crop(picture.convert("RGB"), 0.92)
    return _jpeg(cropped.resize((320, 320 * cropped.height // cropped.width), Image.Resampling.LANCZOS), 60)


def _crop(picture: Image.Image, side: float) -> Image.Image:
    """Keep this part of each side, a third of the rest cut off left and above: crops are rarely centred."""
    width, height = round(picture.width * side), round(picture.height * side)
    left, top = (picture.width - width) // 3, (picture.height - height) // 3
    return picture.crop((left, top, left + width, top + height))


def _jpeg(picture: Image.Image, quality: int = QUALITY) -> bytes:
    return _encoded(picture, "JPEG", quality=quality)


def _encoded(picture: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def main() -> None:
    """Build the collection in the folder named on the command line, and say in one line what there is."""
    parser = argparse.ArgumentParser(prog="python -m bench.sample_collection", description="Make a sample collection.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--with-broken", action="store_true", help="add a JPEG that ends half way")
    arguments = parser.parse_args()
    try:
        made = build(arguments.folder, with_broken=arguments.with_broken)
    except FileNotFoundError as error:
        sys.exit(f"sample_collection: {error}")
    print(f"{made.photos}: {made.originals} photographs and {made.copies} edited copies; search with {made.query}")


if __name__ == "__main__":
    main()
