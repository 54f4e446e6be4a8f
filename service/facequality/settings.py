"""Settings from the environment, validated at start with every mistake named."""

from __future__ import annotations

import difflib
import os
import re
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import SplitResult, urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict

from facequality import paths, policy_file
from facequality.address import split_address
from facequality.photo_uri import is_private_name
from facequality.policy import DEFAULT_PRESET, PRESETS
from facequality.policy_mistakes import PolicyFileError
from facequality.validation import reason

PREFIX = "FACEQUALITY_"
_CLOUD_PREFIXES = ("TENCENTCLOUD_", f"{PREFIX}TENCENTCLOUD_")
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*|[0-9A-Fa-f:.]+")
_HOST_PATTERN = re.compile(r"\.?[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})+")
_OF_A_SERVICE = re.compile(r"_SERVICE_(HOST|PORT\w*)=|_PORT=(tcp|udp|sctp)://|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?=")
"""Variables that Kubernetes adds for a Service, with their values."""
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


class SettingsError(Exception):
    """Every mistake in the settings, one a line."""


class DetectorName(StrEnum):
    """The detectors that can be live."""

    EMBEDDED = "embedded"
    TENCENTCLOUD = "tencentcloud"


def _address(value: str) -> str:
    split_address(value)
    return value


def _lower(value: object) -> object:
    return value.lower() if isinstance(value, str) else value


Address = Annotated[str, AfterValidator(_address)]
OptionalAddress = Annotated[str, AfterValidator(lambda value: _address(value) if value else value)]


