"""Load generators in processes of their own: one JSON order a line in, one JSON result a line out.

``python -m tests.benchmark.callers grpc PORT`` is a backend that calls a gate, ``h2load PORT`` the same with less of the machine; ``sdk HOST:PORT CA_FILE`` one that calls the vendor
through the official Python SDK, one shared client and a thread per call in progress; ``bare`` posts a body that is ready.

An order: ``{"calls": 100, "concurrent": 8, "size": 20000, "same": false}``; a result: ``{"seconds": [...], "rate": 80.0, "failed": 0}``,
the rate in calls per second.
"""

from __future__ import annotations

import asyncio
import base64
import http.client
import io
import json
import ssl
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import uvloop
from facequality.testing import SECRET_ID, SECRET_KEY
from facequality.v1 import face_quality_service_pb2 as pb
from PIL import Image

METHOD = "/facequality.v1.FaceQualityService/CheckFaceQuality"
NONCE = b"-the-nonce"


def photo(size: int) -> bytes:
    """A small photo, filled up behind its end: what is sent counts, not what it shows. No two end alike, as with real ones.

    It is drawn, not read: a process that has decoded a picture has freed larger blocks than it ever sends at 200 KB, after which glibc gives fewer pages
    back, and the SDK's call would cost a fifth less than where nothing but bytes is handled.
    """
    jpeg = io.BytesIO()
    Image.linear_gradient("L").resize((128, 128)).convert("RGB").save(jpeg, "JPEG")
    return jpeg.getvalue() + bytes(size - jpeg.tell() - len(NONCE)) + NONCE


class Grpc:
    """A backend on a gRPC channel; its messages are ready but for ten bytes, so that no two photos are alike."""

    def __init__(self, port: str) -> None:
        options = (("grpc.max_receive_message_length", 8 << 20),)
        self._channels = [grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=(*options, ("x", n))) for n in range(2)]
        self._calls: list[Any] = [channel.unary_unary(METHOD) for channel in self._channels]
        self._number = 0

    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        message = pb.CheckFaceQualityRequest(image=photo(order["size"]), policy="loose").SerializeToString()
        head, tail = message.split(NONCE)
        seconds: list[float] = []
        failed = 0
        left = order["calls"]

        async def caller(number: int) -> None:
            nonlocal left, failed
            call = self._calls[number % len(self._calls)]
            while left > 0:
                left -= 1
                self._number += 1
                nonce = NONCE if order.get("same") else b"%010d" % self._number
                started = time.perf_counter()
                try:
                    await call(b"".join((head, nonce, tail)), timeout=60)
                    seconds.append(time.perf_counter() - started)
                except grpc.aio.AioRpcError:
                    failed += 1

        started = time.perf_counter()
        await asyncio.gather(*(caller(number) for number in range(order["concurrent"])))
        return {"seconds": seconds, "rate": order["calls"] / (time.perf_counter() - started), "failed": failed}


