"""``face-quality-gate``, also as ``python -m facequality``."""

from __future__ import annotations

import os
import signal
import sys


def main() -> None:
    """Run the command line."""
    # Process 1, which a container's is, does not die of a signal that it has no handler for; what follows takes a while.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # gRPC's core writes lines of its own, in no form, of what its errors say anyway; it looks here when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from facequality.cli import cli  # noqa: PLC0415

    cli()


if __name__ == "__main__":
    main()
