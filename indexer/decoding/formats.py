"""Which image format a file holds, told from its bytes alone.

Owns the signatures and suffixes of the formats Lookalike decodes and of those it only recognises, and the structural
test that tells a cut file from a damaged one. Imports nothing but the standard library: the folder walker calls it once
per file. Layouts follow the formats' own specifications (JPEG T.81, PNG, GIF89a, TIFF 6, RIFF, ISO 14496-12 boxes).
"""

import struct
from typing import Final

SNIFF_BYTES: Final = 32  # all that `sniff` needs of a file
UNSUPPORTED: Final = "unsupported:"  # prefix of a name that `sniff` recognises and `decode` refuses

FORMATS: Final = frozenset({"jpeg", "png", "webp", "gif", "bmp", "tiff", "avif", "heic"})

_DECODED = ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .avif .heic .heif .hif"
_RAW = (
    ".3fr .ari .arw .cr2 .cr3 .crw .dcr .dng .erf .fff .iiq .k25 .kdc .mef .mos .mrw .nef .nrw .orf .pef .raf .raw"
    " .rw2 .rwl .sr2 .srf .srw .x3f"
)
_RECOGNISED = (
    ".ai .cur .dds .djvu .emf .eps .exr .fits .fpx .hdr .icns .ico .j2k .jp2 .jpf .jpx .jxl .jxr .pbm .pcx .pdf .pgm"
    " .pnm .ppm .ps .psb .psd .qoi .svg .svgz .tga .wdp .wmf .xcf"
)
IMAGE_SUFFIXES: Final = frozenset(_DECODED.split())
RAW_SUFFIXES: Final = frozenset(_RAW.split())
RAW_FORMATS: Final = frozenset({"cr2", "cr3", "crw", "mrw", "orf", "raf", "rw2", "x3f"})  # that `sniff` tells apart
UNSUPPORTED_SUFFIXES: Final = RAW_SUFFIXES | frozenset(_RECOGNISED.split())  # pictures, but not for `decode`

_PREFIXES: Final = (
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"8BPS", UNSUPPORTED + "psd"),
    (b"%PDF-", UNSUPPORTED + "pdf"),
    (b"%!PS", UNSUPPORTED + "eps"),
    (b"\xc5\xd0\xd3\xc6", UNSUPPORTED + "eps"),
    (b"\x00\x00\x00\x0cjP  \r\n\x87\n", UNSUPPORTED + "jp2"),
    (b"\xff\x4f\xff\x51", UNSUPPORTED + "jp2"),
    (b"\x00\x00\x00\x0cJXL \r\n\x87\n", UNSUPPORTED + "jxl"),
    (b"\xff\x0a", UNSUPPORTED + "jxl"),
    (b"\x00\x00\x01\x00", UNSUPPORTED + "ico"),
    (b"\x00\x00\x02\x00", UNSUPPORTED + "cur"),
    (b"SIMPLE  =", UNSUPPORTED + "fits"),
    (b"qoif", UNSUPPORTED + "qoi"),
    (b"DDS ", UNSUPPORTED + "dds"),
    (b"icns", UNSUPPORTED + "icns"),
    (b"gimp xcf", UNSUPPORTED + "xcf"),
    (b"\x76\x2f\x31\x01", UNSUPPORTED + "exr"),
    (b"#?RADIANCE", UNSUPPORTED + "hdr"),
    (b"#?RGBE", UNSUPPORTED + "hdr"),
    (b"AT&TFORM", UNSUPPORTED + "djvu"),
    (b"\xd7\xcd\xc6\x9a", UNSUPPORTED + "wmf"),
    (b"\x8aMNG", UNSUPPORTED + "mng"),
    (b"\x8bJNG", UNSUPPORTED + "jng"),
    (b"II\xbc\x01", UNSUPPORTED + "jxr"),
    (b"IIRO", UNSUPPORTED + "orf"),
    (b"IIRS", UNSUPPORTED + "orf"),
    (b"MMOR", UNSUPPORTED + "orf"),
    (b"IIU\x00", UNSUPPORTED + "rw2"),
    (b"FUJIFILMCCD-RAW", UNSUPPORTED + "raf"),
    (b"FOVb", UNSUPPORTED + "x3f"),
    (b"\x00MRM", UNSUPPORTED + "mrw"),
    (b"II\x1a\x00\x00\x00HEAPCCDR", UNSUPPORTED + "crw"),
)
_TIFF_PREFIXES: Final = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_HEIC_BRANDS: Final = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"})
_AVIF_BRANDS: Final = frozenset({b"avif", b"avis"})
_CONTAINER_BRANDS: Final = frozenset({b"mif1", b"msf1"})  # HEIF with any codec inside
_BMP_HEADER_BYTES: Final = frozenset({12, 16, 40, 52, 56, 64, 108, 124})  # one per version of the format


