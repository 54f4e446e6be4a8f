"""What can be told of a photo without decoding it: format by content, size from the header.

The limits are DetectFace's own ("base64 no larger than 5M; long side at most 4000 px for jpg and 2000 px for other
formats; short side at least 64 px; PNG, JPG, JPEG and BMP, no GIF"). A photo that breaks one is rejected here, before any
detector is called and paid.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import IO, cast

from PIL.BmpImagePlugin import BmpImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from facequality.measure import Bound, refusal
from facequality.model import Finding, Measure, Reason
from facequality.other_formats import EXAMINED_BYTES, is_other_format


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
LIMITS = {Measure.IMAGE_BYTES: _SIZE, Measure.IMAGE_SHORT_SIDE: _SHORT_SIDE}
"""Those of every format."""


@dataclass(frozen=True, slots=True)
class Inspection:
    """What the header tells, and how it stands to the limits. ``info`` is None if the header could not be read."""

    info: ImageInfo | None
    findings: tuple[Finding, ...]


MAX_HEADER_READS = 400
"""A header of a real photo takes under 300 reads; a hostile one can hold a million pieces, each costly to look at."""
MAX_INFLATED = 8
"""A PNG has one colour profile and few compressed texts; Pillow inflates each to as much as 1 MB, which takes it 2 ms."""
MAX_EXIF_BYTES = 65_536
"""Exif was made to fit into one of a JPEG's segments."""

_INFLATED = (b"iCCP", b"zTXt", b"iTXt")
_EXIF = b"Exif\x00\x00"
_CHUNK_HEAD = 8

_READERS: tuple[tuple[bytes, Format, Callable[[IO[bytes]], ImageFile]], ...] = (
    (b"\xff\xd8\xff", Format.JPEG, JpegImageFile),
    (b"\x89PNG\r\n\x1a\n", Format.PNG, PngImageFile),
    (b"BM", Format.BMP, BmpImageFile),
)
"""By signature. Pillow's own way to them, ``Image.open``, refuses a great many pixels before it tells how many."""


def inspect(data: bytes | memoryview) -> Inspection:
    """Hold a photo's header against the limits. Never raises: whatever the bytes are, the answer is findings."""
    size = _SIZE.hold(Measure.IMAGE_BYTES, len(data))
    try:
        info = _read_header(data)
    except Exception:  # noqa: BLE001 - whatever hostile bytes make a parser raise, they are no photo
        is_other = is_other_format(bytes(data[:EXAMINED_BYTES]))
        return Inspection(None, (size, refusal(Reason.IMAGE_FORMAT_UNSUPPORTED if is_other else Reason.IMAGE_UNDECODABLE)))
    long_side = _LONG_SIDE[info.format].hold(Measure.IMAGE_LONG_SIDE, max(info.width, info.height))
    short_side = _SHORT_SIDE.hold(Measure.IMAGE_SHORT_SIDE, min(info.width, info.height))
    return Inspection(info, (size, long_side, short_side))


class PhotoFile:
    """A read-only file over a photo's bytes, for Pillow; bounds reads, inflated pieces and Exif, which hostile photos abuse.

    Of Exif, which a JPEG holds in one block of 64 KB at most, further blocks are hidden: Pillow would join them, and parse all.
    """

    def __init__(
        self,
        data: bytes | memoryview,
        *,
        exif_blocks: int,
        reads: float = math.inf,
        proceed: Callable[[], None] = lambda: None,
    ) -> None:
        """Show the first ``exif_blocks`` of Exif only; fail after so many ``reads``, each of which calls ``proceed`` first."""
        self._data = data
        self._position = 0
        self._exif_blocks = exif_blocks
        self._reads = reads
        self._inflated = MAX_INFLATED
        self._proceed = proceed

    def read(self, size: int = -1, /) -> bytes:
        """Read on.

        Raises:
            OSError: the photo is in too many pieces, or one is larger than there is reason for.
        """
        self._proceed()
        end = self._position + size if size >= 0 else len(self._data)
        piece = bytes(self._data[self._position : end])
        self._position += len(piece)
        self._reads -= 1
        if size == _CHUNK_HEAD:
            self._meet(piece)
        if self._reads < 0 or self._inflated < 0:
            raise OSError("the photo is in too many pieces")
        if piece.startswith(_EXIF):
            self._exif_blocks -= 1
            return piece if self._exif_blocks >= 0 else bytes(len(piece))
        return piece

    def _meet(self, head: bytes) -> None:
        """Look at what may be the head of a PNG's chunk: its length and its kind."""
        self._inflated -= head[4:] in _INFLATED
        if head[4:] == b"eXIf" and int.from_bytes(head[:4], "big") > MAX_EXIF_BYTES:
            raise OSError("more Exif than there can be")

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Go somewhere else."""
        origin = (0, self._position, len(self._data))[whence]
        self._position = max(0, origin + offset)
        return self._position

    def tell(self) -> int:
        """Return where it is."""
        return self._position


def _read_header(data: bytes | memoryview) -> ImageInfo:
    start = bytes(data[:8])  # as long as the longest signature
    for signature, found, reader in _READERS:
        if start.startswith(signature):
            # A phone's JPEG with a second picture in it (MPO) is read as the JPEG that it begins with.
            # The resolution in Exif is of no use, and hidden.
            header = PhotoFile(data, exif_blocks=0, reads=MAX_HEADER_READS)
            width, height = reader(cast("IO[bytes]", header)).size
            return ImageInfo(found, len(data), width, height)
    raise ValueError("no signature of a format that is taken")
