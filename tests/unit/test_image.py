"""What is told of a photo by its header."""

from __future__ import annotations

import io
import random
import struct
import zlib
from typing import Any

import pytest
from facequality import image
from facequality.detectors.embedded.decode import decode
from facequality.image import MAX_BYTES, MAX_EXIF_BYTES, Format, Inspection, inspect
from facequality.model import Judgement, Measure, Reason, Verdict
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, TiffImagePlugin

from tests.photos import encode, png_chunk

R = Reason


STARTS = (
    *(b"GIF87a", b"MM\0*", b"II+\0", b"MM\0+", b"IIRO\x08", b"IIRS\x08", b"IIU\0", b"FUJIFILMCCD-RAW", b"FOVb"),
    *(b"\0\0\2\0\1\0", b"icns\0\0", b"\xff\x4f\xff\x51", b"\xff\x0a\xfa", b"\0\0\0\x0cJXL \r\n\x87\n", b"II\xbc\1"),
    *(b"8BPS\0\1", b"gimp xcf v011", b"\x8aMNG\r\n\x1a\n", b"\x8bJNG\r\n\x1a\n", b"DDS |", b"v/1\1\2", b"#?RADIANCE\n"),
    *(b"\x01\xda\0\1", b"\x01\xda\1\1", b"Y\xa6j\x95", b"BPG\xfb", b"FLIF", b"farbfeld", b"SIMPLE  =    T"),
    *(b"%!PS-Adobe", b"\xc5\xd0\xd3\xc6", b"\xd7\xcd\xc6\x9a", b"/* XPM */"),
    *(b"\x0a\0\1", b"\x0a\2\1", b"\x0a\3\1", b"\x0a\4\1", b"P1\n", b"P2 ", b"P3\t", b"P4\r", b"P5\n", b"P7\n"),
)
"""Of formats that Pillow does not write here, as their specifications have them."""


def reasons(inspection: Inspection) -> tuple[Reason, ...]:
    return Judgement.of(inspection.findings).reasons


def blank(width: int, height: int, image_format: str = "PNG", mode: str = "RGB", **options: object) -> bytes:
    return encode(Image.new(mode, (width, height)), image_format, **options)