def sniff(head: bytes) -> str | None:
    """Return the format that a file's first bytes announce; None when they announce no picture.

    One of FORMATS, or UNSUPPORTED + a name for a picture outside the allow-list ("unsupported:psd"). SNIFF_BYTES bytes
    are enough; with more of them an SVG behind a long XML declaration is recognised too. Raw photographs that are TIFF
    files inside (NEF, ARW, DNG) say "tiff" here: their suffix (RAW_SUFFIXES) or `decode` tells them apart.
    """
    if head.startswith(b"\xff\xd8") and head[2:3] in (b"\xff", b""):
        return "jpeg"
    for prefix, name in _PREFIXES:
        if head.startswith(prefix):
            return name
    if head.startswith(_TIFF_PREFIXES):
        return UNSUPPORTED + "cr2" if head[8:10] == b"CR" else "tiff"
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "webp"
    if head[4:8] == b"ftyp":
        return _sniff_brand(head)
    return _sniff_text(head)


def is_supported(name: str | None) -> bool:
    """Return whether `sniff` named a format that `decode` decodes."""
    return name in FORMATS


def _sniff_brand(head: bytes) -> str | None:
    """Tell HEIC from AVIF by the brands of the `ftyp` box; a video has other brands."""
    major = head[8:12]
    if major in _AVIF_BRANDS:
        return "avif"
    if major in _HEIC_BRANDS:
        return "heic"
    if major in _CONTAINER_BRANDS:
        compatible = {head[at : at + 4] for at in range(16, len(head) - 3, 4)}
        return "avif" if compatible & _AVIF_BRANDS else "heic"
    return UNSUPPORTED + "cr3" if major == b"crx " else None


def _sniff_text(head: bytes) -> str | None:
    """Recognise the formats whose signature is weak: each needs a second fact beside its first letters."""
    if head[:2] == b"BM" and head[14:18] and int.from_bytes(head[14:18], "little") in _BMP_HEADER_BYTES:
        return "bmp"
    if head[:1] == b"P" and head[1:2] in b"1234567" and head[2:3] in (b" ", b"\t", b"\r", b"\n"):
        return UNSUPPORTED + "ppm"
    start = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(b"<svg") or (start.startswith(b"<?xml") and b"<svg" in start):
        return UNSUPPORTED + "svg"
    return None


def ends_early(name: str, data: bytes) -> bool:
    """Return whether the file stops before its own structure says it should.

    For a file that its decoder has already refused: tells "truncated" from "corrupt". A wrong length field looks like
    a cut file; nothing in the bytes can tell the two apart.
    """
    walk = {
        "jpeg": _jpeg_ends_early,
        "png": _png_ends_early,
        "gif": _gif_ends_early,
        "tiff": _tiff_ends_early,
        "avif": _boxes_end_early,
        "heic": _boxes_end_early,
    }.get(name)
    try:
        if walk is not None:
            return walk(data)
        # BMP and RIFF (WebP) state the length of the whole file near its start; RIFF leaves out its first 8 bytes.
        at, unsaid = (2, 0) if name == "bmp" else (4, 8)
        return _u32(data, at) + unsaid > len(data)
    except (struct.error, IndexError):
        return True  # the walk itself ran past the end


