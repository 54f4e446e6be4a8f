"""What the embedded engine makes of malformed and unusual photos."""

from __future__ import annotations

import asyncio
import gc
import random
import struct
import threading
import time
import zlib
from collections.abc import Callable
from concurrent.futures import CancelledError
from pathlib import Path

import numpy as np
import pytest
from facequality.detectors.embedded.decode import decode
from facequality.detectors.embedded.detector import EmbeddedDetector, processors
from facequality.detectors.embedded.engine import Engine
from facequality.detectors.embedded.geometry import Image as Pixels
from facequality.model import (
    Detection,
    DetectOptions,
    PhotoBytes,
    Reason,
    Verdict,
)
from PIL import Image

from tests import photos
from tests.engine import R, check


def noise(mode: str, size: tuple[int, int] = (120, 90)) -> Image.Image:
    return Image.effect_noise(size, 60).convert(mode)


def sixteen_bit() -> bytes:
    values = np.asarray(photos.portrait().convert("L"), np.uint16) * 257
    return photos.encode(Image.fromarray(values))


def sixteen_bit_colour() -> bytes:
    """A 16-bit RGB PNG, which Pillow cannot write."""
    rows = np.asarray(photos.portrait(), np.uint16) * 257
    raw = b"".join(b"\x00" + row.astype(">u2").tobytes() for row in rows)

    header = struct.pack(">IIBBBBB", 512, 512, 16, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + photos.png_chunk(b"IHDR", header)
        + photos.png_chunk(b"IDAT", zlib.compress(raw))
        + photos.png_chunk(b"IEND", b"")
    )


def exif_turned() -> bytes:
    photo = Image.fromarray(np.rot90(np.asarray(photos.portrait())))
    exif = Image.Exif()
    exif[0x0112] = 6
    return photos.encode(photo, "JPEG", exif=exif, quality=95)


@pytest.mark.parametrize(
    "data",
    [
        photos.encode(photos.portrait().convert("CMYK"), "JPEG", quality=95),
        photos.encode(photos.portrait().convert("RGBA")),
        photos.encode(photos.portrait().convert("P", palette=Image.Palette.ADAPTIVE)),
        photos.encode(photos.portrait().convert("L")),
        photos.encode(photos.portrait(), "BMP"),
        photos.encode(photos.portrait(), "JPEG", progressive=True, quality=95),
        sixteen_bit(),
        sixteen_bit_colour(),
        exif_turned(),
    ],
    ids=["cmyk", "alpha", "palette", "grey", "bmp", "progressive", "grey16", "colour16", "exif"],
)
async def test_every_kind_of_pixel_is_the_same_portrait(engine_detector: EmbeddedDetector, data: bytes) -> None:
    """Accepted under normal, whatever the encoding."""
    result = await check(engine_detector, data, "normal")
    assert result.judgement.reasons == ()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (photos.encode(photos.portrait())[:20_000], R.IMAGE_UNDECODABLE),
        (photos.encode(photos.portrait(), "JPEG")[:9_000], R.IMAGE_UNDECODABLE),
        (photos.encode(photos.portrait(), "BMP")[:9_000], R.IMAGE_UNDECODABLE),
        (photos.encode(noise("RGB", (2000, 64))), R.NO_FACE),
        (photos.encode(noise("RGB", (64, 2000))), R.NO_FACE),
        (photos.encode(noise("RGB", (4000, 64)), "JPEG"), R.NO_FACE),
        (photos.encode(noise("L", (64, 64)), "JPEG"), R.NO_FACE),
        (photos.encode(Image.new("RGB", (640, 480), "white")), R.NO_FACE),
        (photos.encode(Image.new("1", (640, 480)), "BMP"), R.NO_FACE),
    ],
)
async def test_broken_and_empty_photos_get_a_verdict(engine_detector: EmbeddedDetector, data: bytes, reason: Reason) -> None:
    """Cut off, extreme, blank."""
    assert (await check(engine_detector, data)).judgement.reasons == (reason,)


