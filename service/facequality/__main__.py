"""``python -m facequality`` is ``face-quality-gate``."""

from facequality.cli import main

main()
