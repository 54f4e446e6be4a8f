"""How a caller's channel is best set up: every replica in turn, a deadline, and a few retries that survive a rolling restart."""

from __future__ import annotations

import json
from importlib import resources

SERVICE_CONFIG = resources.files("facequality").joinpath("service_config.json").read_text(encoding="utf-8")
"""A gRPC service config, JSON: for any language's channel, or the name server's TXT record."""

RETRY_BUFFER_BYTES = 8 * 1024 * 1024
"""gRPC keeps a message for a retry up to 256 KiB unless told otherwise: larger photos would never be tried again."""


def channel_options(*, timeout: bool = True) -> tuple[tuple[str, str | int], ...]:
    """Return options for ``grpc.insecure_channel`` or ``grpc.aio.insecure_channel``.

    ``timeout``: keep the service config's, which would cut short a call that brings a longer one of its own.
    """
    config = json.loads(SERVICE_CONFIG)
    if not timeout:
        del config["methodConfig"][0]["timeout"]
    return (("grpc.service_config", json.dumps(config)), ("grpc.per_rpc_retry_buffer_size", RETRY_BUFFER_BYTES))
