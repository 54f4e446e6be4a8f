"""Builds of wheel and sdist: put the engine's third-party weights in, fetched and verified, with their licence notices."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class WeightsHook(BuildHookInterface[Any]):
    """Fetches what is missing before anything is packed. An editable install fetches at `make setup` instead."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 - hatchling's signature
        """Fetch and verify."""
        if version == "editable":
            return
        sys.path.insert(0, str(Path(self.root) / "service"))
        try:
            from facequality.detectors.embedded import weights  # noqa: PLC0415 - found only now
        finally:
            sys.path.pop(0)
        weights.fetch(weights.read_manifest(), weights.DIRECTORY)
