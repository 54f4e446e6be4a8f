"""Policy files: YAML to a served set. Every mistake of all files is found in one go, each with its file, line, path and remedy.

A file replaces the served set; the built-in policies remain as bases for ``extends``. README of ``deploy/policies``: the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from facequality.measure import Bound
from facequality.model import Measure, Reason
from facequality.policy import DEFAULT_PRESET, PRESETS, FaceRule, Policy, PolicySet
from facequality.policy_entries import Entry, EntryReader, near, one_of
from facequality.policy_mistakes import Mistake, PolicyFileError
from facequality.policy_source import MAX_FILES, Snapshot, take

MAX_TOTAL_BYTES = 1024 * 1024
"""Of a directory; a ConfigMap holds no more. A stop may have to wait until they are read."""


def load(path: Path, loaded_at: datetime, default: str = "") -> PolicySet:
    """Load a file, or every ``*.yaml`` and ``*.yml`` of a directory as one set; ``default`` overrides the files' own.

    Raises:
        PolicyFileError: every mistake there is.
    """
    return load_snapshot(take(path), loaded_at, default)


def load_snapshot(snapshot: Snapshot, loaded_at: datetime, default: str = "") -> PolicySet:
    """Load what was read already.

    Raises:
        PolicyFileError: every mistake there is.
    """
    path, files = snapshot.path, snapshot.files
    if snapshot.error is not None:
        raise PolicyFileError([Mistake(str(path), 0, "", snapshot.error)])
    if not files:
        raise PolicyFileError([Mistake(str(path), 0, "", "the directory holds no *.yaml or *.yml file")])
    if len(files) > MAX_FILES:
        raise PolicyFileError([Mistake(str(path), 0, "", f"the directory holds more than {MAX_FILES} files")])
    written = EntryReader()
    for file in files:
        written.read(file)
        if written.total > MAX_TOTAL_BYTES:
            text = f"the files hold more than {MAX_TOTAL_BYTES // 1024} KiB together"
            raise PolicyFileError([*written.mistakes, Mistake(str(path), 0, "", text)])
    resolver = _Resolver(written)
    policies, chosen = resolver.policies(), resolver.choose_default(files[0].path, default)
    if written.mistakes:
        raise PolicyFileError(written.mistakes)
    return PolicySet(policies, chosen, str(path), loaded_at)


class _Resolver:
    """Makes policies of entries; adds to their mistakes."""

    def __init__(self, written: EntryReader) -> None:
        self._written = written
        self._resolved: dict[str, Policy | None] = {}

    def policies(self) -> dict[str, Policy]:
        policies = {name: policy for name in self._written.entries if (policy := self._resolve(name, ())) is not None}
        for name, entry in self._written.entries.items():
            self._check_shadow(name, entry)
        return policies

    def choose_default(self, first: Path, override: str) -> str:
        names = list(self._written.entries)
        if override and override not in names and self._written.is_complete:
            text = f"FACEQUALITY_DEFAULT_POLICY names {override!r}, which the files do not have{near(override, names)}"
            self._written.mistakes.append(Mistake(str(first), 0, "", text))
        if self._written.default is not None:
            wanted = str(self._written.default.node.value)
            if wanted not in names:
                self._written.lacks(self._written.default, f"there is no policy {wanted!r} in the files{near(wanted, names)}")
            return override or wanted
        if override or len(names) == 1 or DEFAULT_PRESET in names:
            return override or (names[0] if len(names) == 1 else DEFAULT_PRESET)
        if names and self._written.is_complete:
            self._written.mistakes.append(Mistake(str(first), 0, "default", f"is missing; name one of {', '.join(names)}"))
        return ""

    def _resolve(self, name: str, chain: tuple[str, ...]) -> Policy | None:
        """Resolve a policy of the files; None if it cannot be, for a mistake that is noted."""
        if name not in self._resolved:
            self._resolved[name] = self._merge(name, self._written.entries[name], (*chain, name))
        return self._resolved[name]

    def _merge(self, name: str, entry: Entry, chain: tuple[str, ...]) -> Policy | None:
        base = self._base(name, entry, chain)
        if entry.extends is not None and base is None:
            return None
        faces = entry.faces or (base.face_rule if base else None)
        if faces is None:
            # A mistaken one has been named already.
            if not entry.place.node.keys.keys() & {"faces", "extends"}:
                self._written.wrong(entry.place, f"needs faces ({one_of(FaceRule)}) or extends")
            return None
        bounds = self._merge_bounds(entry, base)
        advisory = frozenset(entry.advisory) if entry.advisory is not None else base.advisory if base else frozenset()
        for measure, place in (entry.advisory or {}).items():
            own = entry.bounds.get(measure)
            # A bound that was written wrongly has been named already.
            if measure not in bounds and (own is None or own[1] is None):
                self._written.wrong(place, f"{measure} has no bound to be advisory")
        guidance: dict[Reason, Mapping[str, str]] = dict(base.guidance) if base else {}
        for reason, sentences in entry.guidance.items():
            guidance[reason] = {**guidance.get(reason, {}), **sentences}
        # A base's own would not be true of what changes it.
        description = entry.description or (f"extends {base.name}" if base else "")
        shadow = str(entry.shadow.node.value) if entry.shadow is not None else None
        return Policy(name, bounds, faces, advisory & bounds.keys(), description, shadow, guidance)

    def _base(self, name: str, entry: Entry, chain: tuple[str, ...]) -> Policy | None:
        if entry.extends is None:
            return None
        wanted = str(entry.extends.node.value)
        # A policy may carry the name of the built-in that it extends.
        if wanted in self._written.entries and wanted != name:
            if wanted in chain:
                self._written.wrong(entry.extends, f"extends itself: {' -> '.join((*chain[chain.index(wanted) :], wanted))}")
                return None
            return self._resolve(wanted, chain)
        if wanted in PRESETS:
            return PRESETS[wanted]
        if wanted == name:
            self._written.wrong(entry.extends, f"extends itself: {name} -> {name}")
            return None
        names = [*self._written.entries, *PRESETS]
        self._written.lacks(entry.extends, f"there is no policy {wanted!r}{near(wanted, names)}; there are {', '.join(names)}")
        return None

    def _merge_bounds(self, entry: Entry, base: Policy | None) -> dict[Measure, Bound]:
        bounds = dict(base.bounds) if base else {}
        for measure, (place, sides) in entry.bounds.items():
            inherited = bounds.pop(measure, None)
            if sides is None:
                continue
            low = sides.get("min", inherited.minimum if inherited else None)
            high = sides.get("max", inherited.maximum if inherited else None)
            if low is not None and high is not None and low > high:
                self._written.wrong(place, f"min {low:g} is over max {high:g}, one of them inherited")
            elif low is not None or high is not None:
                bounds[measure] = Bound(low, high)
        return bounds

    def _check_shadow(self, name: str, entry: Entry) -> None:
        if entry.shadow is None:
            return
        wanted = str(entry.shadow.node.value)
        if wanted == name:
            self._written.wrong(entry.shadow, "a policy cannot shadow itself")
        elif wanted not in self._written.entries:
            hint = near(wanted, self._written.entries)
            self._written.lacks(entry.shadow, f"there is no policy {wanted!r} in the files{hint}; to try a built-in, extend it")
