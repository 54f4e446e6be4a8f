"""Settings from the environment, validated at start with every mistake named."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from facequality.policy import PRESETS

PREFIX = "FACEQUALITY_"
_CLOUD_PREFIXES = ("TENCENTCLOUD_", f"{PREFIX}TENCENTCLOUD_")
_ADDRESS = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:\s]+):(\d{1,5})")
_HIGHEST_PORT = 65535


class SettingsError(Exception):
    """Every mistake in the settings, one a line."""


class DetectorName(StrEnum):
    """The detectors that can be live."""

    EMBEDDED = "embedded"
    TENCENTCLOUD = "tencentcloud"


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host stands in brackets.

    Raises:
        ValueError: it is not of that form.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or int(match[2]) > _HIGHEST_PORT:
        raise ValueError("must be HOST:PORT, an IPv6 host in brackets, such as 127.0.0.1:50051 or [::]:50051")
    return match[1].strip("[]"), int(match[2])


def _address(value: str) -> str:
    split_address(value)
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(lambda value: _address(value) if value else value)]


class Settings(BaseSettings):
    """One field per variable, FACEQUALITY_ in front."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    detector: DetectorName = Field(
        DetectorName.EMBEDDED,
        description="`embedded` or `tencentcloud`; must be set once any TENCENTCLOUD_ variable is.",
    )
    grpc_address: Address = Field("[::]:50051", description="Where gRPC listens.")
    health_address: OptionalAddress = Field(
        "", description="Plaintext grpc.health.v1 alone, for probes; empty: on the gRPC port only."
    )
    metrics_address: Address = Field("[::]:9090", description="Where Prometheus metrics are served.")
    default_policy: str = Field("", description="Policy applied when a request names none; empty: `enroll`.")
    deadline_seconds: float = Field(
        10, gt=0, le=300, description="Budget of a call without a deadline, and upper bound of one with."
    )
    drain_seconds: float = Field(5, ge=0, le=600, description="Keep serving after readiness drops.")
    grace_seconds: float = Field(20, ge=0, le=600, description="Then let accepted calls finish.")
    reflection: bool = Field(default=False, description="gRPC reflection.")
    embedded_workers: int = Field(
        0, ge=0, le=256, description="Photos that the embedded engine works on at a time; 0: one per processor."
    )
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "info", description="Lowest level logged."
    )


def load(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the process's environment.

    Raises:
        SettingsError: something in it is wrong; the text names every mistake.
    """
    environ = os.environ if environ is None else environ
    mistakes = _contradictions(environ)
    settings: Settings | None = None
    try:
        settings = Settings()
    except ValidationError as error:
        mistakes += [f"{PREFIX}{str(e['loc'][0]).upper()}: {_reason(e['msg'])}" for e in error.errors()]
    if mistakes or settings is None:
        raise SettingsError("\n".join(mistakes))
    return settings


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """Name variables that look like ours but are none; each with the nearest real one.

    Kubernetes adds variables of its own for every Service (NAME_SERVICE_HOST, NAME_PORT): only near misses are named.
    """
    known = [f"{PREFIX}{name.upper()}" for name in Settings.model_fields]
    hints = []
    for name in sorted(environ):
        if name.startswith(PREFIX) and name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.9)
            hints += [f"{name} is not a setting; did you mean {near[0]}?"] if near else []
    return hints


def _contradictions(environ: Mapping[str, str]) -> list[str]:
    mistakes = []
    cloud = sorted(name for name, value in environ.items() if value and name.startswith(_CLOUD_PREFIXES))
    if cloud and not environ.get(f"{PREFIX}DETECTOR"):
        mistakes.append(
            f"{PREFIX}DETECTOR: is not set, yet {', '.join(cloud)} {'is' if len(cloud) == 1 else 'are'}; "
            "say which detector is meant: tencentcloud or embedded"
        )
    default = environ.get(f"{PREFIX}DEFAULT_POLICY", "")
    if default and default not in PRESETS:
        mistakes.append(f"{PREFIX}DEFAULT_POLICY: no policy named {default!r}; served: {', '.join(PRESETS)}")
    return mistakes


def _reason(message: str) -> str:
    return message.removeprefix("Value error, ")
