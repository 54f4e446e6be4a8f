"""For the tests of whoever calls DetectFace: the emulator in a thread. Public API.

    with detectface_emulator() as emulator:
        ...  # emulator.url, emulator.secret_id, emulator.secret_key, emulator.calls

Needs the extra ``embedded`` unless a detector is given.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from facequality.detector import Detector
from facequality.detectors.embedded.start import embedded_detector
from facequality.detectors.tencentcloud.signature import Credential
from facequality.emulator import scenario as scenarios
from facequality.emulator.server import Emulator, start

_T = TypeVar("_T")

SECRET_ID, SECRET_KEY = "AKIDemulator", "emulator-secret-key"


@dataclass(frozen=True, slots=True)
class EmulatedEndpoint:
    """Where an emulator listens and which key it takes."""

    url: str
    secret_id: str
    secret_key: str
    _emulator: Emulator

    @property
    def host(self) -> str:
        """``host:port``, as the vendor's SDKs take an endpoint."""
        return self.url.partition("://")[2]

    @property
    def calls(self) -> int:
        """Authentic requests so far: what the vendor would bill."""
        return self._emulator.calls


@contextmanager
def detectface_emulator(
    scenario: str | Path | scenarios.Scenario | None = None,
    *,
    detector: Detector | None = None,
    token: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> Iterator[EmulatedEndpoint]:
    """Serve DetectFace on a free loopback port for as long as the context lasts.

    ``scenario`` is a file, the name of a shipped one (``example-1``, ``example-2``, ``rough-day``) or a Scenario. ``detector``
    answers what the scenario leaves: the embedded engine unless given. ``token`` makes the key a temporary one.

    Raises:
        ScenarioError: the scenario cannot be used.
        StartError: no detector is given, and the embedded engine cannot start.
    """
    script = scenario if isinstance(scenario, scenarios.Scenario) or scenario is None else scenarios.load(Path(scenario))
    keys = {SECRET_ID: Credential(SECRET_ID, SECRET_KEY, token)}
    own = detector or embedded_detector()
    emulator = Emulator(own, keys, script)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="detectface-emulator", daemon=True)
    thread.start()

    def run(coroutine: Coroutine[Any, Any, _T]) -> _T:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    try:
        running = run(start(emulator, "127.0.0.1", 0, tls))
        scheme = "https" if tls is not None else "http"
        try:
            yield EmulatedEndpoint(f"{scheme}://127.0.0.1:{running.port}", SECRET_ID, SECRET_KEY, emulator)
        finally:
            run(running.stop())
            if detector is None:
                run(own.aclose())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
