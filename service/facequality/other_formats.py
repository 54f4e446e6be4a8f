"""Signatures of image formats that DetectFace does not take: of such a photo the format is the trouble, not the bytes."""

from __future__ import annotations

EXAMINED_BYTES = 128
"""As much of a photo's start is looked at: HEIF names its kind within."""

_SIGNATURES: tuple[bytes, ...] = (
    *(b"GIF87a", b"GIF89a"),
    *(b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),  # TIFF with most cameras' raw formats, BigTIFF
    *(b"IIRO", b"IIRS", b"IIU\x00", b"FUJIFILM", b"FOVb"),  # other cameras' raw formats
    *(b"\x00\x00\x01\x00", b"\x00\x00\x02\x00", b"icns"),  # ICO, CUR, ICNS
    *(b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),  # JPEG 2000
    *(b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n", b"II\xbc"),  # JPEG XL, JPEG XR
    *(b"8BPS", b"gimp xcf", b"\x8aMNG\r\n\x1a\n", b"\x8bJNG\r\n\x1a\n"),
    *(b"DDS ", b"qoif", b"\x76\x2f\x31\x01", b"#?RADIANCE"),  # the third is OpenEXR
    *(b"\x01\xda\x00\x01", b"\x01\xda\x01\x01", b"\x59\xa6\x6a\x95"),  # SGI, Sun
    *(b"\xff\xd8\xff\xf7", b"BPG\xfb", b"FLIF", b"farbfeld", b"SIMPLE  ="),  # the first is JPEG-LS, the last FITS
    *(b"%!PS", b"\xc5\xd0\xd3\xc6", b"\xd7\xcd\xc6\x9a", b"/* XPM"),  # EPS, EPS with a preview, WMF, XPM
    *tuple(bytes((0x0A, version, 1)) for version in (0, 2, 3, 4, 5)),  # PCX
    *tuple(b"P%d%c" % (kind, space) for kind in range(1, 8) for space in b" \t\r\n"),  # the PNM family
)

_ISO_BRANDS = frozenset(
    b"heic heix heim heis hevc hevx hevm hevs mif1 mif2 msf1 miaf avci avcs avif avis avio jpeg jpgs crx".split()
)
"""Brands of images among the files that ISO/IEC 14496-12 describes: HEIF (ISO/IEC 23008-12), AVIF, Canon's raw format."""


def is_other_format(start: bytes) -> bool:
    """Tell whether a file that starts so is an image of a format that is not taken."""
    if start.startswith(_SIGNATURES) or (start.startswith(b"RIFF") and start.startswith(b"WEBP", 8)):
        return True
    # A box: its length, its kind, the major brand, a version, the compatible brands.
    length = min(int.from_bytes(start[:4], "big"), len(start))
    brands = (start[at : at + 4].rstrip() for at in (8, *range(16, length, 4)))
    return start[4:8] == b"ftyp" and not _ISO_BRANDS.isdisjoint(brands)
