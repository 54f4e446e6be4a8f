"""A gate that serves a file, and files that change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from facequality.app import App
from facequality.settings import Settings

from tests import photos
from tests.detectors import FakeDetector
from tests.running import Fake, running

PHOTO = photos.encode(photos.cat(), "JPEG")
STRICT = "policies: {gate: {extends: enroll}}"
LOOSE = "policies: {gate: {extends: loose, description: other}}"
BROKEN = "policies: {gate: {extends: loose, bounds: {sharpnes: {min: 1}}}}"


@asynccontextmanager
async def gate(path: Path, default: str = "") -> AsyncIterator[Fake]:
    """A gate with a fake detector that serves a policy file or directory."""
    settings = Settings(grpc_address="127.0.0.1:0", metrics_address="127.0.0.1:0", policy_file=path, default_policy=default)
    detector = FakeDetector()
    app = App(settings, detector)
    async with running(app) as (channel, _):
        yield Fake(app, detector, channel)


def write(path: Path, text: str) -> None:
    """Replace a file as careful writers do: whole or not at all."""
    scratch = path.with_suffix(".part")
    scratch.write_text(text, encoding="utf-8")
    scratch.rename(path)
