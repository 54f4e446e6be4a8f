"""Photos for tests and the demo: NASA's portrait of Eileen Collins from the installed scikit-image, and what spoils it.

Positions are those of that one photo, px.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import numpy.typing as npt
import skimage.data
from PIL import Image, ImageDraw, ImageFilter

MOUTH = (194, 132, 252, 160)
FACE = (150, 20, 300, 210)


def _load(name: str) -> npt.NDArray[np.uint8]:
    photo: npt.NDArray[np.uint8] = getattr(skimage.data, name)()
    return photo


def portrait() -> Image.Image:
    """Return the portrait: 512 x 512, one face of 90 x 113 px."""
    return Image.fromarray(_load("astronaut"))


def cat() -> Image.Image:
    """Return a cat's face."""
    return Image.fromarray(_load("chelsea"))


def blurred(radius: float = 3.0) -> Image.Image:
    """Return the portrait out of focus; sigma in px."""
    return portrait().filter(ImageFilter.GaussianBlur(radius))


def exposed(gain: float) -> Image.Image:
    """Return the portrait darker (gain under 1) or over-exposed (above 1)."""
    values = np.asarray(portrait(), np.float64) * gain
    return Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))


def shrunk(side: int = 320) -> Image.Image:
    """Return the portrait at fewer px."""
    return portrait().resize((side, side), Image.Resampling.LANCZOS)


def covered_mouth(colour: tuple[int, int, int] = (60, 90, 160)) -> Image.Image:
    """Return the portrait with a patch painted over the mouth."""
    photo = portrait()
    ImageDraw.Draw(photo).rectangle(MOUTH, fill=colour)
    return photo


def two_people(share: float = 1.0) -> Image.Image:
    """Return two portraits side by side; the second one's sides are ``share`` of the first's."""
    side = round(512 * share)
    photo = Image.new("RGB", (512 + side, 512), "white")
    photo.paste(portrait(), (0, 0))
    photo.paste(portrait().resize((side, side)), (512, 0))
    return photo


def encode(photo: Image.Image, image_format: str = "PNG", **options: object) -> bytes:
    """Encode a photo."""
    stream = io.BytesIO()
    photo.save(stream, image_format, **options)
    return stream.getvalue()


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """One piece of a PNG, with its checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
