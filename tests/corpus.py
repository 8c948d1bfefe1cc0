"""Malformed and unusual picture files, made from scratch, each with what must happen to it.

CASES is the contract: one row per file, "accept" or the ledger reason. The numbers are those of the corpus that the
decoder was first studied with. Also here: `decode_with_traps`, a decoder that misbehaves on demand, for the pool.
"""

import functools
import io
import os
import signal
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from indexer.decoding.decode import DecodedImage, DecodeLimits, decode
from search.errors import BadImage

WIDTH, HEIGHT = 64, 48
KINDS = ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF"]
NEF = {254: 1, 330: 8}
BAD_TABLE = b"\xff\xdb\x00\x43\x0f"  # a quantisation table of 67 bytes, number 15: there are 4


def noise(channels: int = 3) -> NDArray[np.uint8]:
    """A picture no codec can shorten: (48, 64, channels) uint8."""
    return np.random.default_rng(7).integers(0, 256, (HEIGHT, WIDTH, channels), np.uint8)


def smooth() -> NDArray[np.uint8]:
    """A picture that lossy codecs keep well: red grows to the right, green downwards."""
    ramp = np.linspace(40, 215, 64, dtype=np.uint8)
    return np.stack([np.tile(ramp, (64, 1)), np.tile(ramp[:, None], (1, 64)), np.full((64, 64), 90, np.uint8)], axis=-1)


def encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    if kind == "HEIF":
        import pillow_heif

        pillow_heif.register_heif_opener()
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@functools.cache
def plain(kind: str) -> bytes:
    """The noise picture as an undamaged file."""
    return encode(Image.fromarray(noise()), kind)


def patched(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


def png(*chunks: tuple[bytes, bytes], header: tuple[int, int, int, int] = (WIDTH, HEIGHT, 8, 2)) -> bytes:
    """A PNG of these chunks after IHDR (width, height, bit depth, colour type), IEND at the end."""
    first = (b"IHDR", struct.pack(">IIBBBBB", *header, 0, 0, 0))
    parts = [b"\x89PNG\r\n\x1a\n"]
    for kind, body in (first, *chunks, (b"IEND", b"")):
        parts.append(struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)))
    return b"".join(parts)


def idat(width: int, height: int, bits: int = 8, channels: int = 3) -> tuple[bytes, bytes]:
    """Black pixels of this size."""
    return b"IDAT", zlib.compress((b"\0" + bytes((width * bits * channels + 7) // 8)) * height)


def jpeg_size(width: int, height: int) -> bytes:
    """The plain JPEG, with another size in its header."""
    data = plain("JPEG")
    return patched(data, data.index(b"\xff\xc0") + 5, struct.pack(">HH", height, width))


def scan_at(share: float) -> int:
    """The place where this share of the plain JPEG's scan is over."""
    data = plain("JPEG")
    start = data.index(b"\xff\xda")
    return start + int((len(data) - start) * share)


def pixels_at(kind: str) -> int:
    return plain(kind).index(b"mdat") + 4


def jpeg_with(marker: bytes, body: bytes, times: int = 1) -> bytes:
    segment = marker + struct.pack(">H", len(body) + 2) + body
    return plain("JPEG")[:2] + segment * times + plain("JPEG")[2:]


def exif(orientation: int, next_directory: int = 0) -> bytes:
    entry = struct.pack("<HHIHH", 274, 3, 1, orientation, 0)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 1) + entry + struct.pack("<I", next_directory)


def tiff_of(array: NDArray[Any], tags: dict[int, int] | None = None) -> bytes:
    return encode(Image.fromarray(array), "TIFF", tiffinfo=tags or {})


def tiff(
    samples: bytes, *, width: int, bits: int, order: str = "<", photometric: int = 1, extra: int | None = None
) -> bytes:
    """An uncompressed grey TIFF of one row; `extra` names the kind of a second sample per pixel."""
    per_pixel = 1 if extra is None else 2
    depth = struct.pack(f"{order}HH", bits, bits if per_pixel == 2 else 0)
    inline = {256: width, 257: 1, 259: 1, 262: photometric, 273: 8, 277: per_pixel, 278: 1, 279: len(samples)}
    entries = {tag: struct.pack(f"{order}HHIHH", tag, 3, 1, value, 0) for tag, value in inline.items()}
    entries[258] = struct.pack(f"{order}HHI", 258, 3, per_pixel) + depth
    if extra is not None:
        entries[338] = struct.pack(f"{order}HHIHH", 338, 3, 1, extra, 0)
    samples += bytes(len(samples) % 2)
    start = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(samples))
    body = b"".join(entries[tag] for tag in sorted(entries))
    return start + samples + struct.pack(f"{order}H", len(entries)) + body + bytes(4)


def ink_profile(paper: tuple[int, int, int], ink: tuple[int, int, int]) -> bytes:
    """The smallest CMYK profile: a table of 16 corners in 8-bit Lab, `paper` where there is no ink, else `ink`."""
    corners = bytes(paper) + bytes(ink) * 15
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    line = bytes(range(256))
    table = b"mft1" + bytes(4) + bytes([4, 3, 2, 0]) + identity + line * 4 + corners + line * 3
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)
    text = b"text" + bytes(4) + b"test\0\0\0\0"
    tags, body, at = b"", b"", 128 + 4 + 12 * 4
    for name, part in ((b"A2B0", table), (b"wtpt", white), (b"cprt", text), (b"desc", text)):
        tags += name + struct.pack(">II", at + len(body), len(part))
        body += part + bytes(-len(part) % 4)
    size = at + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, b"prtr", b"CMYK", b"Lab ") + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">3i", 63190, 65536, 54061)
    return head.ljust(128, b"\0") + struct.pack(">I", 4) + tags + body


