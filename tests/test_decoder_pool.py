"""Decoding children: the same pictures as in this process, and a crash, a hang or a glut costs one file only."""

import io
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
from PIL import Image

from indexer.decoding.decode import DecodeLimits, decode
from indexer.decoding.decoder_pool import DecoderPool, PreparedImage, _keypoints_in
from indexer.decoding.preparation import Preparation, prepare
from search.errors import BadImage, LookalikeError, UsageError
from search.geometry.keypoints import Detail, Pixels, extract
from search.geometry.local_features import FEATURES
from tests.corpus import CASES, encode, exif, noise, plain
from tests.drawn_pictures import textured

PREPARATION = Preparation("full", 32, 24)
TRAPS = "tests.corpus:decode_with_traps"
REPOSITORY = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def pool() -> Iterator[DecoderPool]:
    """Two children that fall for traps, with limits a test can wait for."""
    with DecoderPool(PREPARATION, children=2, timeout_s=1.0, memory_bytes=512 << 20, decode_with=TRAPS) as opened:
        yield opened


def answer(pool: DecoderPool, trap: str) -> str:
    """What a trap says: the detail of its BadImage."""
    with pytest.raises(BadImage) as said:
        pool.decode(f"TRAP {trap}".encode(), trap)
    return said.value.detail


