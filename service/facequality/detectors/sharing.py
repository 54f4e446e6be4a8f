"""A decorator of the port that asks once for identical photos: at the same time, and for a while after if it is told to.

What is kept is a digest and an answer, never a photo. Faults and photos by URI are not kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, MutableMapping
from contextvars import copy_context
from dataclasses import replace
from enum import StrEnum
from typing import Any, TypeAlias

from blake3 import blake3

from facequality import deadline
from facequality.detector import Detector
from facequality.detectors.decorator import DetectorDecorator
from facequality.model import Detection, DetectOptions, Photo, PhotoBytes, PhotoRefused

CACHED_FACES = 5
"""Answers about more faces are not kept: each takes 360 bytes, and the caller asks for as many as 120."""

Answer: TypeAlias = Detection | PhotoRefused
Key: TypeAlias = tuple[Hashable, DetectOptions]
Fingerprint: TypeAlias = Callable[[PhotoBytes, DetectOptions], Awaitable[tuple[Hashable, PhotoBytes]]]
"""Gives what tells photos apart, and the photo, with its digest if the detector has use for it."""


class Saved(StrEnum):
    """Why a call needed no request of its own."""

    SHARED = "shared"
    CACHED = "cached"


async def digest(photo: PhotoBytes, _: DetectOptions) -> tuple[Hashable, PhotoBytes]:
    """Hash a photo with BLAKE3: five times as fast as SHA-256 in hardware, and so not worth a thread: 0.4 ms for 3.7 MB."""
    return blake3(photo.data).hexdigest(), photo


async def content(photo: PhotoBytes, _: DetectOptions) -> tuple[Hashable, PhotoBytes]:
    """Hash a photo only if another one much like it is there: a key that keeps the photo, for calls that keep it anyway."""
    return _Content(photo.data), photo


class SharingDetector(DetectorDecorator):
    """Lets identical calls share one."""

    def __init__(
        self,
        inner: Detector,
        fingerprint: Fingerprint | None = None,
        *,
        cache: MutableMapping[Key, Answer] | None = None,
        on_saved: Callable[[Saved], None] = lambda _: None,
    ) -> None:
        """``cache`` keeps answers for as long as it likes; None: none is kept. ``on_saved`` is told of each call saved.

        ``fingerprint`` must keep no photo if there is a cache; None: ``digest`` with one, ``content`` without.
        """
        super().__init__(inner)
        self._fingerprint = fingerprint or (content if cache is None else digest)
        self._cache = cache
        self._on_saved = on_saved
        self._calls: dict[Key, _SharedCall] = {}

    async def detect(self, photo: Photo, options: DetectOptions) -> Answer:
        """Call the inner detector, or take part in a call that runs, or answer from the cache; raises what the call raises."""
        if not isinstance(photo, PhotoBytes):
            return await self._inner.detect(photo, options)
        fingerprint, photo = await self._fingerprint(photo, options)
        key = (fingerprint, options)
        if self._cache is not None and (kept := self._cache.get(key)) is not None:
            self._on_saved(Saved.CACHED)
            return replace(kept, cached=True)
        call = self._calls.get(key)
        if call is None:
            call = self._calls[key] = _SharedCall(self._call(key, photo), lambda: self._calls.pop(key))
        else:
            self._on_saved(Saved.SHARED)
        return await call.join()

    async def _call(self, key: Key, photo: PhotoBytes) -> Answer:
        answer = await self._inner.detect(photo, key[1])
        if self._cache is not None and (isinstance(answer, PhotoRefused) or len(answer.faces) <= CACHED_FACES):
            self._cache[key] = answer
        return answer


class _Content:
    """A photo as a key: its length and end tell it from nearly all others; its digest, made when needed, from the rest."""

    __slots__ = ("_data", "_digest", "_hash")

    _END = 64

    def __init__(self, data: bytes | memoryview) -> None:
        self._data = data
        self._digest: bytes | None = None
        self._hash = hash((len(data), bytes(data[-self._END :])))

    def digest(self) -> bytes:
        """Hash the photo, once."""
        if self._digest is None:
            self._digest = blake3(self._data).digest()
        return self._digest

    def __hash__(self) -> int:
        return self._hash

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Content) and self._hash == hash(other) and self.digest() == other.digest()


class _SharedCall:
    """One call in a task of its own: it ends when it is done, or when the last caller has gone."""

    def __init__(self, call: Coroutine[Any, Any, Answer], on_end: Callable[[], object]) -> None:
        self._callers: list[deadline.Deadline | None] = []
        self._on_end = on_end
        self._ended = False
        # As long as its most patient caller has.
        self._deadline = deadline.Deadline(at=0.0, budget=0.0)
        context = copy_context()
        context.run(deadline.current.set, self._deadline)
        self._task = asyncio.create_task(call, context=context)
        self._task.add_done_callback(self._end)

    async def join(self) -> Answer:
        caller = deadline.current.get()
        self._callers.append(caller)
        self._deadline.cover(self._callers)
        try:
            return await asyncio.shield(self._task)
        finally:
            self._callers.remove(caller)
            if self._callers:
                self._deadline.cover(self._callers)
            else:
                self._end(self._task)
                self._task.cancel()

    def _end(self, task: asyncio.Task[Answer]) -> None:
        if not self._ended:
            self._ended = True
            self._on_end()
        if task.done() and not task.cancelled():
            task.exception()