def _u32(data: bytes, at: int) -> int:
    return int(struct.unpack_from("<I", data, at)[0])


def _jpeg_ends_early(data: bytes) -> bool:
    """Whether no end marker follows the start of the scan (an EXIF thumbnail before it has its own)."""
    marker_start, start_of_scan, at = 0xFF, 0xDA, 2
    while True:
        if data[at] != marker_start:
            return False
        marker, length = data[at + 1], int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == start_of_scan or at + 2 + length > len(data):
            return data.find(b"\xff\xd9", at) < 0
        at += 2 + max(length, 2)


def _png_ends_early(data: bytes) -> bool:
    """Whether a chunk runs past the end, or the chunks stop without IEND."""
    at = 8
    while True:
        length, kind = struct.unpack_from(">I4s", data, at)
        at += 12 + length  # length, kind and checksum take 4 bytes each
        if at > len(data):
            return True
        if kind == b"IEND":
            return False


def _gif_ends_early(data: bytes) -> bool:
    """Whether the blocks stop without the trailer."""
    extension, picture = 0x21, 0x2C
    at = 13 + _gif_colours_bytes(data[10])
    while True:
        kind = data[at]
        if kind == extension:
            at += 2
        elif kind == picture:
            at += 11 + _gif_colours_bytes(data[at + 9])
        else:
            return False  # the trailer, or nonsense
        while data[at]:  # sub-blocks: a length, then that many bytes; length 0 ends them
            at += 1 + data[at]
        at += 1


def _gif_colours_bytes(flags: int) -> int:
    return 3 << ((flags & 7) + 1) if flags & 0x80 else 0


def _tiff_ends_early(data: bytes) -> bool:
    """Whether the first directory, or a strip or tile that it points to, lies past the end."""
    if data[2:4] in (b"+\x00", b"\x00+"):
        return False  # BigTIFF is laid out differently, and rare enough to be called corrupt
    order = "<" if data[:2] == b"II" else ">"
    (directory_at,) = struct.unpack_from(order + "I", data, 4)
    (entries,) = struct.unpack_from(order + "H", data, directory_at)
    found = dict(_tiff_numbers(data, order, directory_at + 2 + 12 * entry) for entry in range(entries))
    offsets = found.get(273, ()) + found.get(324, ())  # of the strips, of the tiles
    lengths = found.get(279, ()) + found.get(325, ())
    return any(start + length > len(data) for start, length in zip(offsets, lengths, strict=False))


def _tiff_numbers(data: bytes, order: str, at: int) -> tuple[int, tuple[int, ...]]:
    """Read one directory entry: its tag and, where these are SHORT or LONG, its numbers."""
    in_entry_bytes = 4  # longer values lie elsewhere, and the entry holds their offset
    tag, kind, count = struct.unpack_from(order + "HHI", data, at)
    letter = {3: "H", 4: "I"}.get(kind)
    if letter is None:
        return tag, ()
    layout = f"{order}{count}{letter}"
    values_at = at + 8
    if struct.calcsize(layout) > in_entry_bytes:
        (values_at,) = struct.unpack_from(order + "I", data, values_at)
    return tag, struct.unpack_from(layout, data, values_at)


def _boxes_end_early(data: bytes) -> bool:
    """Whether a top-level box runs past the end, or the boxes stop before `meta` or `moov` described the picture."""
    at, described = 0, False
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        if length == 1:  # the true length follows in 64 bits
            (length,) = struct.unpack_from(">Q", data, at + 8)
        elif length == 0:  # up to the end of the file
            length = len(data) - at
        described = described or kind in (b"meta", b"moov")
        at += max(length, 8)
    return at > len(data) or not described