def children() -> set[int]:
    """Our child processes, zombies included."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it ended meanwhile
            continue
        if int(text.rpartition(")")[2].split()[1]) == os.getpid():
            found.add(int(stat.parent.name))
    return found


def eventually(true: Callable[[], bool], within_s: float = 5.0) -> bool:
    end = time.monotonic() + within_s
    while not true() and time.monotonic() < end:
        time.sleep(0.02)
    return true()


def facts(image: PreparedImage) -> tuple[Any, ...]:
    pixels = image.pixels.tobytes()
    return pixels, image.format, image.width, image.height, image.pixel_hash, image.perceptual_hash, image.contrast


def test_a_child_answers_what_this_process_would(pool: DecoderPool) -> None:
    here = decode(plain("JPEG"), DecodeLimits())
    there = pool.decode(plain("JPEG"), "a.jpg")
    assert np.array_equal(there.pixels, prepare(here.pixels, PREPARATION))
    assert there.pixels.shape == (32, 24, 3)
    for name in ("format", "width", "height", "pixel_hash", "perceptual_hash", "contrast", "taken_at"):
        assert getattr(there, name) == getattr(here, name)


def test_the_corpus_is_judged_as_the_table_says_and_leaves_its_neighbours_alone(pool: DecoderPool) -> None:
    alone = facts(pool.decode(plain("JPEG"), "good"))
    for name, expected, make in CASES:
        try:
            pool.decode(make(), name)
            outcome = "accept"
        except BadImage as bad:
            outcome = bad.reason
        assert (name, outcome) == (name, expected)
    assert facts(pool.decode(plain("JPEG"), "good")) == alone


@pytest.mark.parametrize(
    ("trap", "reason", "detail"),
    [
        ("segfault", "decoder_crashed", "its decoding child was killed by SIGSEGV, twice"),
        ("exit", "decoder_crashed", "its decoding child ended with exit code 3, twice"),
        ("mistake", "decoder_crashed", "KeyError('colour')"),
        ("hang 60", "decoder_timeout", "not decoded within 1 s"),
        ("allocate", "out_of_memory", "memory ran out while it was prepared"),
    ],
)
def test_a_deadly_file_costs_only_itself(pool: DecoderPool, trap: str, reason: str, detail: str) -> None:
    with pytest.raises(BadImage) as refusal:
        pool.decode(f"TRAP {trap}".encode(), trap)
    assert (refusal.value.reason, refusal.value.detail) == (reason, detail)
    assert pool.decode(plain("PNG"), "next").format == "png"


def test_a_file_larger_than_the_memory_of_a_child_is_refused_while_it_arrives() -> None:
    with DecoderPool(PREPARATION, children=1, memory_bytes=64 << 20) as small:
        with pytest.raises(BadImage, match="out_of_memory: the file alone"):
            small.decode(bytes(128 << 20), "huge")
        assert small.decode(plain("PNG"), "next").format == "png"


def test_a_picture_larger_than_the_memory_of_a_child_is_refused_by_its_decoder() -> None:
    with DecoderPool(PREPARATION, children=1, memory_bytes=64 << 20) as small:
        with pytest.raises(BadImage, match="out_of_memory"):
            small.decode(encode(Image.new("RGB", (6000, 6000)), "JPEG"), "large")
        assert small.decode(plain("PNG"), "next").format == "png"


def test_a_crash_is_tried_once_more_in_a_fresh_child(pool: DecoderPool, tmp_path: Path) -> None:
    assert answer(pool, f"segfault-once {tmp_path / 'crashed'}") == "sprung"


def test_the_log_names_a_file_before_it_is_decoded_and_when_it_kills(
    pool: DecoderPool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "indexer.decoding.decoder_pool")
    answer(pool, "segfault")
    levels = [(record.levelname, "segfault" in record.getMessage()) for record in caplog.records]
    assert levels == [("DEBUG", True), ("WARNING", True), ("WARNING", True)]


def test_many_threads_share_few_children(pool: DecoderPool) -> None:
    pictures = [encode(Image.new("L", (8, 8), level), "PNG") for level in range(64)]
    pictures[20] = b"TRAP segfault"
    pictures[40] = b"TRAP exit"

    def level(data: bytes) -> int | str:
        try:
            return int(pool.decode(data, "one of many").pixels[0, 0, 0])
        except BadImage as bad:
            return bad.reason

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(level, pictures))
    crashed = {20: "decoder_crashed", 40: "decoder_crashed"}
    assert found == [crashed.get(number, number) for number in range(64)]


def test_children_load_nothing_heavy_though_this_process_has(pool: DecoderPool) -> None:
    import torch

    assert torch.__name__ in sys.modules
    modules = set(answer(pool, "modules").split(","))
    assert {"numpy", "PIL", "indexer.decoding.decode"} < modules
    assert not {"torch", "timm", "faiss", "sqlalchemy", "pytest"} & modules


def test_children_know_no_secrets_and_use_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOOKALIKE_ADMIN_KEY", "lk_secret")
    with DecoderPool(PREPARATION, children=1, decode_with=TRAPS) as fresh:
        names = answer(fresh, "environment").split(",")
    assert "LOOKALIKE_ADMIN_KEY" not in names
    assert "OMP_NUM_THREADS" in names


def test_a_child_is_replaced_after_its_share_of_files() -> None:
    with DecoderPool(PREPARATION, children=1, recycle_after=2, decode_with=TRAPS) as recycling:
        first, second, third, fourth = (answer(recycling, "pid") for _ in range(4))
    assert first == second != third == fourth


def test_children_leave_signals_to_the_parent() -> None:
    with DecoderPool(PREPARATION, children=1, decode_with=TRAPS) as signalled:
        child = answer(signalled, "pid")
        os.kill(int(child), signal.SIGINT)
        os.kill(int(child), signal.SIGTERM)
        assert answer(signalled, "pid") == child


def test_an_interrupt_does_not_leave_an_answer_for_the_next_file() -> None:
    with DecoderPool(PREPARATION, children=1, decode_with=TRAPS) as interrupted:
        interrupted.decode(plain("PNG"), "start the child")
        threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
        with pytest.raises(KeyboardInterrupt):
            interrupted.decode(b"TRAP hang 0.6", "interrupted")
        time.sleep(0.5)
        assert interrupted.decode(plain("GIF"), "next").format == "gif"


def test_closing_leaves_no_process_behind() -> None:
    before = children()
    with DecoderPool(PREPARATION, children=2, timeout_s=0.3, decode_with=TRAPS) as closing:
        with ThreadPoolExecutor(2) as threads:
            list(threads.map(lambda kind: closing.decode(plain(kind), kind), ["PNG", "JPEG", "GIF", "BMP"]))
        answer(closing, "segfault")
        answer(closing, "hang 60")
        assert len(children() - before) in (1, 2)
    assert children() <= before


def test_closing_ends_the_work_of_other_threads_at_once() -> None:
    before = children()
    busy = DecoderPool(PREPARATION, children=1, decode_with=TRAPS)
    with ThreadPoolExecutor(3) as threads:
        waiting = [threads.submit(busy.decode, b"TRAP hang 60", "long") for _ in range(3)]  # one works, two wait
        assert eventually(lambda: bool(children() - before))
        time.sleep(0.3)
        start = time.monotonic()
        busy.close()
        assert all("closed" in str(future.exception(timeout=5)) for future in waiting)
        assert time.monotonic() - start < 2
    busy.close()
    assert children() <= before
    with pytest.raises(LookalikeError, match="closed"):
        busy.decode(plain("PNG"), "late")


# Whatever the main program is.

USE = """
import json, sys
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.preparation import Preparation
from search.errors import BadImage
with open({log!r}, "a") as log:
    log.write("main ")
