"""``face-quality-gate``, also as ``python -m facequality``."""

from __future__ import annotations

import os
import signal
import sys
import traceback


def main() -> None:
    """Run the command line. Exit status 1 is a verdict's or a comparison's; of what goes wrong it is 2."""
    _open_standard_streams()
    # A container's process 1 ignores signals without a handler; the imports below take a while.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    # gRPC's core reads this on import. Its unstructured log lines repeat what its errors say.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from facequality.cli import cli  # noqa: PLC0415

    try:
        cli()
    except Exception:  # noqa: BLE001 - whatever it is, it is no verdict
        traceback.print_exc()
        # What could not be written is not to be tried again at the end, which would have a status of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(2)


def _open_standard_streams() -> None:
    """Give closed ones to the null device: the event loop would get their numbers, and aborts when it closes such a one."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


if __name__ == "__main__":
    main()