def frames(kind: str, count: int) -> bytes:
    pictures = [Image.fromarray(np.roll(noise(), shift, 1)) for shift in range(count)]
    return encode(pictures[0], kind, save_all=True, append_images=pictures[1:])


def pages_in_a_circle() -> bytes:
    """A TIFF whose first directory names itself as the next."""
    data = plain("TIFF")
    (directory,) = struct.unpack_from("<I", data, 4)
    (entries,) = struct.unpack_from("<H", data, directory)
    return patched(data, directory + 2 + 12 * entries, struct.pack("<I", directory))


def half(kind: str) -> bytes:
    return plain(kind)[: len(plain(kind)) // 2]


def bmp_size(width: int, height: int) -> bytes:
    return patched(plain("BMP"), 18, struct.pack("<ii", width, height))


def palette(transparency: bytes | int) -> bytes:
    image = Image.fromarray(noise()[..., 0]).convert("P")
    return encode(image, "PNG", transparency=transparency)


CASES: list[tuple[str, str, Callable[[], bytes]]] = [
    # not a picture
    ("01 no bytes at all", "empty", lambda: b""),
    ("02 one byte", "not_an_image", lambda: b"\xff"),
    ("03 text named .jpg", "not_an_image", lambda: b"Dear Sir or Madam,\n" * 50),
    ("04 the HTML of a 404 page", "not_an_image", lambda: b"<!DOCTYPE html><html><title>404</title></html>"),
    ("65 MP4 header", "not_an_image", lambda: b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom" + bytes(100)),
    # a picture of a format that is not decoded
    ("55 SVG with a script", "unsupported_format", lambda: b"<?xml version='1.0'?>\n<svg><script/></svg>"),
    ("56 EPS", "unsupported_format", lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"),
    ("57 PPM", "unsupported_format", lambda: b"P6\n100 100\n255\n" + bytes(30)),
    ("58 PPM with a width of 400 digits", "unsupported_format", lambda: b"P6\n" + b"9" * 400 + b" 1\n255\n"),
    ("59 ICO cut at 60 bytes", "unsupported_format", lambda: plain("ICO")[:60]),
    ("60 QOI header", "unsupported_format", lambda: b"qoif" + struct.pack(">IIBB", 1, 220, 3, 0)),
    ("61 JPEG 2000", "unsupported_format", lambda: b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100)),
    ("63 PSD", "unsupported_format", lambda: b"8BPS\0\1" + bytes(100)),
    ("64 FITS", "unsupported_format", lambda: b"SIMPLE  =                    T" + b" " * 100),
    ("71 PDF", "unsupported_format", lambda: b"%PDF-1.7\n"),
    ("72 CR2", "unsupported_format", lambda: b"II*\0\x10\0\0\0CR\2\0" + bytes(100)),
    ("73 DNG", "unsupported_format", lambda: tiff_of(noise(), {50706: 1})),
    ("74 NEF: first a preview (254) of a page elsewhere (330)", "unsupported_format", lambda: tiff_of(noise(), NEF)),
    # JPEG
    ("05 JPEG, its first two bytes", "truncated", lambda: b"\xff\xd8"),
    ("06 JPEG, first half", "truncated", lambda: half("JPEG")),
    ("07 JPEG without its last two bytes", "truncated", lambda: plain("JPEG")[:-2]),
    ("08 JPEG, its first 40 bytes", "truncated", lambda: plain("JPEG")[:40]),
    ("09 JPEG, second half zeroed", "accept", lambda: patched(plain("JPEG"), scan_at(0.5), bytes(1200))),
    ("10 JPEG, 20 bytes of the scan overwritten", "accept", lambda: patched(plain("JPEG"), scan_at(0.4), b"U" * 20)),
    (
        "80 JPEG with a table cut short inside its scan",
        "corrupt",
        lambda: patched(plain("JPEG"), scan_at(0.4), BAD_TABLE),
    ),
    ("11 JPEG header of 65500 x 65500", "too_many_pixels", lambda: jpeg_size(65500, 65500)),
    ("12 JPEG header of 0 x 0", "corrupt", lambda: jpeg_size(0, 0)),
    ("13 JPEG header larger than its scan", "accept", lambda: jpeg_size(640, 480)),
    ("14 JPEG that is a ZIP too", "accept", lambda: plain("JPEG") + b"PK\5\6" + bytes(18)),
    ("34 JPEG in CMYK", "accept", lambda: encode(Image.fromarray(noise()).convert("CMYK"), "JPEG")),
    ("35 JPEG in grey", "accept", lambda: encode(Image.fromarray(noise()[..., 0]), "JPEG")),
    ("36 JPEG with a nonsense colour profile", "accept", lambda: encode(cmyk(), "JPEG", icc_profile=noise().tobytes())),
    ("37 JPEG lying on its side", "accept", lambda: jpeg_with(b"\xff\xe1", exif(6))),
    ("38 JPEG with orientation 99", "accept", lambda: jpeg_with(b"\xff\xe1", exif(99))),
    ("39 JPEG with nonsense EXIF", "accept", lambda: jpeg_with(b"\xff\xe1", b"Exif\0\0" + noise().tobytes()[:5000])),
    (
        "40 JPEG whose EXIF directory follows itself",
        "accept",
        lambda: jpeg_with(b"\xff\xe1", exif(1, next_directory=8)),
    ),
    ("41 JPEG with 13 MB of metadata", "accept", lambda: jpeg_with(b"\xff\xe1", bytes(65533), times=200)),
    ("66 JPEG, all black", "accept", lambda: encode(Image.new("RGB", (64, 48)), "JPEG")),
    # PNG
    ("15 PNG, first half", "truncated", lambda: half("PNG")),
    ("16 PNG with a wrong header checksum", "corrupt", lambda: patched(plain("PNG"), 29, b"\0\0\0\0")),
    ("17 PNG with wrong pixel bytes", "corrupt", lambda: patched(plain("PNG"), 1000, b"\xa5" * 40)),
    ("18 PNG whose pixels are not zlib", "corrupt", lambda: png((b"IDAT", b"this is not zlib"))),
    ("19 PNG without pixels", "corrupt", png),
    ("20 PNG header of 30000 x 30000", "too_many_pixels", lambda: png(idat(1, 1), header=(30000, 30000, 8, 2))),
    ("21 PNG of 13000 x 13000 real pixels", "too_many_pixels", lambda: one_bit(13000)),
    ("23 PNG with a text that unpacks to 8 MB", "corrupt", lambda: png((b"zTXt", unpacks()), idat(WIDTH, HEIGHT))),
    ("24 PNG with a profile that unpacks to 8 MB", "corrupt", lambda: png((b"iCCP", unpacks()), idat(WIDTH, HEIGHT))),
    ("25 PNG with 5000 texts", "accept", lambda: png(*[(b"tEXt", b"key\0word")] * 5000, idat(WIDTH, HEIGHT))),
    ("26 PNG with a chunk of 2 GB", "truncated", lambda: patched(png((b"tEXt", b"a\0b")), 33, b"\x7f\xff\xff\xff")),
    ("27 PNG in 16-bit grey", "accept", lambda: encode(Image.fromarray(noise()[..., 0].astype(np.uint16)), "PNG")),
    ("28 PNG with one bit", "accept", lambda: encode(Image.fromarray(noise()[..., 0]).convert("1"), "PNG")),
    ("29 PNG with a palette and transparency", "accept", lambda: palette(b"\x80" * 9)),
    ("30 PNG in grey with alpha", "accept", lambda: encode(Image.fromarray(noise(2)), "PNG")),
    ("31 PNG, wholly transparent", "accept", lambda: encode(Image.new("RGBA", (64, 48)), "PNG")),
    ("32 PNG of one pixel", "accept", lambda: encode(Image.new("RGB", (1, 1)), "PNG")),
    ("33 PNG of 1 x 65535", "accept", lambda: encode(Image.new("RGB", (1, 65535)), "PNG")),
    ("67 PNG, all white", "accept", lambda: encode(Image.new("RGB", (64, 48), "white"), "PNG")),
    # GIF and WebP
    ("42 GIF, first half", "truncated", lambda: half("GIF")),
    ("43 GIF with 30 frames", "accept", lambda: frames("GIF", 30)),
    ("44 GIF canvas of 65535 x 65535", "too_many_pixels", lambda: patched(plain("GIF"), 6, b"\xff" * 4)),
    ("45 GIF canvas of 0 x 0: its frame counts", "accept", lambda: patched(plain("GIF"), 6, bytes(4))),
    ("46 WebP, first half", "truncated", lambda: half("WEBP")),
    ("47 WebP that claims 4 GB", "truncated", lambda: patched(plain("WEBP"), 4, b"\xf0\xff\xff\xff")),
    ("48 animated WebP", "accept", lambda: frames("WEBP", 3)),
    # TIFF and BMP
    ("49 TIFF named .png: names do not matter", "accept", lambda: plain("TIFF")),
    ("50 TIFF with 6 pages", "accept", lambda: frames("TIFF", 6)),
    ("51 TIFF whose pages go in a circle", "accept", pages_in_a_circle),
    ("68 TIFF in floats, some not numbers", "accept", lambda: tiff_of(with_nan())),
    ("69 TIFF in 32-bit integers", "accept", lambda: tiff_of(noise()[..., 0].astype(np.int32) * 70000)),
    ("70 TIFF in LAB", "accept", lambda: encode(Image.fromarray(noise()).convert("LAB"), "TIFF")),
    ("75 TIFF, first half", "truncated", lambda: half("TIFF")),
    ("76 TIFF of which no sample is a number", "corrupt", lambda: tiff_of(np.full((8, 8), np.nan, np.float32))),
    ("52 BMP of -5 x -5", "too_many_pixels", lambda: bmp_size(-5, -5)),
    ("53 BMP of 60000 x 60000", "too_many_pixels", lambda: bmp_size(60000, 60000)),
    ("54 BMP, first half", "truncated", lambda: half("BMP")),
    # HEIC and AVIF
    ("62 HEIC, only its first box", "truncated", lambda: b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"),
    ("77 HEIC, first half", "truncated", lambda: half("HEIF")),
    ("78 AVIF, first half", "truncated", lambda: half("AVIF")),
    ("79 AVIF whose pixels begin with zeros", "corrupt", lambda: patched(plain("AVIF"), pixels_at("AVIF"), bytes(60))),
    ("81 HEIC whose pixels begin with zeros", "corrupt", lambda: patched(plain("HEIF"), pixels_at("HEIF"), bytes(60))),
]


def cmyk() -> Image.Image:
    return Image.fromarray(noise()).convert("CMYK")


def one_bit(side: int) -> bytes:
    return png(idat(side, side, bits=1, channels=1), header=(side, side, 1, 0))


def unpacks() -> bytes:
    """The body of a zTXt or iCCP chunk: a keyword, a zero, the method 0, then 8 kB that unpack to 8 MB."""
    return b"key\0\0" + zlib.compress(bytes(8 << 20))


def with_nan() -> NDArray[np.float32]:
    samples = noise()[..., 0].astype(np.float32)
    samples[0, :3] = np.nan, np.inf, -np.inf
    return samples


def decode_with_traps(data: bytes, limits: DecodeLimits, *others: Any) -> DecodedImage:
    """Decode, unless the file says `TRAP what argument`. Runs in decoding children."""
    if not data.startswith(b"TRAP "):
        return decode(data, limits, *others)
    trap, _, argument = data.decode().removeprefix("TRAP ").partition(" ")
    if trap == "segfault" or (trap == "segfault-once" and not exists_by_now(argument)):
        os.kill(os.getpid(), signal.SIGSEGV)
    if trap == "exit":
        os._exit(3)
    if trap == "hang":
        time.sleep(float(argument))
    if trap == "allocate":
        hoard = [bytes(64 << 20) for _ in range(64)]  # 4 GB
        hoard.clear()
    if trap == "mistake":
        raise KeyError("colour")
    answers: dict[str, Iterable[str]] = {"modules": sys.modules, "environment": os.environ, "pid": [str(os.getpid())]}
    raise BadImage("corrupt", ",".join(answers.get(trap, ["sprung"])))


def exists_by_now(path: str) -> bool:
    """Whether the file was there; it is now."""
    there = Path(path).exists()
    Path(path).touch()
    return there