import torch
with DecoderPool(Preparation("full", 8, 8), children=2, decode_with={traps!r}) as pool:
    try:
        pool.decode(b"TRAP modules", "x")
    except BadImage as said:
        print(json.dumps("torch" in said.detail.split(",")))
"""


@pytest.mark.parametrize("main", ["a script", "a module", "-c", "standard input"])
def test_children_never_import_the_main_program(tmp_path: Path, main: str) -> None:
    code = USE.format(log=str(tmp_path / "log"), traps=TRAPS)
    (tmp_path / "heavy.py").write_text(code)
    (tmp_path / "torch.py").write_text("")  # stands for the real one, which takes seconds
    arguments = {"a script": ["heavy.py"], "a module": ["-m", "heavy"], "-c": ["-c", code], "standard input": ["-"]}
    ran = subprocess.run(
        [sys.executable, *arguments[main]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY}:{tmp_path}"},
        input=code,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ran.stderr, ran.returncode) == ("", 0)
    assert json.loads(ran.stdout) is False
    assert (tmp_path / "log").read_text() == "main "


def orphan(tmp_path: Path, then: str) -> int:
    """Start a program with a pool of one child, kill it once its child does `then`; return the child's process id."""
    code = f"""
import sys
from indexer.decoding.decoder_pool import DecoderPool
from indexer.decoding.preparation import Preparation
from search.errors import BadImage
pool = DecoderPool(Preparation("full", 8, 8), children=1, timeout_s=1, decode_with={TRAPS!r})
try:
    pool.decode(b"TRAP pid", "x")
except BadImage as said:
    print(said.detail, flush=True)
{then}
"""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, stdout=subprocess.PIPE
    ) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        time.sleep(0.3)
        parent.kill()
    return child


def test_an_idle_child_does_not_outlive_its_parent(tmp_path: Path) -> None:
    child = orphan(tmp_path, "input()")
    assert eventually(lambda: not Path(f"/proc/{child}/cmdline").exists())


@pytest.mark.slow
def test_a_hanging_child_does_not_outlive_its_parent_for_long(tmp_path: Path) -> None:
    child = orphan(tmp_path, "pool.decode(b'TRAP hang 600', 'x')")
    assert eventually(lambda: not Path(f"/proc/{child}/cmdline").exists(), within_s=15)


