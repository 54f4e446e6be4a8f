"""Scripted answers: which request gets what instead of an answer, from a YAML file. Deterministic under its seed."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from facequality.detectors.tencentcloud.error_table import LISTED
from facequality.validation import reason
from facequality.yaml_tree import Node, YamlError, parse

Seconds = Annotated[float, Field(ge=0, le=3600)]


class ScenarioError(Exception):
    """A scenario file that cannot be used; one line per mistake, each with its path."""


def _documented(code: str) -> str:
    if code not in LISTED:
        raise ValueError(f"{code!r} is not a code that the vendor documents")
    return code


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Latency(_Strict):
    """How long an answer takes: a fixed time, a range, or a log-normal distribution."""

    seconds: Seconds | None = None
    between: tuple[Seconds, Seconds] | None = None
    median: Seconds | None = None
    p99: Seconds | None = None

    @model_validator(mode="after")
    def _one_kind(self) -> Latency:
        kinds = (self.seconds is not None, self.between is not None, self.median is not None and self.p99 is not None)
        if sum(kinds) != 1 or (self.median is None) != (self.p99 is None):
            raise ValueError("give seconds, or between, or median and p99")
        if self.between is not None and self.between[0] > self.between[1]:
            raise ValueError("between: the first is over the second")
        if self.median is not None and self.p99 is not None and not 0 < self.median <= self.p99:
            raise ValueError("median must be over 0 and not over p99")
        return self

    def draw(self, source: random.Random) -> float:
        """Draw a time, s."""
        if self.seconds is not None:
            return self.seconds
        if self.between is not None:
            return source.uniform(*self.between)
        assert self.median is not None  # noqa: S101 - the validator has seen to it
        assert self.p99 is not None  # noqa: S101
        # 2.326 standard deviations lie below the 99th percentile of a normal distribution.
        drawn: float = self.median * (self.p99 / self.median) ** (source.gauss(0, 1) / 2.326)
        return drawn


class Match(_Strict):
    """Which requests a rule is for: all that is given must hold; nothing given is every request."""

    image_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{8,64}$")] | None = None
    """Hex digits that the photo's SHA-256 begins with."""
    url: str | None = None
    calls: tuple[Annotated[int, Field(ge=1)], ...] | None = None
    """Which authentic requests, counted from 1."""
    after: Annotated[int, Field(ge=0)] | None = None
    """Every request after this many."""
    probability: Annotated[float, Field(ge=0, le=1)] | None = None

    def holds(self, call: int, image: bytes | None, url: str | None, source: random.Random) -> bool:
        """Decide; draws from the source if there is a probability, whatever else holds."""
        lucky = self.probability is None or source.random() < self.probability
        digest = hashlib.sha256(image).hexdigest() if image is not None and self.image_sha256 is not None else ""
        return (
            lucky
            and (self.image_sha256 is None or digest.startswith(self.image_sha256))
            and (self.url is None or url == self.url)
            and (self.calls is None or call in self.calls)
            and (self.after is None or call > self.after)
        )


class Action(_Strict):
    """What happens instead of, or on the way to, an answer; at most one of them."""

    error: Annotated[str, AfterValidator(_documented)] | None = None
    """An error code of the vendor's."""
    example: Literal[1, 2] | None = None
    """One of the API page's two examples."""
    response: dict[str, Any] | None = None
    """The content of Response; a RequestId is added where there is none."""
    http_status: Annotated[int, Field(ge=300, le=599)] | None = None
    body: str | None = None
    """A body that is sent as it is; with http_status that status's body."""
    body_hex: Annotated[str, Field(pattern=r"^([0-9a-fA-F]{2})*$")] | None = None
    """The same, as hex digits: what is not text."""
    reset: Literal["before", "within"] | None = None
    """Reset the connection before the answer, or in its middle."""
    truncate: Annotated[int, Field(ge=0)] | None = None
    """Send so many bytes of the true answer as if they were the whole."""
    drip: Annotated[float, Field(gt=0)] | None = None
    """Send the true answer at so many bytes a second."""
    hang: bool = False
    """Never answer."""
    oversize: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    """Send so many bytes."""

    @model_validator(mode="after")
    def _sound(self) -> Action:
        given = {name for name in self.model_fields_set if getattr(self, name) is not None and getattr(self, name) is not False}
        if self.response is not None:
            try:
                orjson.dumps(self.response)
            except TypeError as error:
                raise ValueError(f"response: is not JSON: {error}") from error
        if len(given) > 1 and given != {"http_status", "body"}:
            raise ValueError(f"give one of {', '.join(sorted(given))}")
        return self


class Rule(_Strict):
    """One rule: the first that matches is applied."""

    match: Match = Match()
    action: Action = Action()
    latency: Latency | None = None


class RateLimit(_Strict):
    """So many requests a second; the rest get a code."""

    qps: Annotated[float, Field(gt=0)]
    code: Annotated[str, AfterValidator(_documented)] = "RequestLimitExceeded"


class Scenario(_Strict):
    """A whole script."""

    seed: int = 0
    latency: Latency = Latency(seconds=0)
    clock_skew_seconds: Annotated[float, Field(ge=-1e9, le=1e9)] = 0
    """How far the emulator's clock is ahead of the true time."""
    tokens_expired: bool = False
    """Every temporary credential is refused."""
    rate_limit: RateLimit | None = None
    rules: tuple[Rule, ...] = ()


def load(path: Path) -> Scenario:
    """Read a scenario file, or one of the shipped ones by its name.

    Raises:
        ScenarioError: it cannot be used; the text names every mistake.
    """
    try:
        shipped = resources.files("facequality.emulator").joinpath("scenarios", f"{path}.yaml")
        content = shipped.read_bytes() if not path.exists() and shipped.is_file() else path.read_bytes()
        return Scenario.model_validate(_plain(parse(content)))
    except OSError as error:
        raise ScenarioError(f"{path}: cannot be read: {error.strerror}") from error
    except YamlError as error:
        where = f"{path}:{error.line}" if error.line else str(path)
        raise ScenarioError(f"{where}: {error}") from error
    except ValidationError as error:
        lines = (f"{path}: {'.'.join(map(str, e['loc']))}: {reason(e)}" for e in error.errors())
        raise ScenarioError("\n".join(lines)) from error


def _plain(node: Node) -> Any:
    for key, line in node.duplicates:
        raise YamlError(line, f"the key {key!r} stands twice")
    if isinstance(node.value, Mapping):
        return {key: _plain(value) for key, value in node.value.items()}
    if isinstance(node.value, list):
        return [_plain(value) for value in node.value]
    return int(node.value) if isinstance(node.value, float) and node.value.is_integer() else node.value
