"""The adapter: the synchronous engine behind the asynchronous port, one engine per worker thread."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
from threadpoolctl import threadpool_limits

from facequality.detectors.embedded.capabilities import INFO
from facequality.detectors.embedded.decode import decode
from facequality.detectors.embedded.engine import Engine
from facequality.errors import ErrorReason, InvalidRequest
from facequality.model import MIN_FACE_SIZES, Detection, DetectOptions, Photo, PhotoBytes, PhotoRefused, Reason


@dataclass(frozen=True, slots=True)
class _Worker:
    """An engine and the one thread that it runs in: OpenCV's networks are not thread-safe."""

    engine: Engine
    thread: ThreadPoolExecutor


class EmbeddedDetector:
    """DetectFace on this machine. Its scores are its own estimates, shaped after the cloud's bands."""

    info = INFO

    def __init__(self, workers: int | None = None, load: Callable[[], Engine] = Engine) -> None:
        """``load`` one engine per worker; by default one per processor that this process may use.

        Raises:
            WeightsError: third-party weights are not there.
            RuntimeError: the system starts no more threads.
        """
        workers = workers or processors()
        # Photos run side by side, each on one thread: inner thread pools would fight over the processors.
        cv2.setNumThreads(1)
        threadpool_limits(1, user_api="blas")
        self._workers = [_hire(load) for _ in range(workers)]
        # A worker is lent to one call at a time.
        self._free: asyncio.Queue[_Worker] = asyncio.Queue()
        for worker in self._workers:
            self._free.put_nowait(worker)

    async def detect(self, photo: Photo, options: DetectOptions) -> Detection | PhotoRefused:
        """Find and assess faces off the event loop.

        Raises:
            InvalidRequest: the photo is a URI.
        """
        if not isinstance(photo, PhotoBytes):
            what = "the embedded detector downloads nothing; send the photo's bytes as image"
            raise InvalidRequest.field(ErrorReason.URL_FORBIDDEN, "uri", what)
        # A caller that goes away while it waits leaves nothing behind; one that goes away later leaves a step of the engine's to
        # be finished, and the worker comes back only then.
        worker = await self._free.get()
        unwanted = threading.Event()
        job = worker.thread.submit(_analyse, worker.engine, photo.data, options, unwanted)
        loop = asyncio.get_running_loop()
        job.add_done_callback(functools.partial(self._give_back, loop, worker))
        answer = asyncio.wrap_future(job)
        # Of a job that nobody waits for any longer, asyncio would log how it ended.
        answer.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            return await asyncio.shield(answer)
        finally:
            unwanted.set()

    async def aclose(self) -> None:
        """Begin nothing more. A photo that is being looked at is finished in its thread."""
        for worker in self._workers:
            worker.thread.shutdown(wait=False, cancel_futures=True)

    def _give_back(self, loop: asyncio.AbstractEventLoop, worker: _Worker, _: Future[Detection | PhotoRefused]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(self._free.put_nowait, worker)


def _hire(load: Callable[[], Engine]) -> _Worker:
    # Loaded in its thread, which is started so: one that cannot be started with a photo would take the worker with it.
    thread = ThreadPoolExecutor(1, thread_name_prefix="engine")
    return _Worker(thread.submit(load).result(), thread)


def _analyse(
    engine: Engine, data: bytes | memoryview, options: DetectOptions, unwanted: threading.Event
) -> Detection | PhotoRefused:
    def proceed() -> None:
        if unwanted.is_set():
            raise CancelledError

    image = decode(bytes(data), proceed)
    if image is None:
        return PhotoRefused(Reason.IMAGE_UNDECODABLE)
    found = engine.analyse(image, options, proceed)
    if not found.faces and options.min_face_size > min(MIN_FACE_SIZES):
        smaller = replace(options, max_face_num=1, min_face_size=min(MIN_FACE_SIZES))
        if engine.has_face(image, smaller, proceed):
            return PhotoRefused(Reason.FACE_TOO_SMALL)
    return found


def processors(cgroup: Path = Path("/sys/fs/cgroup")) -> int:
    """Return how many processors this process may use: by affinity, and by the container's quota (cgroup v2 or v1)."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = (cgroup / "cpu.max").read_text(encoding="ascii").split()
    except OSError:
        try:
            quota, period = (
                (cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text(encoding="ascii").strip() for name in ("quota", "period")
            )
        except OSError:
            return affinity
    limited = quota.isdecimal() and period.isdecimal() and int(period) > 0
    return max(1, min(affinity, int(quota) // int(period))) if limited else affinity
