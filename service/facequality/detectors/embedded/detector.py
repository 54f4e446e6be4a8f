"""The adapter: the synchronous engine behind the asynchronous port, one engine per worker thread."""

from __future__ import annotations

import asyncio
import os
import queue
from concurrent.futures import ThreadPoolExecutor

import cv2
from threadpoolctl import threadpool_limits

from facequality.detector import DetectorInfo
from facequality.detectors.embedded.decode import decode
from facequality.detectors.embedded.engine import Engine
from facequality.errors import ErrorReason, InvalidRequest
from facequality.measure import QUALITY_MEASURES
from facequality.model import Detection, DetectOptions, Measure, Photo, PhotoBytes, PhotoRefused, Reason

INFO = DetectorInfo(
    name="embedded",
    measures=frozenset(
        {
            *QUALITY_MEASURES,
            Measure.FACE_SIZE,
            Measure.FACE_AREA_PERCENT,
            Measure.PITCH,
            Measure.YAW,
            Measure.ROLL,
            Measure.MASK,
        }
    ),
    paid=False,
    cloud_calibrated=False,
)


class EmbeddedDetector:
    """DetectFace on this machine. Its scores are its own estimates, shaped after the cloud's bands."""

    info = INFO

    def __init__(self, workers: int | None = None) -> None:
        """Load one engine per worker; by default one per processor that this process may use.

        Raises:
            WeightsError: third-party weights are not there.
        """
        workers = workers or len(os.sched_getaffinity(0))
        # Photos run side by side, each on one thread: inner thread pools would fight over the processors.
        cv2.setNumThreads(1)
        threadpool_limits(1, user_api="blas")
        # OpenCV's networks are not thread-safe: an engine is lent to one call at a time.
        self._engines: queue.SimpleQueue[Engine] = queue.SimpleQueue()
        for _ in range(workers):
            self._engines.put(Engine())
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="engine")

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Find and assess faces off the event loop.

        Raises:
            InvalidRequest: the photo is a URI.
        """
        if not isinstance(photo, PhotoBytes):
            what = "the embedded detector downloads nothing; send the photo's bytes as image"
            raise InvalidRequest.field(ErrorReason.URL_FORBIDDEN, "uri", what)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._detect, photo.data, options)

    async def aclose(self) -> None:
        """Let running photos finish and end the workers."""
        await asyncio.to_thread(self._pool.shutdown, wait=True, cancel_futures=True)

    def _detect(self, data: bytes, options: DetectOptions) -> Detection | PhotoRefused:
        image = decode(data)
        if image is None:
            return PhotoRefused(Reason.IMAGE_UNDECODABLE)
        engine = self._engines.get()
        try:
            return engine.analyse(image, options)
        finally:
            self._engines.put(engine)
