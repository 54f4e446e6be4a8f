"""``face-quality-gate``, also as ``python -m facequality``."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line."""
    # A container's process 1 ignores signals without a handler; the imports below take a while.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # gRPC's core reads this on import. Its unstructured log lines repeat what its errors say.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from facequality.cli import cli  # noqa: PLC0415

    cli()


if __name__ == "__main__":
    main()
