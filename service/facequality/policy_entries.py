"""Policy files as they are written: YAML to entries that are not resolved yet, and every mistake of form."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from facequality.guidance import LANGUAGES
from facequality.measure import FACE_MEASURES, MEASURES
from facequality.model import Measure, Reason
from facequality.policy import FaceRule
from facequality.policy_mistakes import Mistake
from facequality.policy_source import SourceFile
from facequality.yaml_tree import Node, YamlError, parse

MAX_POLICIES = 100
"""Policies are metric labels."""
NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
MAX_TEXT = 200
MAX_SHOWN = 40
"""A value that is wrong is shown up to this length, characters."""

TOP_KEYS = ("default", "policies")
BOUND_KEYS = ("min", "max")

_BY_NAME = {measure.value: measure for measure in FACE_MEASURES}
_OF_FACES = (Measure.FACE_COUNT, Measure.SECOND_FACE_AREA_PERCENT)


@dataclass(frozen=True, slots=True)
class Place:
    """Where in which file something stands."""

    file: str
    path: str
    node: Node
    line: int
    """Where its key stands, or the value if it has none."""

    def at(self, key: str, node: Node) -> Place:
        """Return the place of what stands under this key."""
        path = f"{self.path}.{key[:MAX_TEXT]}" if self.path else key[:MAX_TEXT]
        return Place(self.file, path, node, self.node.keys.get(key, node.line))


@dataclass(slots=True)
class Entry:
    """A policy as it is written: what it says itself, before it is resolved."""

    place: Place
    extends: Place | None = None
    faces: FaceRule | None = None
    bounds: dict[Measure, tuple[Place, dict[str, float | None] | None]] = field(default_factory=dict)
    """Per measure the sides written; None drops the inherited bound, a side of None drops that side."""
    advisory: dict[Measure, Place] | None = None
    description: str | None = None
    shadow: Place | None = None
    guidance: dict[Reason, dict[str, str]] = field(default_factory=dict)


class EntryReader:
    """Collects entries and mistakes over all files."""

    def __init__(self) -> None:
        """Nothing has been read."""
        self.mistakes: list[Mistake] = []
        self.entries: dict[str, Entry] = {}
        self.default: Place | None = None
        self.is_complete = True
        """False once a file could not be read: then "there is no such policy" cannot be said of any name."""
        self.total = 0
        """Bytes read."""

    def read(self, file: SourceFile) -> None:
        """Read a file's entries."""
        name = str(file.path)
        self.total += len(file.content)
        if file.error is not None:
            self.mistakes.append(Mistake(name, 0, "", file.error))
            self.is_complete = False
            return
        try:
            root = parse(file.content)
        except YamlError as error:
            self.mistakes.append(Mistake(name, error.line, "", str(error)))
            self.is_complete = False
            return
        place = Place(name, "", root, root.line)
        top = self._mapping(place, TOP_KEYS, "a mapping with the keys policies and default")
        if top is None:
            return
        if "default" in top:
            self._read_default(top["default"])
        if "policies" not in top:
            self.wrong(place, "policies: is missing; it maps names to policies")
            return
        for key, entry in (self._mapping(top["policies"], None, "a mapping of names to policies") or {}).items():
            self._read_policy(key, entry)
        if top["policies"].node.value == {}:
            self.wrong(top["policies"], "holds no policy")

    def _read_default(self, place: Place) -> None:
        if self._text(place) is None:
            return
        if self.default is not None:
            self.wrong(place, f"stands in {self.default.file} too; one file names the default")
            return
        self.default = place

    def _read_policy(self, name: str, place: Place) -> None:
        if NAME.fullmatch(name) is None:
            self.wrong(place, "a name is 1 to 63 of a-z, 0-9, - and _, and begins with a letter")
        if name in self.entries:
            self.wrong(place, f"stands in {self.entries[name].place.file} too")
            return
        if len(self.entries) >= MAX_POLICIES:
            self.wrong(place, f"there are more than {MAX_POLICIES} policies")
            return
        self.entries[name] = entry = Entry(place)
        readers = {
            "description": self._read_description,
            "extends": self._read_extends,
            "faces": self._read_faces,
            "bounds": self._read_bounds,
            "advisory": self._read_advisory,
            "shadow": self._read_shadow,
            "guidance": self._read_guidance,
        }
        keys = self._mapping(place, tuple(readers), f"a mapping with keys of {', '.join(readers)}") or {}
        for key, value in keys.items():
            readers[key](entry, value)

    def _read_description(self, entry: Entry, place: Place) -> None:
        entry.description = self._text(place)

    def _read_extends(self, entry: Entry, place: Place) -> None:
        entry.extends = place if self._text(place) is not None else None

    def _read_shadow(self, entry: Entry, place: Place) -> None:
        entry.shadow = place if self._text(place) is not None else None

    def _read_faces(self, entry: Entry, place: Place) -> None:
        value = place.node.value
        if isinstance(value, str) and value in list(FaceRule):
            entry.faces = FaceRule(value)
        else:
            self.wrong(place, f"must be {one_of(FaceRule)}{near(value, FaceRule)}")

    def _read_bounds(self, entry: Entry, place: Place) -> None:
        for name, bound in (self._mapping(place, None, "a mapping of measures to bounds") or {}).items():
            measure = _BY_NAME.get(name)
            if measure is None:
                self.wrong(bound, _unknown_measure(name, f"; measures: {', '.join(_BY_NAME)}"))
            elif bound.node.value is None:
                entry.bounds[measure] = (bound, None)
            else:
                entry.bounds[measure] = (bound, self._sides(measure, bound))

    def _sides(self, measure: Measure, place: Place) -> dict[str, float | None]:
        spec = MEASURES[measure]
        sides: dict[str, float | None] = {}
        written = self._mapping(place, BOUND_KEYS, "a mapping with min, max or both, or null to drop the bound") or {}
        for side, number in written.items():
            value = number.node.value
            if (spec.low_reason if side == "min" else spec.high_reason) is None:
                self.wrong(number, f"{measure} takes no {side}")
            elif value is None:
                sides[side] = None
            elif not isinstance(value, float):
                self.wrong(number, f"must be a number in digits, {spec.range_min:g} to {spec.range_max:g}, not {_shown(value)}")
            elif spec.is_flag and value not in (0, 1):
                self.wrong(number, f"must be 0 or 1, not {value:g}")
            elif not spec.range_min <= value <= spec.range_max:
                self.wrong(number, f"{value:g} is outside {spec.range_min:g} to {spec.range_max:g}")
            else:
                sides[side] = value
        if place.node.value == {}:
            self.wrong(place, "needs min, max or both, or null to drop the bound")
        low, high = sides.get("min"), sides.get("max")
        if low is not None and high is not None and low > high:
            self.wrong(place, f"min {low:g} is over max {high:g}")
            return {}
        return sides

    def _read_advisory(self, entry: Entry, place: Place) -> None:
        if not isinstance(place.node.value, list):
            self.wrong(place, "must be a list of measures")
            return
        entry.advisory = {}
        for index, item in enumerate(place.node.value):
            each = place.at(str(index), item)
            if not isinstance(item.value, str):
                self.wrong(each, f"must be the name of a measure, not {_shown(item.value)}")
            elif item.value in _BY_NAME:
                entry.advisory[_BY_NAME[item.value]] = each
            else:
                self.wrong(each, _unknown_measure(item.value))

    def _read_guidance(self, entry: Entry, place: Place) -> None:
        for name, languages in (self._mapping(place, None, "a mapping of reasons to languages to sentences") or {}).items():
            if name not in list(Reason):
                self.wrong(languages, f"there is no reason {_shown(name)}{near(name, Reason)}")
                continue
            texts = self._mapping(languages, LANGUAGES, f"a mapping with keys of {', '.join(LANGUAGES)}") or {}
            sentences = {language: self._text(text) for language, text in texts.items()}
            entry.guidance[Reason(name)] = {key: text for key, text in sentences.items() if text is not None}

    def _mapping(self, place: Place, known: Iterable[str] | None, expected: str) -> dict[str, Place] | None:
        """Return a mapping's values by key; unknown keys are mistakes and left out."""
        value = place.node.value
        if not isinstance(value, dict):
            self.wrong(place, f"must be {expected}")
            return None
        for key, line in place.node.duplicates:
            text = f"stands twice; the first is in line {place.node.keys[key]}"
            self.mistakes.append(Mistake(place.file, line, place.at(key, place.node).path, text))
        found = {}
        for key, node in value.items():
            each = place.at(key, node)
            if known is not None and key not in known:
                text = f"is not a key here{near(key, known)}; keys: {', '.join(known)}"
                self.mistakes.append(Mistake(each.file, each.line, each.path, text))
            else:
                found[key] = each
        return found

    def _text(self, place: Place) -> str | None:
        value = place.node.value
        if isinstance(value, str) and 0 < len(value) <= MAX_TEXT:
            return value
        self.wrong(place, f"must be a text of 1 to {MAX_TEXT} characters")
        return None

    def lacks(self, place: Place, text: str) -> None:
        """Note that a name is missing, if that can be said."""
        if self.is_complete:
            self.wrong(place, text)

    def wrong(self, place: Place, text: str) -> None:
        """Note a mistake."""
        self.mistakes.append(Mistake(place.file, place.line, place.path, text))


def near(value: object, known: Iterable[str]) -> str:
    """Suggest the nearest known name, if one is near."""
    nearest = difflib.get_close_matches(str(value), [str(each) for each in known], n=1)
    return f"; did you mean {nearest[0]}?" if nearest else ""


def _unknown_measure(name: str, known: str = "") -> str:
    """Say why a measure cannot be bounded; some that responses show are the gate's own."""
    if name in list(Measure):
        whose = "its 'faces' say how many there may be" if name in _OF_FACES else "the limits of photos are the vendor's"
        return f"no policy bounds {name}: {whose}"
    return f"there is no measure {_shown(name)}{near(name, _BY_NAME)}{known}"


def _shown(value: object) -> str:
    """Show a value that is wrong, but not the whole of a long one."""
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(f"{value:g}" if isinstance(value, float) else str(value)[:MAX_SHOWN])


def one_of(values: Iterable[str]) -> str:
    """List alternatives."""
    *first, last = values
    return f"{', '.join(first)} or {last}"
