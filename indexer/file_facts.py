"""What an image's file says beside its picture, told from its bytes: how it was compressed, what it was told about it.

Reads structures of the formats only (JPEG T.81 and JFIF, TIFF 6, PNG, RIFF), decodes nothing, and takes every file for
damaged until shown otherwise: what cannot be read counts as absent.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

LOSSLESS: Final = 100
_SOI, _APP1, _APP13, _DQT, _SOS, _EOI = 0xD8, 0xE1, 0xED, 0xDB, 0xDA, 0xD9
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_EXIF: Final = b"Exif\0\0"
_XMP: Final = b"http://ns.adobe.com/xap/1.0/\0"
_EXIF_DIRECTORY, _GPS_DIRECTORY = 0x8769, 0x8825
# What a first directory says of the picture: title, camera, moment, author, rating, XMP, IPTC, rights, Windows' titles.
# All else there tells how the file is made, as every TIFF does, or what wrote it last.
_TELLING: Final = frozenset({
    0x010E, 0x010F, 0x0110, 0x0132, 0x013B, 0x02BC, 0x4746, 0x4749, 0x83BB, 0x8298, *range(0x9C9B, 0x9CA0)
})  # fmt: skip
# And what directories of EXIF and GPS have of that kind: versions, components, colour space, sizes, interoperability.
_STRUCTURE: Final = {
    _EXIF_DIRECTORY: frozenset({0x9000, 0x9101, 0x9102, 0xA000, 0xA001, 0xA002, 0xA003, 0xA005}),
    _GPS_DIRECTORY: frozenset({0x0000}),
}
_IPTC: Final = b"8BIM\x04\x04"  # among what Photoshop keeps
_TEXTS: Final = frozenset({
    b"title", b"author", b"description", b"copyright", b"creation time", b"disclaimer", b"source", b"comment",
    b"xml:com.adobe.xmp", b"raw profile type exif", b"raw profile type iptc", b"raw profile type xmp",
    b"raw profile type app1",
})  # fmt: skip
_MOST_ENTRIES: Final = 1_000
_ENTRY_BYTES: Final = 12
# The luminance table of T.81, annex K, in zigzag order: what libjpeg scales by the quality.
_STANDARD: Final = np.array(
    [16, 11, 12, 14, 12, 10, 16, 14, 13, 14, 18, 17, 16, 19, 24, 40, 26, 24, 22, 22, 24, 49, 35, 37, 29, 40, 58, 51,
     61, 60, 57, 51, 56, 55, 64, 72, 92, 78, 64, 68, 87, 69, 55, 56, 80, 109, 81, 87, 95, 98, 103, 104, 103, 62, 77,
     113, 121, 112, 100, 120, 92, 101, 103, 99], np.float64)  # fmt: skip
_PALETTE: Final = 3  # of PNG's colour types


@dataclass(frozen=True, slots=True)
class FileFacts:
    """quality: of the compression, 1 to 100 as libjpeg counts, None where unknown. lossless: the format loses nothing
    and no palette took colours away. tags: what the file's metadata says of the picture: entries of EXIF and GPS, IPTC,
    XMP, titles and authors; not how the file is made.
    """

    quality: int | None
    lossless: bool
    tags: int


def file_facts(data: bytes) -> FileFacts:
    """Return what a file says of itself; nothing of formats that are not known here."""
    if data[:2] == b"\xff\xd8":
        return _of_jpeg(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return _of_png(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return _of_webp(data)
    if data[:4] in (b"II*\0", b"MM\0*"):
        return FileFacts(LOSSLESS, lossless=True, tags=entries_of_tiff(data))
    if data[:2] == b"BM":
        return FileFacts(LOSSLESS, lossless=True, tags=0)
    return FileFacts(None, lossless=False, tags=0)


def quality_of(table: NDArray[np.float64]) -> int:
    """Return the quality at which libjpeg makes a luminance table most like this one. table: (64,), zigzag."""
    percent = float(np.median(100 * table / _STANDARD))
    if percent <= 1:
        return LOSSLESS
    quality = (200 - percent) / 2 if percent <= LOSSLESS else 5000 / percent
    return int(min(LOSSLESS, max(1, round(quality))))


def entries_of_tiff(data: bytes) -> int:
    """Return how many entries of TIFF data, in its first directory and in EXIF and GPS below, tell of the picture."""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None or len(data) < 8:  # noqa: PLR2004
        return 0
    (start,) = struct.unpack_from(order + "I", data, 4)
    waiting, seen, entries = [(0, start)], set[int](), 0
    while waiting and entries < _MOST_ENTRIES:
        kind, place = waiting.pop()
        if place in seen or place + 2 > len(data):
            continue
        seen.add(place)
        (count,) = struct.unpack_from(order + "H", data, place)
        for entry in range(min(count, _MOST_ENTRIES)):
            at = place + 2 + entry * _ENTRY_BYTES
            if at + _ENTRY_BYTES > len(data):
                break
            tag, _, _, value = struct.unpack_from(order + "HHII", data, at)
            entries += tag not in _STRUCTURE[kind] if kind else tag in _TELLING
            if not kind and tag in _STRUCTURE:
                waiting.append((tag, value))
    return entries


def _of_jpeg(data: bytes) -> FileFacts:
    table, tags = None, 0
    for marker, body in _segments(data):
        if marker == _DQT and table is None:
            table = _first_table(body)
        elif marker == _APP1 and body.startswith(_EXIF):
            tags += entries_of_tiff(body[len(_EXIF) :])
        elif (marker == _APP1 and body.startswith(_XMP)) or (marker == _APP13 and _IPTC in body):
            tags += 1
    return FileFacts(None if table is None else quality_of(table), lossless=False, tags=tags)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the segments of a JPEG up to its first scan."""
    place = 2
    while place + 4 <= len(data) and data[place] == 0xFF:  # noqa: PLR2004
        marker = data[place + 1]
        if marker in (_SOS, _EOI):
            return
        if marker in _WITHOUT_LENGTH or marker == 0xFF:  # noqa: PLR2004
            place += 1 if marker == 0xFF else 2  # noqa: PLR2004
            continue
        length = int.from_bytes(data[place + 2 : place + 4], "big")
        yield marker, data[place + 4 : place + 2 + length]
        place += 2 + max(2, length)


