"""What can be told of a photo without decoding it: format by content, size from the header.

The limits are DetectFace's own ("base64 no larger than 5M; long side at most 4000 px for jpg and 2000 px for other
formats; short side at least 64 px; PNG, JPG, JPEG and BMP, no GIF"). A photo that breaks one is rejected here, before any
detector is called and paid.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, cast

from PIL import Image

from facequality.measure import Bound, refusal
from facequality.model import Finding, Measure, Reason


class Format(StrEnum):
    """The formats that DetectFace takes."""

    JPEG = "JPEG"
    PNG = "PNG"
    BMP = "BMP"


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """Format and size of a photo: bytes, px."""

    format: Format
    size: int
    width: int
    height: int


MAX_BYTES = 3_932_160
"""5 MiB of base64 are 5 * 1024 * 1024 * 3 / 4 raw bytes."""
_SIZE = Bound(maximum=MAX_BYTES)
_LONG_SIDE = {Format.JPEG: Bound(maximum=4000), Format.PNG: Bound(maximum=2000), Format.BMP: Bound(maximum=2000)}
_SHORT_SIDE = Bound(minimum=64)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the header tells, and how it stands to the limits. ``info`` is None if the header could not be read."""

    info: ImageInfo | None
    findings: tuple[Finding, ...]


MAX_HEADER_READS = 400
"""A header of a real photo takes under 300 reads; a hostile one can hold a million pieces, each costly to look at."""

BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
"""What Pillow raises on far too many pixels; the second where warnings are errors."""

# Signatures of formats that are images but not ones DetectFace takes: (offset, bytes).
_OTHER_FORMATS: tuple[tuple[int, tuple[bytes, ...]], ...] = (
    (0, (b"GIF87a", b"GIF89a")),
    (0, (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")),  # TIFF, BigTIFF
    (0, (b"\x00\x00\x01\x00", b"\x00\x00\x02\x00")),  # ICO, CUR
    (0, (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51")),  # JPEG 2000
    (0, (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")),  # JPEG XL
    (0, (b"8BPS",)),  # Photoshop
    (8, (b"WEBP",)),
    # ISO base media brands of HEIF and AVIF (ISO/IEC 23008-12, AV1 Image File Format).
    (4, tuple(b"ftyp" + brand for brand in (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1"))),
    (4, (b"ftypavif", b"ftypavis")),
)


_LONGEST_SIGNATURE = 16
_FORMATS = tuple(Format)


def inspect(data: bytes | memoryview) -> Inspection:
    """Hold a photo's header against the limits. Never raises: whatever the bytes are, the answer is findings."""
    size = _SIZE.hold(Measure.IMAGE_BYTES, len(data))
    if size.rejects:
        return Inspection(None, (size,))
    try:
        info = _read_header(data)
    except BOMB:
        return Inspection(None, (size, refusal(Reason.IMAGE_RESOLUTION_TOO_HIGH)))
    except Exception:  # noqa: BLE001 - whatever hostile bytes make a parser raise, they are no photo
        start = bytes(data[:_LONGEST_SIGNATURE])
        is_image = any(start.startswith(signatures, offset) for offset, signatures in _OTHER_FORMATS)
        reason = Reason.IMAGE_FORMAT_UNSUPPORTED if is_image else Reason.IMAGE_UNDECODABLE
        return Inspection(None, (size, refusal(reason)))
    long_side = _LONG_SIDE[info.format].hold(Measure.IMAGE_LONG_SIDE, max(info.width, info.height))
    short_side = _SHORT_SIDE.hold(Measure.IMAGE_SHORT_SIDE, min(info.width, info.height))
    return Inspection(info, (size, long_side, short_side))


class _Header:
    """A photo's bytes as the part of a file's interface that Pillow uses, without a copy; read in a bounded number of pieces."""

    __slots__ = ("_data", "_position", "_reads")

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._position = 0
        self._reads = 0

    def read(self, size: int = -1, /) -> bytes:
        self._reads += 1
        if self._reads > MAX_HEADER_READS:
            raise OSError("the header has too many pieces")
        start = self._position
        self._position = start + size if size >= 0 else len(self._data)
        return bytes(self._data[start : self._position])

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        origin = (0, self._position, len(self._data))[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        return self._position


def _read_header(data: bytes | memoryview) -> ImageInfo:
    with Image.open(cast("IO[bytes]", _Header(data)), formats=_FORMATS) as image:
        # A phone's JPEG with a second picture in it (MPO) opens through the JPEG plugin under its own name.
        name = "JPEG" if image.format == "MPO" else image.format
        return ImageInfo(Format(name or ""), len(data), image.width, image.height)
