"""Bytes to pixels: the one place where a photo is decoded."""

from __future__ import annotations

from collections.abc import Callable
from typing import IO, cast

import numpy as np
import PIL.Image
from PIL import ImageOps

from facequality.detectors.embedded.geometry import Image
from facequality.image import Format, PhotoFile

MAX_SCANS = 100
"""A progressive JPEG has about ten scans; each of a hostile one's thousands costs a pass over every pixel. A phone's film behind
its photo holds the same two bytes by chance, some 50 times in 3 MB."""

_START_OF_SCAN = b"\xff\xda"


def decode(data: bytes, proceed: Callable[[], None] = lambda: None) -> Image | None:
    """Decode to (height, width, 3) BGR, upright by EXIF; None if the bytes are broken or cut off, or ``proceed`` raises.

    16-bit greys are scaled to 8 bits, palettes and CMYK converted. What is transparent in a PNG is laid on white, as
    most viewers do; in a BMP the fourth byte is left at 0 by many who mean nothing by it. ``proceed`` is called again and again.
    """
    if data.startswith(b"\xff\xd8") and data.count(_START_OF_SCAN) > MAX_SCANS:
        return None
    try:
        file = PhotoFile(data, exif_blocks=1, proceed=proceed)
        with PIL.Image.open(cast("IO[bytes]", file), formats=tuple(Format)) as photo:
            photo.load()
            upright = _upright(photo)
            if upright.mode.startswith("I"):
                return np.repeat(_to_8_bits(np.asarray(upright))[..., None], 3, axis=2)
            if photo.format == "PNG" and upright.has_transparency_data:
                white = PIL.Image.new("RGBA", upright.size, "white")
                upright = PIL.Image.alpha_composite(white, upright.convert("RGBA"))
            rgb = np.asarray(upright.convert("RGB"))
    except Exception:  # noqa: BLE001 - whatever hostile bytes make a decoder raise, they are no photo
        return None
    return np.ascontiguousarray(rgb[..., ::-1])


def _upright(photo: PIL.Image.Image) -> PIL.Image.Image:
    try:
        return ImageOps.exif_transpose(photo)
    except Exception:  # noqa: BLE001 - as above
        return photo  # broken EXIF in a sound photo: viewers show it as it is


def _to_8_bits(grey: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Image:
    return (np.clip(grey.astype(np.int64), 0, 65535) >> 8).astype(np.uint8)
