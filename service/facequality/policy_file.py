"""Policy files: YAML to a served set. Every mistake of all files is found in one go, each with its file, line, path and remedy.

A file replaces the served set; the built-in policies remain as bases for ``extends``. README of ``deploy/policies``: the format.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from facequality.guidance import LANGUAGES
from facequality.measure import FACE_MEASURES, MEASURES, Bound
from facequality.model import Measure, Reason
from facequality.policy import DEFAULT_PRESET, PRESETS, FaceRule, Policy, PolicySet
from facequality.policy_mistakes import Mistake, PolicyFileError
from facequality.policy_source import MAX_FILES, policy_files, read_bounded
from facequality.yaml_tree import Node, YamlError, parse

MAX_POLICIES = 100
"""Policies are metric labels."""
NAME = re.compile(r"[a-z][a-z0-9_-]{0,62}")
MAX_TEXT = 200
MAX_TOTAL_BYTES = 1024 * 1024
"""Of a directory; a ConfigMap holds no more. A stop may have to wait until they are read."""

TOP_KEYS = ("default", "policies")
BOUND_KEYS = ("min", "max")

_BY_NAME = {measure.value: measure for measure in FACE_MEASURES}
_OF_FACES = (Measure.FACE_COUNT, Measure.SECOND_FACE_AREA_PERCENT)


@dataclass(frozen=True, slots=True)
class _Place:
    """Where in which file something stands."""

    file: str
    path: str
    node: Node
    line: int
    """Where its key stands, or the value if it has none."""

    def at(self, key: str, node: Node) -> _Place:
        path = f"{self.path}.{key[:MAX_TEXT]}" if self.path else key[:MAX_TEXT]
        return _Place(self.file, path, node, self.node.keys.get(key, node.line))


@dataclass(slots=True)
class _Entry:
    """A policy as it is written: what it says itself, before it is resolved."""

    place: _Place
    extends: _Place | None = None
    faces: FaceRule | None = None
    bounds: dict[Measure, tuple[_Place, dict[str, float | None] | None]] = field(default_factory=dict)
    """Per measure the sides written; None drops the inherited bound, a side of None drops that side."""
    advisory: dict[Measure, _Place] | None = None
    description: str | None = None
    shadow: _Place | None = None
    guidance: dict[Reason, dict[str, str]] = field(default_factory=dict)


def load(path: Path, loaded_at: datetime, default: str = "") -> PolicySet:
    """Load a file, or every ``*.yaml`` and ``*.yml`` of a directory as one set; ``default`` overrides the files' own.

    Raises:
        PolicyFileError: every mistake there is.
    """
    files = policy_files(path)
    if not files:
        raise PolicyFileError([Mistake(str(path), 0, "", "the directory holds no *.yaml or *.yml file")])
    if len(files) > MAX_FILES:
        raise PolicyFileError([Mistake(str(path), 0, "", f"the directory holds more than {MAX_FILES} files")])
    return _Loader().load(files, str(path), loaded_at, default)


class _Loader:
    """Collects entries and mistakes over all files, then resolves."""

    def __init__(self) -> None:
        self._mistakes: list[Mistake] = []
        self._total = 0
        self._is_complete = True
        """False once a file could not be read: then "there is no such policy" cannot be said of any name."""
        self._entries: dict[str, _Entry] = {}
        self._default: _Place | None = None
        self._resolved: dict[str, Policy | None] = {}

    def load(self, files: list[Path], source: str, loaded_at: datetime, default: str) -> PolicySet:
        for file in files:
            self._read(file)
            if self._total > MAX_TOTAL_BYTES:
                text = f"the files hold more than {MAX_TOTAL_BYTES // 1024} KiB together"
                raise PolicyFileError([*self._mistakes, Mistake(source, 0, "", text)])
        policies = {name: policy for name in self._entries if (policy := self._resolve(name, ())) is not None}
        for name, entry in self._entries.items():
            self._check_shadow(name, entry)
        chosen = self._choose_default(files[0], default)
        if self._mistakes:
            raise PolicyFileError(self._mistakes)
        return PolicySet(policies, chosen, source, loaded_at)

    # -- reading -------------------------------------------------------------------------------------------------------

    def _read(self, file: Path) -> None:
        name = str(file)
        try:
            content = read_bounded(file)
            self._total += len(content)
            root = parse(content)
        except OSError as error:
            self._mistakes.append(Mistake(name, 0, "", f"cannot be read: {error.strerror}"))
            self._is_complete = False
            return
        except YamlError as error:
            self._mistakes.append(Mistake(name, error.line, "", str(error)))
            self._is_complete = False
            return
        place = _Place(name, "", root, root.line)
        top = self._mapping(place, TOP_KEYS, "a mapping with the keys policies and default")
        if top is None:
            return
        if "default" in top:
            self._read_default(top["default"])
        if "policies" not in top:
            self._wrong(place, "policies: is missing; it maps names to policies")
            return
        for key, entry in (self._mapping(top["policies"], None, "a mapping of names to policies") or {}).items():
            self._read_policy(key, entry)
        if top["policies"].node.value == {}:
            self._wrong(top["policies"], "holds no policy")

    def _read_default(self, place: _Place) -> None:
        if self._text(place) is None:
            return
        if self._default is not None:
            self._wrong(place, f"stands in {self._default.file} too; one file names the default")
            return
        self._default = place

    def _read_policy(self, name: str, place: _Place) -> None:
        if NAME.fullmatch(name) is None:
            self._wrong(place, "a name is 1 to 63 of a-z, 0-9, - and _, and begins with a letter")
        if name in self._entries:
            self._wrong(place, f"stands in {self._entries[name].place.file} too")
            return
        if len(self._entries) >= MAX_POLICIES:
            self._wrong(place, f"there are more than {MAX_POLICIES} policies")
            return
        self._entries[name] = entry = _Entry(place)
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

    def _read_description(self, entry: _Entry, place: _Place) -> None:
        entry.description = self._text(place)

    def _read_extends(self, entry: _Entry, place: _Place) -> None:
        entry.extends = place if self._text(place) is not None else None

    def _read_shadow(self, entry: _Entry, place: _Place) -> None:
        entry.shadow = place if self._text(place) is not None else None

    def _read_faces(self, entry: _Entry, place: _Place) -> None:
        value = place.node.value
        if isinstance(value, str) and value in list(FaceRule):
            entry.faces = FaceRule(value)
        else:
            self._wrong(place, f"must be {_one_of(FaceRule)}{_near(value, FaceRule)}")

    def _read_bounds(self, entry: _Entry, place: _Place) -> None:
        for name, bound in (self._mapping(place, None, "a mapping of measures to bounds") or {}).items():
            measure = _BY_NAME.get(name)
            if measure is None:
                self._wrong(bound, _unknown_measure(name, f"; measures: {', '.join(_BY_NAME)}"))
            elif bound.node.value is None:
                entry.bounds[measure] = (bound, None)
            else:
                entry.bounds[measure] = (bound, self._sides(measure, bound))

    def _sides(self, measure: Measure, place: _Place) -> dict[str, float | None]:
        spec = MEASURES[measure]
        sides: dict[str, float | None] = {}
        written = self._mapping(place, BOUND_KEYS, "a mapping with min, max or both, or null to drop the bound") or {}
        for side, number in written.items():
            value = number.node.value
            if (spec.low_reason if side == "min" else spec.high_reason) is None:
                self._wrong(number, f"{measure} takes no {side}")
            elif value is None:
                sides[side] = None
            elif not isinstance(value, float):
                self._wrong(number, f"must be a number from {spec.range_min:g} to {spec.range_max:g}, not {str(value)[:40]!r}")
            elif spec.is_flag and value not in (0, 1):
                self._wrong(number, f"must be 0 or 1, not {value:g}")
            elif not spec.range_min <= value <= spec.range_max:
                self._wrong(number, f"{value:g} is outside {spec.range_min:g} to {spec.range_max:g}")
            else:
                sides[side] = value
        if place.node.value == {}:
            self._wrong(place, "needs min, max or both, or null to drop the bound")
        low, high = sides.get("min"), sides.get("max")
        if low is not None and high is not None and low > high:
            self._wrong(place, f"min {low:g} is over max {high:g}")
            return {}
        return sides

    def _read_advisory(self, entry: _Entry, place: _Place) -> None:
        if not isinstance(place.node.value, list):
            self._wrong(place, "must be a list of measures")
            return
        entry.advisory = {}
        for index, item in enumerate(place.node.value):
            each = place.at(str(index), item)
            measure = _BY_NAME.get(item.value) if isinstance(item.value, str) else None
            if measure is None:
                self._wrong(each, _unknown_measure(item.value))
            else:
                entry.advisory[measure] = each

    def _read_guidance(self, entry: _Entry, place: _Place) -> None:
        for name, languages in (self._mapping(place, None, "a mapping of reasons to languages to sentences") or {}).items():
            if name not in list(Reason):
                self._wrong(languages, f"there is no reason {name!r}{_near(name, Reason)}")
                continue
            texts = self._mapping(languages, LANGUAGES, f"a mapping with keys of {', '.join(LANGUAGES)}") or {}
            sentences = {language: self._text(text) for language, text in texts.items()}
            entry.guidance[Reason(name)] = {key: text for key, text in sentences.items() if text is not None}

    # -- resolving -----------------------------------------------------------------------------------------------------

    def _resolve(self, name: str, chain: tuple[str, ...]) -> Policy | None:
        """Resolve a policy of the files; None if it cannot be, for a mistake that is noted."""
        if name not in self._resolved:
            self._resolved[name] = self._merge(name, self._entries[name], (*chain, name))
        return self._resolved[name]

    def _merge(self, name: str, entry: _Entry, chain: tuple[str, ...]) -> Policy | None:
        base = self._base(name, entry, chain)
        if entry.extends is not None and base is None:
            return None
        faces = entry.faces or (base.face_rule if base else None)
        if faces is None:
            # A mistaken one has been named already.
            if not entry.place.node.keys.keys() & {"faces", "extends"}:
                self._wrong(entry.place, f"needs faces ({_one_of(FaceRule)}) or extends")
            return None
        bounds = self._merge_bounds(entry, base)
        advisory = frozenset(entry.advisory) if entry.advisory is not None else base.advisory if base else frozenset()
        for measure, place in (entry.advisory or {}).items():
            if measure not in bounds and entry.bounds.get(measure, (place, None))[1] is None:
                self._wrong(place, f"{measure} has no bound to be advisory")
        guidance: dict[Reason, Mapping[str, str]] = dict(base.guidance) if base else {}
        for reason, sentences in entry.guidance.items():
            guidance[reason] = {**guidance.get(reason, {}), **sentences}
        # A base's own would not be true of what changes it.
        description = entry.description or (f"extends {base.name}" if base else "")
        shadow = str(entry.shadow.node.value) if entry.shadow is not None else None
        return Policy(name, bounds, faces, advisory & bounds.keys(), description, shadow, guidance)

    def _base(self, name: str, entry: _Entry, chain: tuple[str, ...]) -> Policy | None:
        if entry.extends is None:
            return None
        wanted = str(entry.extends.node.value)
        # A policy may carry the name of the built-in that it extends.
        if wanted in self._entries and wanted != name:
            if wanted in chain:
                self._wrong(entry.extends, f"extends itself: {' -> '.join((*chain[chain.index(wanted) :], wanted))}")
                return None
            return self._resolve(wanted, chain)
        if wanted in PRESETS:
            return PRESETS[wanted]
        if wanted == name:
            self._wrong(entry.extends, f"extends itself: {name} -> {name}")
            return None
        names = [*self._entries, *PRESETS]
        self._lacks(entry.extends, f"there is no policy {wanted!r}{_near(wanted, names)}; there are {', '.join(names)}")
        return None

    def _merge_bounds(self, entry: _Entry, base: Policy | None) -> dict[Measure, Bound]:
        bounds = dict(base.bounds) if base else {}
        for measure, (place, sides) in entry.bounds.items():
            inherited = bounds.pop(measure, None)
            if sides is None:
                continue
            low = sides.get("min", inherited.minimum if inherited else None)
            high = sides.get("max", inherited.maximum if inherited else None)
            if low is not None and high is not None and low > high:
                self._wrong(place, f"min {low:g} is over max {high:g}, one of them inherited")
            elif low is not None or high is not None:
                bounds[measure] = Bound(low, high)
        return bounds

    def _check_shadow(self, name: str, entry: _Entry) -> None:
        if entry.shadow is None:
            return
        wanted = str(entry.shadow.node.value)
        if wanted == name:
            self._wrong(entry.shadow, "a policy cannot shadow itself")
        elif wanted not in self._entries:
            near = _near(wanted, self._entries)
            self._lacks(entry.shadow, f"there is no policy {wanted!r} in the files{near}; to try a built-in, extend it")

    def _choose_default(self, first: Path, override: str) -> str:
        names = list(self._entries)
        if override and override not in names and self._is_complete:
            text = f"FACEQUALITY_DEFAULT_POLICY names {override!r}, which the files do not have{_near(override, names)}"
            self._mistakes.append(Mistake(str(first), 0, "", text))
        if self._default is not None:
            wanted = str(self._default.node.value)
            if wanted not in names:
                self._lacks(self._default, f"there is no policy {wanted!r} in the files{_near(wanted, names)}")
            return override or wanted
        if override or len(names) == 1 or DEFAULT_PRESET in names:
            return override or (names[0] if len(names) == 1 else DEFAULT_PRESET)
        if names and self._is_complete:
            self._mistakes.append(Mistake(str(first), 0, "default", f"is missing; name one of {', '.join(names)}"))
        return ""

    # -- shapes --------------------------------------------------------------------------------------------------------

    def _mapping(self, place: _Place, known: Iterable[str] | None, expected: str) -> dict[str, _Place] | None:
        """Return a mapping's values by key; unknown keys are mistakes and left out."""
        value = place.node.value
        if not isinstance(value, dict):
            self._wrong(place, f"must be {expected}")
            return None
        for key, line in place.node.duplicates:
            text = f"stands twice; the first is in line {place.node.keys[key]}"
            self._mistakes.append(Mistake(place.file, line, place.at(key, place.node).path, text))
        found = {}
        for key, node in value.items():
            each = place.at(key, node)
            if known is not None and key not in known:
                text = f"is not a key here{_near(key, known)}; keys: {', '.join(known)}"
                self._mistakes.append(Mistake(each.file, each.line, each.path, text))
            else:
                found[key] = each
        return found

    def _text(self, place: _Place) -> str | None:
        value = place.node.value
        if isinstance(value, str) and 0 < len(value) <= MAX_TEXT:
            return value
        self._wrong(place, f"must be a text of 1 to {MAX_TEXT} characters")
        return None

    def _lacks(self, place: _Place, text: str) -> None:
        if self._is_complete:
            self._wrong(place, text)

    def _wrong(self, place: _Place, text: str) -> None:
        self._mistakes.append(Mistake(place.file, place.line, place.path, text))


def _near(value: object, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(str(value), [str(each) for each in known], n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _unknown_measure(name: object, known: str = "") -> str:
    """Say why a measure cannot be bounded; some that responses show are the gate's own."""
    if name in list(Measure):
        whose = "its 'faces' say how many there may be" if name in _OF_FACES else "the limits of photos are the vendor's"
        return f"no policy bounds {name}: {whose}"
    return f"there is no measure {name!r}{_near(name, _BY_NAME)}{known}"


def _one_of(values: Iterable[str]) -> str:
    *first, last = values
    return f"{', '.join(first)} or {last}"