def test_broken_exif_does_not_spoil_a_sound_photo() -> None:
    """It is shown as it is stored."""
    broken = photos.encode(photos.portrait(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff" + b"\xff" * 40)
    image = decode(broken)
    assert image is not None
    assert image.shape == (512, 512, 3)


async def test_mutated_photos_end_in_a_verdict(engine_detector: EmbeddedDetector) -> None:
    """Whole files with flipped bytes, through decoder and engine: nothing but verdicts. Seeded."""
    seeded = random.Random(1)
    small = photos.portrait().crop((140, 20, 310, 220))
    originals = [photos.encode(small, f) for f in ("JPEG", "PNG", "BMP")]
    mutants = []
    for _ in range(400):
        photo = bytearray(seeded.choice(originals))
        for _ in range(seeded.randint(1, 20)):
            photo[seeded.randrange(len(photo))] = seeded.randrange(256)
        mutants.append(bytes(photo))
    results = await asyncio.gather(*(check(engine_detector, mutant) for mutant in mutants))
    accepted = [result for result in results if result.judgement.verdict is Verdict.ACCEPTED]
    assert all(result.judged_face is not None for result in accepted)
    undecodable = sum(Reason.IMAGE_UNDECODABLE in result.judgement.reasons for result in results)
    assert 0 < undecodable < len(results)


def scan_bomb() -> bytes:
    """A small progressive JPEG whose last scan is repeated a thousand times."""
    photo = photos.encode(Image.new("L", (256, 256), 128), "JPEG", progressive=True)
    start, end = photo.rindex(b"\xff\xda"), photo.rindex(b"\xff\xd9")
    return photo[:end] + photo[start:end] * 1000 + photo[end:]


async def test_a_photo_of_a_thousand_scans_is_not_decoded(engine_detector: EmbeddedDetector) -> None:
    """Each scan would cost a pass over every pixel."""
    assert (await check(engine_detector, scan_bomb())).judgement.reasons == (R.IMAGE_UNDECODABLE,)


async def test_a_film_behind_a_photo_is_no_hostile_photo(engine_detector: EmbeddedDetector) -> None:
    """As phones write it; chance makes markers of its bytes."""
    photo = photos.encode(photos.portrait(), "JPEG", quality=90)
    film = random.Random(0).randbytes(3_000_000)
    assert 20 < film.count(b"\xff\xda") < 80
    assert (await check(engine_detector, photo + film)).judgement.verdict is Verdict.ACCEPTED


async def test_a_caller_that_goes_away_frees_its_place_and_the_engine_comes_back() -> None:
    """With one engine: one photo being looked at, one waiting; both callers leave; the next one is served."""
    detector = EmbeddedDetector(workers=1)
    large = PhotoBytes(photos.encode(photos.portrait().resize((3000, 3000)), "JPEG"))
    calls = [asyncio.create_task(detector.detect(large, DetectOptions())) for _ in range(2)]
    await asyncio.sleep(0.02)
    for call in calls:
        call.cancel()
    await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(10):
        assert isinstance(await detector.detect(large, DetectOptions()), Detection)
    await detector.aclose()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
async def test_what_is_transparent_is_not_seen(engine_detector: EmbeddedDetector, mode: str) -> None:
    """A face that no viewer shows is no face; one that is opaque is as good as without."""
    portrait = photos.portrait().convert("RGB")
    for opacity, reasons in ((0, (R.NO_FACE,)), (255, ())):
        photo = portrait.copy()
        photo.putalpha(Image.new("L", photo.size, opacity))
        if mode == "P":
            photo = portrait.quantize(255)
            photo.info["transparency"] = bytes([opacity] * 255)
        else:
            photo = photo.convert(mode)
        assert (await check(engine_detector, photos.encode(photo))).judgement.reasons == reasons


@pytest.mark.parametrize("scale", [0.5, 0.7, 1.0, 1.4])
async def test_a_face_that_is_upside_down_is_none(engine_detector: EmbeddedDetector, scale: float) -> None:
    """Unless it is looked for: then its roll tells."""
    portrait = photos.portrait()
    turned = portrait.resize((int(portrait.width * scale), int(portrait.height * scale))).rotate(180)
    data = photos.encode(turned, "JPEG", quality=95)
    assert (await check(engine_detector, data)).judgement.reasons == (R.NO_FACE,)
    options = DetectOptions(need_rotate_detection=True, need_face_attributes=True)
    answer = await engine_detector.detect(PhotoBytes(data), options)
    assert isinstance(answer, Detection)
    assert answer.faces[0].attributes is not None
    assert abs(answer.faces[0].attributes.roll or 0) > 160


async def test_a_face_that_is_upside_down_still_counts(engine_detector: EmbeddedDetector) -> None:
    """Beside one that is not: whoever stands on his head is somebody else."""
    portrait = photos.portrait()
    both = Image.new("RGB", (2 * portrait.width, portrait.height), "white")
    both.paste(portrait.rotate(180), (0, 0))
    both.paste(portrait.resize((int(portrait.width * 0.85), int(portrait.height * 0.85))), (portrait.width, 0))
    data = photos.encode(both, "JPEG", quality=95)
    result = await check(engine_detector, data)
    assert R.MULTIPLE_FACES in result.judgement.reasons
    for most in (1, 2, 3):
        answer = await engine_detector.detect(PhotoBytes(data), DetectOptions(max_face_num=most))
        assert isinstance(answer, Detection)
        assert [face.quality is not None for face in answer.faces] == [False, True][:most]


async def test_what_nobody_waits_for_any_longer_is_left_off() -> None:
    """A photo of a hundred faces takes seconds: whoever sends one and goes away must not hold up the next caller for so long."""
    begun, ended = threading.Event(), threading.Event()

    class EndlessAtFirst(Engine):
        def analyse(self, image: Pixels, options: DetectOptions, proceed: Callable[[], None] = lambda: None) -> Detection:
            while not ended.is_set():
                begun.set()
                try:
                    proceed()
                except CancelledError:
                    ended.set()
                    raise
                time.sleep(0.01)
            return super().analyse(image, options, proceed)

    detector = EmbeddedDetector(workers=1, load=EndlessAtFirst)
    photo = PhotoBytes(photos.encode(photos.cat(), "JPEG"))
    logged: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, what: logged.append(what))
    call = asyncio.create_task(detector.detect(photo, DetectOptions()))
    await asyncio.to_thread(begun.wait, 10)
    call.cancel()
    async with asyncio.timeout(10):
        assert isinstance(await detector.detect(photo, DetectOptions()), Detection)
    del call
    gc.collect()
    asyncio.get_running_loop().set_exception_handler(None)
    assert logged == []
    await detector.aclose()


async def test_threads_are_started_with_the_engine_or_not_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that could not be started for a photo would take its engine with it."""

    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    detector = EmbeddedDetector(workers=2)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    photo = PhotoBytes(photos.encode(photos.cat(), "JPEG"))
    for answer in await asyncio.gather(*(detector.detect(photo, DetectOptions()) for _ in range(4))):
        assert isinstance(answer, Detection)
    await detector.aclose()
    with pytest.raises(RuntimeError):
        EmbeddedDetector(workers=1)


def test_a_false_face_does_not_displace_a_true_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A larger candidate that the mesh does not confirm is dropped before the faces are counted."""
    from facequality.detectors.embedded.detection import Candidate, FaceFinder
    from facequality.detectors.embedded.engine import Engine

    true_faces = FaceFinder.find

    def with_a_false_one(self: FaceFinder, image: Pixels, *, min_size: int, all_sizes: bool) -> list[Candidate]:
        false = Candidate(300, 250, 200, 200, (350, 300), (450, 300), 0.9)
        return [false, *true_faces(self, image, min_size=min_size, all_sizes=all_sizes)]

    monkeypatch.setattr(FaceFinder, "find", with_a_false_one)
    image = decode(photos.encode(photos.portrait()))
    assert image is not None
    (face,) = Engine().analyse(image, DetectOptions(max_face_num=1)).faces
    assert face.box.width < 120


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "100000 100000"}, 1),
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "100000", "cpu/cpu.cfs_period_us": "100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({}, None),
    ],
)
def test_workers_follow_the_containers_quota(tmp_path: Path, files: dict[str, str], expected: int | None) -> None:
    """One engine takes 50 MB: a container with one processor on a large node gets one."""
    import os

    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert processors(tmp_path) == (expected or len(os.sched_getaffinity(0)))


