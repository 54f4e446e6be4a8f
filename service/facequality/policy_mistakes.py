"""What is wrong with policy files, as it is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

MAX_SHOWN = 100
"""Mistakes that are shown; of more only the number is."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One thing to mend."""

    file: str
    line: int
    """From 1; 0 is the whole file."""
    path: str
    """Keys from the top, joined by dots; empty at the top."""
    text: str

    def __str__(self) -> str:
        """Format as compilers do."""
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.path}: {self.text}" if self.path else f"{where}: {self.text}"


class PolicyFileError(Exception):
    """Files that cannot be served; its text is one line per mistake."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        """Hold every mistake, in the order of files and lines."""
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: (mistake.file, mistake.line)))
        lines = [str(mistake) for mistake in self.mistakes[:MAX_SHOWN]]
        if len(self.mistakes) > MAX_SHOWN:
            lines.append(f"and {len(self.mistakes) - MAX_SHOWN} more")
        super().__init__("\n".join(lines))