def png_claiming(width: int, height: int) -> bytes:
    """A PNG whose header claims a size; it has no pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (blank(64, 64), ()),
        (blank(63, 64), (R.IMAGE_RESOLUTION_TOO_LOW,)),
        (blank(2000, 64), ()),
        (blank(2001, 64), (R.IMAGE_RESOLUTION_TOO_HIGH,)),
        (blank(64, 2001, "BMP"), (R.IMAGE_RESOLUTION_TOO_HIGH,)),
        (blank(4000, 64, "JPEG"), ()),
        (blank(4001, 64, "JPEG"), (R.IMAGE_RESOLUTION_TOO_HIGH,)),
        (blank(4001, 63, "JPEG"), (R.IMAGE_RESOLUTION_TOO_HIGH, R.IMAGE_RESOLUTION_TOO_LOW)),
        (png_claiming(12_000, 12_000), (R.IMAGE_RESOLUTION_TOO_HIGH,)),
        (png_claiming(60_000, 60_000), (R.IMAGE_RESOLUTION_TOO_HIGH,)),
        (png_claiming(400_000_000, 10), (R.IMAGE_RESOLUTION_TOO_HIGH, R.IMAGE_RESOLUTION_TOO_LOW)),
        (blank(100, 100, "GIF", "P"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (blank(100, 100, "WEBP"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (blank(100, 100, "TIFF"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (blank(64, 64, "ICO"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (blank(100, 100, "JPEG2000"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (b"\xff\xd8\xff\xf7\x00\x0b\x08", (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00", (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (b"\x00\x00\x00\x1cftypavif\x00\x00\x00\x00", (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (b"\x00\x00\x00\x18ftypXXXX\x00\x00\x00\x00mif1heic", (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (b"\x00\x00\x00\x18ftypisom\x00\x00\x00\x00mp41avc1", (R.IMAGE_UNDECODABLE,)),
        (b"\x00\x00\x00\x10ftypisom\x00\x00\x00\x00mif1heic", (R.IMAGE_UNDECODABLE,)),
        (blank(64, 64, "ICNS"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (blank(64, 64, "PPM"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (blank(64, 64, "PCX"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (blank(64, 64, "SGI"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (blank(64, 64, "DDS"), (R.IMAGE_FORMAT_UNSUPPORTED,)),
        *((start + bytes(64), (R.IMAGE_FORMAT_UNSUPPORTED,)) for start in STARTS),
        (b"qoif\x00\x00\x00\x40\x00\x00\x00\x40\x03\x00" + bytes(7) + b"\x01", (R.IMAGE_FORMAT_UNSUPPORTED,)),
        (b"", (R.IMAGE_UNDECODABLE,)),
        (b"not an image", (R.IMAGE_UNDECODABLE,)),
        (b"%PDF-1.7", (R.IMAGE_UNDECODABLE,)),
        (b"ABCDEFGHWEBPVP8 ", (R.IMAGE_UNDECODABLE,)),
        (b"\xff\xd8\xff", (R.IMAGE_UNDECODABLE,)),
        (b"\x89PNG\r\n\x1a\n", (R.IMAGE_UNDECODABLE,)),
        (b"BM", (R.IMAGE_UNDECODABLE,)),
    ],
)
def test_limits_are_the_vendors(data: bytes, expected: tuple[Reason, ...]) -> None:
    """Each limit, at its edge and beyond."""
    assert reasons(inspect(data)) == expected


def test_the_largest_photo_is_5_mib_of_base64() -> None:
    """3,932,160 bytes pass, one more does not."""
    photo = blank(64, 64, "JPEG")
    fits = photo + b"\x00" * (3_932_160 - len(photo))
    assert reasons(inspect(fits)) == ()
    assert reasons(inspect(fits + b"\x00")) == (R.IMAGE_TOO_LARGE,)


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (blank(4001, 63, "JPEG"), (R.IMAGE_TOO_LARGE, R.IMAGE_RESOLUTION_TOO_HIGH, R.IMAGE_RESOLUTION_TOO_LOW)),
        (blank(100, 100, "GIF", "P"), (R.IMAGE_FORMAT_UNSUPPORTED, R.IMAGE_TOO_LARGE)),
        (b"not an image", (R.IMAGE_UNDECODABLE, R.IMAGE_TOO_LARGE)),
    ],
)
def test_what_else_is_wrong_with_too_large_a_photo_is_told_too(start: bytes, expected: tuple[Reason, ...]) -> None:
    """Whoever halves the bytes alone would only meet the next reason."""
    assert reasons(inspect(start + bytes(3_932_160))) == expected


def test_a_bomb_is_refused_with_its_numbers() -> None:
    """Pillow would refuse to say how large it claims to be."""
    sides = {f.measure: (f.observed, f.maximum) for f in inspect(png_claiming(60_000, 10)).findings}
    assert sides[Measure.IMAGE_LONG_SIDE] == (60_000, 2000)
    bomb = inspect(png_claiming(60_000, 60_001)).findings[1]
    assert (bomb.measure, bomb.observed, bomb.margin) == (Measure.IMAGE_LONG_SIDE, 60_001, -58_001)


@pytest.mark.parametrize(
    ("mode", "image_format"),
    [("CMYK", "JPEG"), ("L", "JPEG"), ("I;16", "PNG"), ("P", "PNG"), ("RGBA", "PNG"), ("LA", "PNG"), ("1", "BMP")],
)
def test_every_kind_of_pixel_tells_its_size(mode: str, image_format: str) -> None:
    """CMYK, grey, 16 bits, palette, alpha, bilevel."""
    info = inspect(blank(100, 80, image_format, mode)).info
    assert info is not None
    assert (info.format, info.width, info.height) == (Format(image_format), 100, 80)


@pytest.mark.parametrize(
    "pieces",
    [
        blank(64, 64)[:33] + png_chunk(b"iCCP", b"x\x00\x00" + zlib.compress(b"\x00" * 1_000_000)) * 3000,
        blank(64, 64)[:33] + png_chunk(b"prVt", b"") * 300_000,
        b"\xff\xd8" + b"\xff\xfe\x00\x02" * 900_000,
    ],
    ids=["colour profiles", "empty chunks", "empty comments"],
)
def test_a_header_of_countless_pieces_is_refused_early(pieces: bytes) -> None:
    """Each piece costs time on the event loop: looking at them ends after some hundred."""
    reads = 0

    class Counting(image.PhotoFile):
        def read(self, size: int = -1, /) -> bytes:
            nonlocal reads
            reads += 1
            return super().read(size)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(image, "PhotoFile", Counting)
        assert reasons(inspect(pieces)) == (R.IMAGE_UNDECODABLE,)
    assert reads <= image.MAX_HEADER_READS + 20


def test_a_photo_with_much_metadata_is_read() -> None:
    """Profiles, comments and Exif as phones and editors write them."""
    exif = Image.Exif()
    exif[0x010E] = "x" * 60_000
    photo = blank(100, 100, "JPEG", icc_profile=b"\x00" * 1_500_000, exif=exif, comment=b"c" * 1000)
    assert reasons(inspect(photo)) == ()


@pytest.mark.parametrize(("size", "expected"), [(100, ()), (MAX_EXIF_BYTES, ()), (MAX_EXIF_BYTES + 1, (R.IMAGE_UNDECODABLE,))])
def test_a_png_may_have_exif(size: int, expected: tuple[Reason, ...]) -> None:
    """As much as there is reason for."""
    photo = blank(64, 64)
    exif = png_chunk(b"eXIf", b"MM\0*" + bytes(size - 4))
    header_end = 8 + 25
    assert reasons(inspect(photo[:header_end] + exif + photo[header_end:])) == expected


def test_a_phones_two_picture_jpeg_is_a_jpeg() -> None:
    """MPO is JPEG with more behind it."""
    stream = io.BytesIO()
    first, second = Image.new("RGB", (100, 80)), Image.new("RGB", (100, 80), "red")
    first.save(stream, "MPO", save_all=True, append_images=[second])
    info = inspect(stream.getvalue()).info
    assert info is not None
    assert info.format is Format.JPEG


def test_the_name_does_not_matter() -> None:
    """A GIF is a GIF whatever it is called: the format is told by content alone."""
    gif = blank(100, 100, "GIF", "P")
    finding = inspect(gif).findings[-1]
    assert finding.observed == 0
    assert finding.minimum == 1


@given(st.binary(max_size=400))
def test_any_bytes_give_a_verdict(data: bytes) -> None:
    """Inspection never raises."""
    assert Judgement.of(inspect(data).findings).verdict is Verdict.REJECTED


def assert_sound(data: bytes) -> None:
    """What has no header is refused; what has one is refused exactly for what the header says."""
    inspection = inspect(data)
    info, rejected = inspection.info, Judgement.of(inspection.findings).verdict is Verdict.REJECTED
    if info is None:
        assert rejected
        return
    longest = 4000 if info.format is Format.JPEG else 2000
    fits = len(data) <= MAX_BYTES and max(info.width, info.height) <= longest and min(info.width, info.height) >= 64
    assert rejected is not fits


@given(st.sampled_from(["JPEG", "PNG", "BMP"]), st.data())
def test_any_mutation_of_a_photo_gives_findings(image_format: str, data: st.DataObject) -> None:
    """Headers with flipped, cut and doubled bytes."""
    photo = bytearray(blank(70, 70, image_format))
    for _ in range(data.draw(st.integers(1, 8))):
        photo[data.draw(st.integers(0, min(len(photo) - 1, 200)))] = data.draw(st.integers(0, 255))
    end = data.draw(st.integers(0, len(photo)))
    assert_sound(bytes(photo[:end]))


def test_ten_thousand_mutated_headers_give_findings() -> None:
    """Seeded, so that a failure comes back."""
    seeded = random.Random(0)
    originals = [blank(70, 70, f) for f in ("JPEG", "PNG", "BMP")] + [blank(70, 70, "PNG", "P")]
    for _ in range(10_000):
        photo = bytearray(seeded.choice(originals))
        for _ in range(seeded.randint(1, 12)):
            photo[seeded.randrange(min(len(photo), 300))] = seeded.randrange(256)
        cut = seeded.randint(0, len(photo)) if seeded.random() < 0.3 else len(photo)
        assert_sound(bytes(photo[:cut]))


def exif_bomb(values: int) -> bytes:
    """A small JPEG whose resolution is a list of fractions, in more blocks than Exif may have: Pillow makes an object of each."""
    fields = struct.pack("<HHHLLHHLL", 2, 0x011A, 5, values, 38, 0x0128, 3, 1, 2)
    tiff = b"II*\x00\x08\x00\x00\x00" + fields + b"\x00" * 4 + b"\x01\x00\x00\x00" * (2 * values)
    photo = blank(64, 64, "JPEG")
    blocks = [b"Exif\x00\x00" + tiff[at : at + 65_000] for at in range(0, len(tiff), 65_000)]
    # Without JFIF's own, which makes Pillow look no further.
    head = photo[:2] + b"".join(b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block for block in blocks)
    return head + photo[20:]


@pytest.mark.parametrize("values", [475_000, 8_000])
def test_exif_is_not_read_for_a_resolution(monkeypatch: pytest.MonkeyPatch, values: int) -> None:
    """475,000 fractions took a second on the event loop; of the 8,000 that one block takes the header has no use either."""
    made = 0

    make = TiffImagePlugin.IFDRational.__init__

    def count(fraction: Any, *values: Any) -> None:
        nonlocal made
        made += 1
        make(fraction, *values)

    monkeypatch.setattr(TiffImagePlugin.IFDRational, "__init__", count)
    bomb = exif_bomb(values)
    assert reasons(inspect(bomb)) == ()
    assert made == 0
    assert decode(bomb) is not None
    assert (made == 0) == (values > 10_000), "the engine is shown one block, which says how to turn the photo"
    with Image.open(io.BytesIO(bomb)):
        assert made >= values


@pytest.mark.parametrize(
    ("kind", "head"), [(b"iCCP", b"x\x00\x00"), (b"zTXt", b"x\x00\x00"), (b"iTXt", b"x\x00\x01\x00\x00\x00")]
)
def test_few_compressed_pieces_are_inflated(kind: bytes, head: bytes) -> None:
    """Each costs as much as a hundred others."""
    profile = png_chunk(kind, head + zlib.compress(b"\x00" * 1_000_000))
    start, end = blank(64, 64)[:33], blank(64, 64)[33:]
    assert reasons(inspect(start + profile * image.MAX_INFLATED + end)) == ()
    assert reasons(inspect(start + profile * (image.MAX_INFLATED + 1) + end)) == (R.IMAGE_UNDECODABLE,)


def test_a_photo_is_read_as_any_file_is() -> None:
    """Piece by piece, and not beyond its end."""
    data = bytes(range(20))
    file, true = image.PhotoFile(data, exif_blocks=1), io.BytesIO(data)
    for size in (3, 0, 30, 1, -1):
        assert (file.read(size), file.tell()) == (true.read(size), true.tell())
    assert (file.seek(-5, io.SEEK_END), file.read(3)) == (true.seek(-5, io.SEEK_END), true.read(3))