class H2load:
    """nghttp2's load generator, which leaves the machine to what is measured: a process per call in progress, each with its own photo.

    It repeats one message, and identical photos at the same time would share a call. It does not see a call's status: whoever
    gives orders looks at the vendor's count.
    """

    def __init__(self, port: str) -> None:
        self._url = f"http://127.0.0.1:{port}{METHOD}"

    async def run(self, order: dict[str, Any]) -> dict[str, Any]:
        template = pb.CheckFaceQualityRequest(image=photo(order["size"]), policy="loose").SerializeToString()
        concurrent = order["concurrent"]
        with tempfile.TemporaryDirectory() as name:
            for number in range(concurrent):
                message = template.replace(NONCE, b"%010d" % number)
                Path(name, f"message-{number}").write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
            runs = [await self._start(Path(name), number, order["calls"] // concurrent) for number in range(concurrent)]
            codes = [await run.wait() for run in runs]
            logs = [Path(name, f"log-{number}").read_text(encoding="ascii").splitlines() for number in range(concurrent)]
        calls = [[(int(start), int(taken)) for start, _, taken in map(str.split, log)] for log in logs]
        seconds = [taken / 1e6 for each in calls for _, taken in each]
        return {"seconds": seconds, "rate": _steady(calls), "failed": sum(map(abs, codes))}

    async def _start(self, folder: Path, number: int, calls: int) -> asyncio.subprocess.Process:
        files = ["-d", str(folder / f"message-{number}"), f"--log-file={folder / f'log-{number}'}"]
        options = ["-n", str(calls), "-c1", "-m1", "-t1", *files]
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        return await asyncio.create_subprocess_exec("h2load", *options, *headers, self._url, stdout=asyncio.subprocess.DEVNULL)


def _steady(callers: list[list[tuple[int, int]]]) -> float:
    """Calls per second from when every caller calls until the first one is done: many processes take a while to start.

    Of each caller its calls: when it began and what it took, us.
    """
    begin = max(calls[0][0] for calls in callers)
    end = min(start + taken for calls in callers for start, taken in calls[-1:])
    done = sum(begin < start + taken <= end for calls in callers for start, taken in calls)
    return 1e6 * done / (end - begin) if end > begin else 0.0


def threaded(order: dict[str, Any], call: Callable[[], None]) -> dict[str, Any]:
    """Run calls from as many threads as are to be in progress."""

    def one(_: int) -> float:
        started = time.perf_counter()
        call()
        return time.perf_counter() - started

    started = time.perf_counter()
    with ThreadPoolExecutor(order["concurrent"]) as pool:
        seconds = list(pool.map(one, range(order["calls"])))
    return {"seconds": seconds, "rate": order["calls"] / (time.perf_counter() - started), "failed": 0}


def sdk(endpoint: str, ca_file: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Make the official SDK's client, shared and kept alive."""
    from tencentcloud.common import credential
    from tencentcloud.common.profile.client_profile import ClientProfile
    from tencentcloud.common.profile.http_profile import HttpProfile
    from tencentcloud.iai.v20200303 import iai_client, models

    profile = HttpProfile(protocol="https", endpoint=endpoint, certification=ca_file, keepAlive=True)
    client = iai_client.IaiClient(
        credential.Credential(SECRET_ID, SECRET_KEY), "ap-guangzhou", ClientProfile(httpProfile=profile)
    )

    def run(order: dict[str, Any]) -> dict[str, Any]:
        image = photo(order["size"])

        def call() -> None:
            request = models.DetectFaceRequest()
            request.Image = base64.b64encode(image).decode()
            request.MaxFaceNum = 2
            request.NeedQualityDetection = 1
            assert client.DetectFace(request).FaceInfos[0].FaceQualityInfo.Sharpness == 73

        return threaded(order, call)

    return run


def bare(endpoint: str, ca_file: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Post a body that is ready over one kept connection: the least that a call can take."""
    host, _, port = endpoint.partition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=ca_file))

    def run(order: dict[str, Any]) -> dict[str, Any]:
        body = b'{"Image":"' + base64.b64encode(photo(order["size"])) + b'"}'

        def call() -> None:
            connection.request("POST", "/", body, {"Content-Type": "application/json"})
            connection.getresponse().read()

        return threaded(order | {"concurrent": 1}, call)

    return run


async def _serve(run: Callable[[dict[str, Any]], Any]) -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        result = run(json.loads(line))
        print(json.dumps(await result if asyncio.iscoroutine(result) else result), flush=True)  # noqa: T201 - the driver reads it


async def main() -> None:
    kind, *rest = sys.argv[1:]
    if kind == "grpc":
        await _serve(Grpc(*rest).run)
    elif kind == "h2load":
        await _serve(H2load(*rest).run)
    else:
        await _serve({"sdk": sdk, "bare": bare}[kind](*rest))


if __name__ == "__main__":
    uvloop.run(main())
