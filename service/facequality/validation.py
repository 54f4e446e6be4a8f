"""Pydantic's mistakes in words for the person who wrote the value."""

from __future__ import annotations

from pydantic_core import ErrorDetails

_TEXTS = {
    "bool_parsing": "must be true or false",
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "float_parsing": "must be a number",
    "extra_forbidden": "there is no such key",
}


def reason(mistake: ErrorDetails) -> str:
    """Say what is wrong with a value."""
    return _TEXTS.get(mistake["type"]) or mistake["msg"].removeprefix("Value error, ").replace("Input should be", "must be")