def _port_is_sound(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _hosts(value: str) -> str:
    hosts = [host for each in value.split(",") if (host := each.strip())]
    if wrong := [host for host in hosts if not _HOST_PATTERN.fullmatch(host)]:
        raise ValueError(f"must be host names such as photos.example.com or .example.com, not {', '.join(wrong)}")
    if private := [host for host in hosts if is_private_name(host.lower())]:
        raise ValueError(f"{', '.join(private)}: photos are never taken from private hosts")
    return value


def _is_sound(url: str, parts: SplitResult) -> bool:
    """Tell whether a client takes what urlsplit has split: urlsplit drops line breaks, and takes spaces and a port left out."""
    is_clean = url.isprintable() and " " not in url and not parts.netloc.endswith(":")
    return is_clean and _HOST.fullmatch(parts.hostname or "") is not None and _port_is_sound(parts)


def _endpoint(value: str) -> str:
    value = value.strip()
    parts = urlsplit(value)
    is_bare = parts.path in {"", "/"} and not parts.query and not parts.fragment and parts.username is None
    if parts.scheme not in {"http", "https"} or not is_bare or not _is_sound(value, parts):
        raise ValueError("must be a base URL such as https://iai.tencentcloudapi.com")
    return f"{parts.scheme}://{parts.netloc}"


def _proxy(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    parts = urlsplit(text)
    if text and (parts.scheme != "http" or not _is_sound(text, parts)):
        raise ValueError("must be the URL of an HTTP proxy, such as http://proxy.example:3128")
    return value


def _readable(value: Path | None) -> Path | None:
    if value is not None and not os.access(value, os.R_OK):
        raise ValueError(f"{value} cannot be read" if paths.exists(value) else f"there is no {value}")
    return value


def _readable_file(value: Path | None) -> Path | None:
    if value is not None and not paths.is_file(value):
        raise ValueError("is not a file")
    return _readable(value)


ReadablePath = Annotated[Path | None, AfterValidator(_readable)]
ReadableFile = Annotated[Path | None, AfterValidator(_readable_file)]


class Settings(BaseSettings):
    """One field per variable: FACEQUALITY_ and the field's name, but for the vendor's own, which are aliases."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        frozen=True,
        extra="ignore",
        env_ignore_empty=True,
        hide_input_in_errors=True,
    )

    detector: DetectorName = Field(
        DetectorName.EMBEDDED,
        description="`embedded` or `tencentcloud`; must be set once any TENCENTCLOUD_ variable is.",
    )
    grpc_address: Address = Field("[::]:50051", description="Where gRPC listens.")
    health_address: OptionalAddress = Field(
        "", description="Plaintext grpc.health.v1 alone, for probes; empty: on the gRPC port only."
    )
    metrics_address: Address = Field("[::]:9090", description="Where Prometheus metrics are served.")
    policy_file: ReadablePath = Field(
        None, description="YAML file with policies, or a directory of them; empty: the four presets."
    )
    default_policy: str = Field(
        "", description="Policy applied when a request names none; empty: the file's default, its only policy, or `enroll`."
    )
    deadline_seconds: float = Field(
        10, gt=0, le=300, description="Budget of a call without a deadline, and upper bound of one with."
    )
    max_in_flight: int = Field(256, ge=1, le=100_000, description="Calls that run at a time; more wait in the queue.")
    max_in_flight_mib: int = Field(
        256,
        ge=16,
        le=65_536,
        description="Bytes of those calls' messages, MiB; none is read before there is room.",
    )
    max_queued: int = Field(64, ge=0, le=100_000, description="Calls that wait; one more is refused with RESOURCE_EXHAUSTED.")
    queue_seconds: float = Field(1, gt=0, le=60, description="How long a call waits before it is refused.")
    cache_seconds: float = Field(0, ge=0, le=86_400, description="Keep answers about photo bytes for so long; 0: not at all.")
    cache_entries: int = Field(
        10_000, ge=1, le=10_000_000, description="Most answers kept, each of 1 to 3 KB; none of more than five faces."
    )
    connection_age_seconds: float = Field(
        300,
        ge=0,
        le=86_400,
        description="Ask callers to reconnect after so long, so that new replicas get their share; 0: never.",
    )
    drain_seconds: float = Field(5, ge=0, le=600, description="Keep serving after readiness drops.")
    grace_seconds: float = Field(20, ge=0, le=600, description="Then let accepted calls finish.")
    reflection: bool = Field(default=False, description="gRPC reflection.")
    embedded_workers: int = Field(
        0, ge=0, le=256, description="Photos that the embedded engine works on at a time; 0: one per processor."
    )
    embedded_fetch_uris: bool = Field(
        default=False, description="Let the embedded detector download photo URIs (public addresses only)."
    )
    photo_uri_hosts: Annotated[str, AfterValidator(_hosts)] = Field(
        "",
        description="Hosts that photo URIs may name, comma-separated; `.x.com`: all below x.com; empty: any public one.",
    )
    tencentcloud_endpoint: Annotated[str, AfterValidator(_endpoint)] = Field(
        "https://iai.tencentcloudapi.com", description="DetectFace's base URL: global, regional, internal or international."
    )
    tencentcloud_region: str = Field("", pattern=r"^[a-z0-9-]*$", description="`X-TC-Region`; empty: not sent.")
    tencentcloud_proxy: Annotated[SecretStr, AfterValidator(_proxy)] = Field(
        SecretStr(""), description="URL of an HTTP proxy to the vendor; proxy variables of the environment are ignored."
    )
    tencentcloud_ca_file: ReadableFile = Field(None, description="PEM file of certificate authorities; empty: the system's.")
    tencentcloud_face_model_version: Literal["2.0", "3.0"] = Field("3.0", description="Face model where a request names none.")
    tencentcloud_language: Literal["en-US", "zh-CN"] = Field("en-US", description="Language of the vendor's messages.")
    tencentcloud_unsigned_payload: bool = Field(
        default=False,
        description="Leave the photo out of the signature: about a third less CPU for large photos; TLS alone then protects it.",
    )
    tencentcloud_connections: int = Field(64, ge=1, le=1024, description="Most connections to the vendor.")
    tencentcloud_connect_seconds: float = Field(3, gt=0, le=60, description="Limit of one TCP and TLS handshake.")
    tencentcloud_attempt_seconds: float = Field(5, gt=0, le=300, description="Limit of one request, within the call's deadline.")
    tencentcloud_qps: float = Field(
        0, ge=0, le=100_000, description="Requests per second: the account's quota / (most replicas + 2); 0: no limit."
    )
    secret_id: SecretStr = Field(SecretStr(""), validation_alias="TENCENTCLOUD_SECRET_ID", description="API key id.")
    secret_key: SecretStr = Field(SecretStr(""), validation_alias="TENCENTCLOUD_SECRET_KEY", description="API key.")
    token: SecretStr = Field(SecretStr(""), validation_alias="TENCENTCLOUD_TOKEN", description="Token of a temporary API key.")
    secret_id_file: ReadableFile = Field(None, validation_alias="TENCENTCLOUD_SECRET_ID_FILE", description="File with the id.")
    secret_key_file: ReadableFile = Field(
        None, validation_alias="TENCENTCLOUD_SECRET_KEY_FILE", description="File with the key; read again when it changes."
    )
    token_file: ReadableFile = Field(None, validation_alias="TENCENTCLOUD_TOKEN_FILE", description="File with the token.")
    log_level: Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(_lower)] = Field(
        "info", description="Lowest level logged."
    )


def load(*, serving: bool = False) -> Settings:
    """Read the process's environment; ``serving`` also demands what only a server must have.

    Raises:
        SettingsError: something in it is wrong; the text names every mistake.
    """
    environ = environment()
    mistakes = _unserved_default(environ)
    if serving:
        mistakes += _ambiguities(environ) + _missing_credentials(environ)
    settings: Settings | None = None
    try:
        settings = Settings()
    except ValidationError as error:
        mistakes += [f"{_variable(str(e['loc'][0]))}: {reason(e)}" for e in error.errors()]
    if settings is not None and serving:
        mistakes += _unprotected(settings)
    if mistakes or settings is None:
        # What a start would meet next; and a misspelt name may be why a value is missing: on its own it only warrants a warning.
        raise SettingsError("\n".join(mistakes + _broken_policies(environ) + misspelt(environ)))
    return settings


def environment() -> dict[str, str]:
    """Return the process's environment as the settings see it: names in upper case, without empty values."""
    return {name.upper(): value for name, value in os.environ.items() if value}


def misspelt(environ: Mapping[str, str]) -> list[str]:
    """Name variables that look like ours but are none; each with the nearest real one.

    Kubernetes adds variables of its own for every Service, and the vendor's tools have some that begin as ours do: of those only
    near misses are named.
    """
    known = variables()
    hints = []
    for name, value in sorted(environ.items()):
        if name.startswith((PREFIX, "TENCENTCLOUD_")) and name not in known:
            is_ours = name.startswith(PREFIX) and not _OF_A_SERVICE.search(f"{name}={value}")
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.8 if is_ours else 0.9)
            if near:
                hints.append(f"{name} is not a setting; did you mean {near[0]}?")
            elif is_ours:
                hints.append(f"{name} is not a setting")
    return hints


def variables() -> list[str]:
    """Name every variable."""
    return [_variable(str(field.validation_alias or name)) for name, field in Settings.model_fields.items()]


def describe() -> str:
    """List every variable as ``NAME=default``, each with its meaning in the line below."""
    lines = []
    for name, field in zip(variables(), Settings.model_fields.values(), strict=True):
        range_ = _range(field)
        lines += [f"{name}={_shown(field.default)}", f"    {field.description}" + (f" ({range_})" if range_ else "")]
    return "\n".join(lines)


def _shown(default: object) -> str:
    """Write a default as the environment would have it."""
    if default is None or isinstance(default, SecretStr):
        return ""
    return str(default).lower() if isinstance(default, bool) else str(default)


def _range(field: FieldInfo) -> str:
    """Say what a value may be, where its type says it."""
    if typing.get_origin(field.annotation) is Literal:
        return " or ".join(map(str, typing.get_args(field.annotation)))
    if field.annotation is bool:
        return "true or false"
    limits = {side: getattr(each, side) for each in field.metadata for side in ("ge", "gt", "le") if hasattr(each, side)}
    if "le" not in limits:
        return ""
    low = f"{limits['ge']:g} to" if "ge" in limits else f"above {limits['gt']:g}, up to"
    return f"{low} {limits['le']:,}"


def _variable(name: str) -> str:
    return name if name.startswith("TENCENTCLOUD_") else f"{PREFIX}{name.upper()}"


def _missing_credentials(environ: Mapping[str, str]) -> list[str]:
    if environ.get(f"{PREFIX}DETECTOR") != DetectorName.TENCENTCLOUD:
        return []
    mistakes = []
    names = ("TENCENTCLOUD_SECRET_ID", "TENCENTCLOUD_SECRET_KEY", "TENCENTCLOUD_TOKEN")
    for name in names[:2]:
        if name not in environ and f"{name}_FILE" not in environ:
            mistakes.append(f"{name}: is missing; the tencentcloud detector needs it, or {name}_FILE")
        if name in environ and f"{name}_FILE" in environ:
            mistakes.append(f"{name}: is set, and so is {name}_FILE; say which is meant")
    values, files = ([name for name in names if f"{name}{suffix}" in environ] for suffix in ("", "_FILE"))
    if values and files and not mistakes:
        mistakes.append("TENCENTCLOUD_SECRET_ID, _KEY and TENCENTCLOUD_TOKEN: give them all as values or all as files")
    return mistakes


def sends_in_the_clear(settings: Settings) -> bool:
    """Tell whether photos and a token leave this machine without TLS."""
    endpoint = urlsplit(settings.tencentcloud_endpoint)
    is_plain = endpoint.scheme == "http" and endpoint.hostname not in _LOOPBACK
    return settings.detector is DetectorName.TENCENTCLOUD and is_plain


def _unprotected(settings: Settings) -> list[str]:
    if settings.tencentcloud_unsigned_payload and sends_in_the_clear(settings):
        return [f"{PREFIX}TENCENTCLOUD_UNSIGNED_PAYLOAD: over http nothing would protect the photo; use https"]
    return []


def _broken_policies(environ: Mapping[str, str]) -> list[str]:
    path = Path(environ.get(f"{PREFIX}POLICY_FILE", ""))
    try:
        if path.name and paths.exists(path):
            policy_file.load(path, datetime.now(UTC), environ.get(f"{PREFIX}DEFAULT_POLICY", ""))
    except PolicyFileError as error:
        return [str(error)]
    return []


def _ambiguities(environ: Mapping[str, str]) -> list[str]:
    cloud = sorted(name for name in environ if name.startswith(_CLOUD_PREFIXES))
    if not cloud or f"{PREFIX}DETECTOR" in environ:
        return []
    named = f"{', '.join(cloud)} {'is' if len(cloud) == 1 else 'are'}"
    return [f"{PREFIX}DETECTOR: is not set, yet {named}; say which detector is meant: tencentcloud or embedded"]


def _unserved_default(environ: Mapping[str, str]) -> list[str]:
    mistakes = []
    default = environ.get(f"{PREFIX}DEFAULT_POLICY", DEFAULT_PRESET)
    if default not in PRESETS and f"{PREFIX}POLICY_FILE" not in environ:
        mistakes.append(f"{PREFIX}DEFAULT_POLICY: no policy named {default!r}; served: {', '.join(PRESETS)}")
    return mistakes
