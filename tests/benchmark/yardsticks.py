"""What the gate is measured against, beside the vendor's SDK: a bare gRPC echo, and the gate as one would write it first.

``python -m tests.benchmark.yardsticks echo|naive ENDPOINT CA_FILE``; prints its port.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import sys
import time

import grpc
import httpx
import uvloop
from facequality.detectors.tencentcloud import signature
from facequality.testing import SECRET_ID, SECRET_KEY
from facequality.v1 import detection_pb2
from facequality.v1 import face_quality_service_pb2 as pb
from facequality.v1 import face_quality_service_pb2_grpc as pb_grpc

OPTIONS = (("grpc.max_receive_message_length", 8 << 20), ("grpc.so_reuseport", 0))


class Echo(pb_grpc.FaceQualityServiceServicer):
    """Takes the same message, gives an answer of the same size, and does nothing."""

    def __init__(self) -> None:
        self._answer = pb.CheckFaceQualityResponse(policy="x" * 1500)

    async def CheckFaceQuality(self, request: pb.CheckFaceQualityRequest, context: object) -> pb.CheckFaceQualityResponse:
        return self._answer


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
    servicer = Echo() if kind == "echo" else Naive(endpoint, ca_file)
    pb_grpc.add_FaceQualityServiceServicer_to_server(servicer, server)
    print(server.add_insecure_port("127.0.0.1:0"), flush=True)  # noqa: T201 - the driver reads it
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    if sys.argv[1] == "echo":
        uvloop.run(main())
    else:
        asyncio.run(main())