def test_children_that_cannot_start_are_no_fault_of_the_file(capfd: pytest.CaptureFixture[str]) -> None:
    with (
        DecoderPool(PREPARATION, children=1, decode_with="tests.corpus:no_such_decoder") as broken,
        pytest.raises(LookalikeError, match="cannot start"),
    ):
        broken.decode(plain("PNG"), "innocent")
    assert "no_such_decoder" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("size", "expected"),
    [((640, 320), (100, 50)), ((320, 640), (50, 100)), ((40, 30), (40, 30)), ((1, 4000), (1, 100))],
)
def test_a_thumbnail_keeps_the_aspect_and_never_grows(
    pool: DecoderPool, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    with Image.open(io.BytesIO(pool.thumbnail(encode(Image.new("RGB", size, "red"), "JPEG"), 100))) as small:
        assert (small.format, small.mode, small.size) == ("JPEG", "RGB", expected)


def test_a_thumbnail_is_upright_and_tells_nothing_about_its_maker(pool: DecoderPool) -> None:
    private = {"exif": exif(6), "icc_profile": b"profile", "comment": b"home address", "xmp": b"<x>"}
    for kind in ("JPEG", "PNG", "WEBP"):
        small = pool.thumbnail(encode(Image.fromarray(noise()), kind, **private), 20)
        with Image.open(io.BytesIO(small)) as image:
            assert image.size == (15, 20)
            assert not set(image.info) & set(private)


def test_a_thumbnail_of_a_bad_file_has_the_same_reason(pool: DecoderPool) -> None:
    with pytest.raises(BadImage, match="truncated"):
        pool.thumbnail(plain("PNG")[:200], 20)


def test_small_pixels_are_those_of_the_picture_upright_and_never_enlarged(pool: DecoderPool) -> None:
    drawn = noise()
    same = pool.pixels(encode(Image.fromarray(drawn), "PNG"), 4000, "a picture")
    np.testing.assert_array_equal(same, drawn)
    turned = pool.pixels(encode(Image.fromarray(drawn), "PNG", exif=exif(6)), 4000, "a picture")
    np.testing.assert_array_equal(turned, np.rot90(drawn, -1))
    wide = Image.new("RGB", (640, 320), (10, 200, 30))
    small = pool.pixels(encode(wide, "PNG"), 100, "a picture")
    assert small.shape == (50, 100, 3)
    assert (small == (10, 200, 30)).all()


def test_small_pixels_of_a_bad_file_have_the_same_reason(pool: DecoderPool) -> None:
    with pytest.raises(BadImage, match="truncated"):
        pool.pixels(plain("PNG")[:200], 20, "a picture")
    with pytest.raises(UsageError, match="choose 1 to"):
        pool.pixels(plain("PNG"), 0, "a picture")


@pytest.mark.parametrize("size", [0, -1, 5000])
def test_an_impossible_thumbnail_is_refused(pool: DecoderPool, size: int) -> None:
    with pytest.raises(UsageError):
        pool.thumbnail(plain("PNG"), size)


@pytest.mark.parametrize("wrong", [{"children": 0}, {"timeout_s": 0}, {"memory_bytes": 0}, {"recycle_after": 0}])
def test_impossible_pools_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        DecoderPool(PREPARATION, **{"children": 1, **wrong})


def test_no_pool_opens_on_an_old_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PIL, "__version__", "12.3.0")
    with pytest.raises(LookalikeError, match="Pillow 12.3.0"):
        DecoderPool(PREPARATION, children=1)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])  # of which JPEGs leave their pixels in shared memory
def test_keypoints_come_with_the_prepared_picture_where_they_are_wanted(kind: str) -> None:
    file = io.BytesIO()
    Image.fromarray(textured(3, 160, 120)).save(file, kind)
    expected = extract(decode(file.getvalue(), DecodeLimits()).pixels, Detail(FEATURES, thumbnail_area=1))
    seen: list[tuple[int, ...]] = []

    def resize(pixels: Pixels) -> Pixels:
        seen.append(pixels.shape)
        return np.full((32, 24, 3), 7, np.uint8)

    with DecoderPool(PREPARATION, children=1, keypoints=True, resize=resize) as opened:
        image = opened.decode(file.getvalue(), "a picture")
    assert image.pixels.shape == (32, 24, 3)
    assert (seen == [(120, 160, 3)]) == (kind == "JPEG") == bool((image.pixels == 7).all())
    assert image.keypoints is not None and len(image.keypoints) == len(expected) > 50
    assert (image.keypoints.descriptors == expected.descriptors).all()
    assert (image.keypoints.shares == expected.shares).all()


def test_nobody_looks_for_keypoints_unasked(pool: DecoderPool) -> None:
    assert pool.decode(plain("PNG"), "a picture").keypoints is None


def test_keypoints_that_a_child_garbled_cost_its_file_only() -> None:
    with pytest.raises(BadImage, match="keypoints"):
        _keypoints_in(b"no keypoints")