def test_ten_thousand_mutated_photos_decode_or_do_not() -> None:
    """The decoder gives pixels or None and nothing else. Seeded."""
    seeded = random.Random(2)
    tiny = photos.portrait().crop((180, 60, 270, 180)).resize((70, 70))
    originals = [photos.encode(tiny, f) for f in ("JPEG", "PNG", "BMP")]
    exif = Image.Exif()
    exif[0x0112], exif[0x010E], exif[0x011A] = 6, "a text", 72.5
    originals += [photos.encode(tiny.convert("P")), photos.encode(tiny.convert("CMYK"), "JPEG")]
    originals += [photos.encode(tiny, "JPEG", exif=exif, icc_profile=b"icc"), photos.encode(tiny, exif=exif, icc_profile=b"icc")]
    for _ in range(10_000):
        photo = bytearray(seeded.choice(originals))
        for _ in range(seeded.randint(1, 12)):
            photo[seeded.randrange(len(photo))] = seeded.randrange(256)
        cut = seeded.randint(0, len(photo)) if seeded.random() < 0.2 else len(photo)
        image = decode(bytes(photo[:cut]))
        assert image is None or (image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3)


@pytest.mark.parametrize(
    "behind",
    [
        photos.png_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(b"\x00" * 1_000_000)) * 500,
        photos.png_chunk(b"eXIf", b"II*\x00" + bytes(3_000_000)),
    ],
    ids=["colour profiles", "Exif"],
)
def test_metadata_behind_the_pixels_is_bounded_too(behind: bytes) -> None:
    """Pillow reads it after the last of them: seconds, where the photo takes milliseconds."""
    photo = photos.encode(photos.cat().resize((64, 64)))
    assert decode(photo) is not None
    assert decode(photo[:-12] + behind + photo[-12:]) is None


def test_decoding_ends_where_it_is_told_to() -> None:
    """At the next piece of the photo."""
    calls = 0

    def proceed() -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            raise RuntimeError

    assert decode(photos.encode(photos.portrait()), proceed) is None
    assert calls == 4


def test_a_bitmaps_fourth_byte_is_no_transparency() -> None:
    """Many writers leave it at 0."""
    header = struct.pack("<IiiHHIIiiIIIIII", 124, 64, 64, 1, 32, 3, 64 * 64 * 4, 0, 0, 0, 0, 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = header.ljust(124, b"\x00")
    pixels = bytes((10, 20, 30, 0)) * 64 * 64
    photo = b"BM" + struct.pack("<IHHI", 14 + len(header) + len(pixels), 0, 0, 14 + len(header)) + header + pixels
    image = decode(photo)
    assert image is not None
    assert image[0, 0].tolist() == [10, 20, 30]
