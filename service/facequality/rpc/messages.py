"""The message of a check, read without a copy of its photo."""

from __future__ import annotations

from dataclasses import dataclass

from facequality.v1 import face_quality_service_pb2 as pb

_IMAGE = b"\x0a"
"""How the photo begins in a message: field 1, length-delimited."""
_LENGTH_BYTES = 4
"""A varint of more bytes would be a length beyond any message that gRPC receives."""
_MOST_BESIDE = 1024
"""Bytes of a message beside its photo; a policy's name and options take under 100."""


@dataclass(frozen=True, slots=True)
class CheckMessage:
    """A CheckFaceQualityRequest whose photo, if it comes first as it does from every client, is a view of the bytes received."""

    fields: pb.CheckFaceQualityRequest
    """Everything else."""
    image: memoryview | None = None

    @classmethod
    def parse(cls, raw: bytes) -> CheckMessage:
        """Read a message; what it says is what protobuf's own parser says.

        Raises:
            DecodeError: it is none.
        """
        start, size = _image(raw)
        fields = pb.CheckFaceQualityRequest.FromString(raw[start + size :])
        if not start or fields.WhichOneof("photo") is not None:
            # Of a oneof that is given twice the last one counts.
            return cls(fields)
        if len(raw) - size > _MOST_BESIDE:
            # A view would keep all of it alive, and may outlive its call where identical photos share one.
            return cls(fields, memoryview(raw[start : start + size]))
        return cls(fields, memoryview(raw)[start : start + size])


def _image(raw: bytes) -> tuple[int, int]:
    """Return where the photo that a message begins with starts, and its size; 0 and 0 if it begins with something else."""
    size = 0
    if raw.startswith(_IMAGE):
        for index, byte in enumerate(raw[1 : 1 + _LENGTH_BYTES]):
            size |= (byte & 0x7F) << 7 * index
            if byte < 0x80:
                start = index + 2
                return (start, size) if start + size <= len(raw) else (0, 0)
    return 0, 0
