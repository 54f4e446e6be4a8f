"""How the command line checks photos: in process, or over gRPC; the same answers either way."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from facequality import deadline
from facequality.correlation import REQUEST_ID_HEADER
from facequality.errors import Code, ErrorReason, GateError
from facequality.gate import Gate
from facequality.paths import is_folder
from facequality.rpc.messages import CheckMessage
from facequality.rpc.server import MAX_RECEIVE_BYTES
from facequality.rpc.translation import to_request, to_response
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc
from facequality.v1 import verdict_pb2

PHOTO_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp"})


class CheckFailed(Exception):
    """A photo could not be judged: a gRPC code, an ErrorReason (may be empty) and a text."""

    def __init__(self, code: str, reason: str, message: str, metadata: Mapping[str, str] | None = None) -> None:
        """``metadata`` is ErrorInfo's; over gRPC also the ``request_id`` that the gate's log has."""
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message
        self.metadata = dict(metadata or {})


class Checker(Protocol):
    """Judges photos."""

    async def check(self, request: pb.CheckFaceQualityRequest) -> pb.CheckFaceQualityResponse:
        """Judge one photo.

        Raises:
            CheckFailed: it could not be judged.
        """
        ...


@dataclass(frozen=True, slots=True)
class LocalChecker:
    """Judges in this process."""

    gate: Gate
    timeout: float

    async def check(self, request: pb.CheckFaceQualityRequest) -> pb.CheckFaceQualityResponse:
        """Judge one photo."""
        deadline.current.set(deadline.Deadline.after(self.timeout))
        try:
            return to_response(await self.gate.check(to_request(CheckMessage(request))))
        except GateError as error:
            raise CheckFailed(error.code.value, error.reason.value, error.message, error.metadata) from error
        except Exception as error:
            raise CheckFailed(Code.INTERNAL, ErrorReason.GATE_BUG, f"a bug in the gate: {error!r}") from error


@dataclass(frozen=True, slots=True)
class RemoteChecker:
    """Judges over a channel."""

    channel: grpc.aio.Channel
    timeout: float

    async def check(self, request: pb.CheckFaceQualityRequest) -> pb.CheckFaceQualityResponse:
        """Judge one photo."""
        stub = pb_grpc.FaceQualityServiceStub(self.channel)
        try:
            response: pb.CheckFaceQualityResponse = await stub.CheckFaceQuality(request, timeout=self.timeout)
        except grpc.aio.AioRpcError as error:
            info = _info(error)
            metadata = dict(info.metadata)
            request_id = dict(error.trailing_metadata() or ()).get(REQUEST_ID_HEADER)
            text = error.details() or ""
            if isinstance(request_id, str):
                metadata["request_id"] = request_id
                text += f" (request {request_id})" if error.code() is grpc.StatusCode.INTERNAL else ""
            raise CheckFailed(error.code().name, info.reason, text, metadata) from error
        return response


def read_photo(path: Path) -> tuple[bytes, int]:
    """Read a photo, but no more than a gate receives: what is larger is refused all the same. Return its whole size, bytes, too.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as photo:
        data = photo.read(MAX_RECEIVE_BYTES - 1024)
        return data, max(len(data), os.fstat(photo.fileno()).st_size)


def restate_size(answer: pb.CheckFaceQualityResponse, size: int) -> None:
    """Put a photo's whole size, bytes, into an answer about the part of it that was read."""
    for finding in answer.findings:
        if finding.measure == verdict_pb2.MEASURE_IMAGE_BYTES:
            finding.observed = size
            finding.margin = finding.max - size


def find_photos(paths: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Yield the photos: files as they are, folders searched recursively for known suffixes, sorted.

    Each with an empty text; a folder that cannot be read, or was named and holds no photo, with what is wrong with it.
    """
    for path in paths:
        if is_folder(path):
            found = sorted(_search(path))
            yield from found or [(path, "the folder holds no photo: no jpg, jpeg, png or bmp")]
        else:
            yield path, ""


def _search(folder: Path) -> Iterator[tuple[Path, str]]:
    closed: list[OSError] = []
    for place, _, names in os.walk(folder, onerror=closed.append):
        files = (Path(place, name) for name in names)
        yield from ((file, "") for file in files if file.suffix.lower() in PHOTO_SUFFIXES and file.is_file())
    yield from ((Path(error.filename or folder), f"the folder cannot be read: {error.strerror}") for error in closed)


def _info(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    info = error_details_pb2.ErrorInfo()
    try:
        status = rpc_status.from_call(error)  # type: ignore[arg-type] # it has all that a Call needs here
    except ValueError:
        # A proxy has changed the code or the text.
        return info
    for detail in status.details if status is not None else ():
        if detail.Unpack(info):
            break
    return info
