"""The face-quality gate: accepts or rejects a face photo before it is enrolled, with every reason."""

__version__ = "0.1.0"
