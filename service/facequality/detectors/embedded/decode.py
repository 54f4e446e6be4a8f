"""Bytes to pixels: the one place where a photo is decoded."""

from __future__ import annotations

import io

import numpy as np
import PIL.Image
from PIL import ImageOps

from facequality.detectors.embedded.geometry import Image
from facequality.image import BOMB, UNREADABLE, Format


def decode(data: bytes) -> Image | None:
    """Decode to (height, width, 3) BGR, upright by EXIF; None if the bytes are broken or cut off.

    16-bit greys are scaled to 8 bits, palettes and CMYK converted, and alpha dropped, as viewers do.
    """
    try:
        with PIL.Image.open(io.BytesIO(data), formats=tuple(Format)) as photo:
            photo.load()
            upright = _upright(photo)
            if upright.mode.startswith("I"):
                return np.repeat(_to_8_bits(np.asarray(upright))[..., None], 3, axis=2)
            rgb = np.asarray(upright.convert("RGB"))
    except (*UNREADABLE, *BOMB):
        return None
    return np.ascontiguousarray(rgb[..., ::-1])


def _upright(photo: PIL.Image.Image) -> PIL.Image.Image:
    try:
        return ImageOps.exif_transpose(photo)
    except UNREADABLE:
        return photo  # broken EXIF in a sound photo: viewers show it as it is


def _to_8_bits(grey: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Image:
    return (np.clip(grey.astype(np.int64), 0, 65535) >> 8).astype(np.uint8)
