"""What the gate is measured against, beside the vendor's SDK: a bare gRPC echo, the gate as one would write it first, and its own parts.

``python -m tests.benchmark.yardsticks echo|naive|exchange|photo|verdict|response ENDPOINT CA_FILE``; prints its port.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import ssl
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime

import grpc
import httpx
import uvloop
from facequality.detectors.tencentcloud import signature
from facequality.detectors.tencentcloud.client import CloudOptions, TencentCloudDetector
from facequality.detectors.tencentcloud.protocol import MAX_ANSWER_BYTES
from facequality.detectors.transport import HttpClient, HttpOptions, Url
from facequality.gate import CheckRequest, Gate
from facequality.model import DetectOptions, PhotoBytes
from facequality.policy import built_in
from facequality.rpc.translation import to_response
from facequality.testing import SECRET_ID, SECRET_KEY
from facequality.v1 import detection_pb2
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc

STEPS = ("exchange", "photo", "verdict", "response")
"""Parts of the gate, each with more of it than the one before: see `Step`."""
OPTIONS = (("grpc.max_receive_message_length", 8 << 20), ("grpc.so_reuseport", 0))


_ANSWER = pb.CheckFaceQualityResponse(policy="x" * 1500)
"""As large as a real one."""


class Echo(pb_grpc.FaceQualityServiceServicer):
    """Takes the same message, gives an answer of the same size, and does nothing."""

    async def CheckFaceQuality(self, request: pb.CheckFaceQualityRequest, context: object) -> pb.CheckFaceQualityResponse:
        return _ANSWER


class Step(pb_grpc.FaceQualityServiceServicer):
    """A part of the gate, without what keeps a gate alive and watched.

    ``exchange`` is an HTTP exchange without the photo, ``photo`` the cloud detector's whole call, ``verdict`` also inspects and judges
    the photo, ``response`` also gives the real answer.
    """

    def __init__(self, kind: str, endpoint: str, ca_file: str) -> None:
        self._kind = kind
        self._url = Url(f"{endpoint}/")
        self._http = HttpClient(HttpOptions(tls=ssl.create_default_context(cafile=ca_file)))
        credential = signature.Credential(SECRET_ID, SECRET_KEY)
        self._detector = TencentCloudDetector(lambda: credential, CloudOptions(endpoint=endpoint), self._http)
        policies = built_in(datetime.now(UTC))
        self._gate = Gate(lambda: policies, self._detector)

    async def CheckFaceQuality(self, request: pb.CheckFaceQualityRequest, context: object) -> pb.CheckFaceQualityResponse:
        if self._kind == "exchange":
            headers = {"Content-Type": "application/json", "Content-Length": "2"}
            await self._http.request("POST", self._url, headers, lambda: (b"{}",), max_answer_bytes=MAX_ANSWER_BYTES)
            return _ANSWER
        photo = PhotoBytes(request.image)
        if self._kind == "photo":
            await self._detector.detect(photo, DetectOptions(max_face_num=2))
            return _ANSWER
        result = await self._gate.check(CheckRequest(photo, request.policy))
        return to_response(result) if self._kind == "response" else _ANSWER


class Naive(pb_grpc.FaceQualityServiceServicer):
    """httpx as it comes, json.dumps, base64, everything on the loop; no limits, no metrics, no logs."""

    def __init__(self, endpoint: str, ca_file: str) -> None:
        self._http = httpx.AsyncClient(verify=ca_file, trust_env=False, timeout=60)
        self._endpoint = endpoint

    async def CheckFaceQuality(self, request: pb.CheckFaceQualityRequest, context: object) -> pb.CheckFaceQualityResponse:
        document = {"Image": base64.b64encode(request.image).decode(), "MaxFaceNum": 2, "NeedQualityDetection": 1}
        body = json.dumps(document).encode()
        now = int(time.time())
        host = self._endpoint.partition("://")[2]
        headers = (("content-type", "application/json"), ("host", host))
        canonical = signature.Canonical("POST", "", headers, hashlib.sha256(body).hexdigest())
        credential = signature.Credential(SECRET_ID, SECRET_KEY)
        answer = await self._http.post(
            self._endpoint,
            content=body,
            headers={
                "Host": host,
                "Content-Type": "application/json",
                "X-TC-Action": "DetectFace",
                "X-TC-Version": "2020-03-03",
                "X-TC-Timestamp": str(now),
                "Authorization": signature.authorization(canonical, credential, now, "iai"),
            },
        )
        quality = answer.json()["Response"]["FaceInfos"][0]["FaceQualityInfo"]
        accepted = quality["Score"] >= 70 and quality["Sharpness"] >= 80 and 30 <= quality["Brightness"] <= 70
        return pb.CheckFaceQualityResponse(
            verdict="VERDICT_ACCEPTED" if accepted else "VERDICT_REJECTED", detection=detection_pb2.Detection(image_width=1)
        )


async def main() -> None:
    kind, endpoint, ca_file = sys.argv[1:]
    server = grpc.aio.server(options=OPTIONS)
    makers: dict[str, Callable[[], pb_grpc.FaceQualityServiceServicer]] = {
        "echo": Echo,
        "naive": lambda: Naive(endpoint, ca_file),  # type: ignore[abstract] # only checks are measured
        **{step: lambda: Step(kind, endpoint, ca_file) for step in STEPS},  # type: ignore[abstract]
    }
    servicer = makers[kind]()
    pb_grpc.add_FaceQualityServiceServicer_to_server(servicer, server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)  # noqa: T201 - the driver reads it
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1] == "naive":
        asyncio.run(main())
    else:
        uvloop.run(main())
