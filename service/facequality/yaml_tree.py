"""YAML as a tree that knows its lines, read safely: no aliases, no tags, bounded size and depth."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

MAX_BYTES = 256 * 1024
MAX_DEPTH = 12
MAX_EVENTS = 20_000
"""Beginnings, ends and values; PyYAML takes a second for 40,000. A hundred policies in a file have fewer."""

Scalar = str | float | bool | None

# Numbers as people write them. YAML also reads 1:30 as ninety, 0o17, 1_000, and 12e4, which may be a digest: those stay texts.
_NUMBER = re.compile(r"[-+]?[0-9]{1,15}(\.[0-9]{1,15})?")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PLAIN = {"true": True, "false": False, "null": None, "~": None, "": None}


class YamlError(Exception):
    """The text is not YAML, or not YAML that is taken. ``line`` counts from 1; 0 is the whole text."""

    def __init__(self, line: int, text: str) -> None:
        """Say where and what."""
        super().__init__(text)
        self.line = line


@dataclass(frozen=True, slots=True)
class Node:
    """A value and the line where it begins, from 1."""

    line: int
    value: Scalar | dict[str, Node] | list[Node]
    keys: dict[str, int] = field(default_factory=dict)
    """Of a mapping: the line of each key."""
    duplicates: tuple[tuple[str, int], ...] = ()
    """Of a mapping: keys that stand again, and the line where they do."""


def parse(content: bytes) -> Node:
    """Read one document.

    Raises:
        YamlError: it cannot be read.
    """
    if len(content) > MAX_BYTES:
        raise YamlError(0, f"is larger than {MAX_BYTES // 1024} KiB")
    try:
        text = content.decode("utf-8")
        _scan(text)
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except UnicodeDecodeError as error:
        raise YamlError(0, "is not UTF-8 text") from error
    except yaml.MarkedYAMLError as error:
        mark: yaml.Mark | None = error.problem_mark or error.context_mark
        raise YamlError(mark.line + 1 if mark else 0, f"is not YAML: {error.problem or error.context}") from error
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        # PyYAML lets errors of int() and chr() through.
        raise YamlError(0, "is not YAML: it holds characters or numbers that YAML forbids") from error
    if root is None:
        raise YamlError(0, "is empty")
    return _node(root)


def _scan(text: str) -> None:
    """Refuse what could explode, before any tree is built."""
    depth = documents = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.SafeLoader)):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise YamlError(line, "anchors and aliases are not taken; write the values out, or use extends")
        if getattr(event, "tag", None):
            raise YamlError(line, "tags are not taken")
        if isinstance(event, yaml.ScalarEvent) and _SURROGATE.search(event.value):
            raise YamlError(line, "holds half of a character (a lone surrogate)")
        if count > MAX_EVENTS:
            raise YamlError(line, f"holds more than {MAX_EVENTS:,} values")
        documents += isinstance(event, yaml.DocumentStartEvent)
        if documents > 1:
            raise YamlError(line, "holds more than one document")
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise YamlError(line, f"is nested more than {MAX_DEPTH} deep")


def _node(node: yaml.Node) -> Node:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        return _mapping(node, line)
    if isinstance(node, yaml.SequenceNode):
        return Node(line, [_node(item) for item in node.value])
    if not isinstance(node, yaml.ScalarNode):
        raise YamlError(line, "is not a mapping, a list or a value")
    return Node(line, _scalar(node.value, plain=node.style is None))


def _mapping(node: yaml.MappingNode, line: int) -> Node:
    values: dict[str, Node] = {}
    keys: dict[str, int] = {}
    duplicates: list[tuple[str, int]] = []
    for key, value in node.value:
        at = key.start_mark.line + 1
        if not isinstance(key, yaml.ScalarNode):
            raise YamlError(at, "a key must be a plain text")
        if key.value in values:
            duplicates.append((key.value, at))
        else:
            values[key.value], keys[key.value] = _node(value), at
    return Node(line, values, keys, tuple(duplicates))


def _scalar(text: str, *, plain: bool) -> Scalar:
    if not plain:
        return text
    if text.lower() in _PLAIN:
        return _PLAIN[text.lower()]
    return float(text) if _NUMBER.fullmatch(text) else text
