"""``face-quality-gate``, also as ``python -m facequality``."""

from __future__ import annotations

import os


def main() -> None:
    """Run the command line."""
    # gRPC's core writes lines of its own, in no form, of what its errors say anyway; it looks here when it is imported.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from facequality.cli import cli  # noqa: PLC0415

    cli()


if __name__ == "__main__":
    main()