def _first_table(body: bytes) -> NDArray[np.float64] | None:
    """Return the first quantisation table of a DQT segment, that of luminance, in zigzag order."""
    if not body:
        return None
    wide = body[0] >> 4 == 1
    values = body[1 : 129 if wide else 65]
    table = np.frombuffer(values, ">u2" if wide else np.uint8)
    return table.astype(np.float64) if len(table) == len(_STANDARD) else None


def _of_png(data: bytes) -> FileFacts:
    place, tags, colours = 8, 0, data[25:26]
    while place + 8 <= len(data):
        length, name = int.from_bytes(data[place : place + 4], "big"), data[place + 4 : place + 8]
        if name == b"eXIf":
            tags += entries_of_tiff(data[place + 8 : place + 8 + length])
        elif name in (b"tEXt", b"iTXt", b"zTXt"):
            keyword = data[place + 8 : place + 8 + length].partition(b"\0")[0].lower()
            tags += keyword in _TEXTS
        elif name == b"IEND":
            break
        place += 12 + length
    few = colours == bytes([_PALETTE])
    return FileFacts(None if few else LOSSLESS, lossless=not few, tags=tags)


def _of_webp(data: bytes) -> FileFacts:
    place, tags, lossless = 12, 0, False
    while place + 8 <= len(data):
        name, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        body = data[place + 8 : place + 8 + length]
        lossless |= name == b"VP8L"
        if name == b"EXIF":
            tags += entries_of_tiff(body.removeprefix(_EXIF))
        tags += name == b"XMP "
        place += 8 + length + length % 2
    return FileFacts(LOSSLESS if lossless else None, lossless=lossless, tags=tags)
