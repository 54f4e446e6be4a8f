"""Every broken policy file, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from facequality.measure import FACE_MEASURES
from facequality.policy import PolicySet
from facequality.policy_file import load

BROKEN = Path(__file__).parent / "data" / "policies"
WORKED = Path(__file__).parent.parent / "deploy" / "policies"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MEASURES_LIST = "; measures: " + ", ".join(FACE_MEASURES)
# What follows the file's name: line, path, and what would be right.
MISTAKES = {
    "a_list": [
        "1: must be a mapping with the keys policies and default",
    ],
    "advisory_not_a_list": [
        "2: policies.kiosk.advisory: must be a list of measures",
    ],
    "advisory_nested": [
        "2: policies.kiosk.advisory.0: must be the name of a measure, not a list",
        f"2: policies.kiosk.advisory.1: there is no measure '{'long' * 10}'",
        "3: policies.kiosk.bounds.score.min: must be a number in digits, 0 to 100, not a list",
    ],
    "advisory_of_a_dropped_bound": [
        "2: policies.kiosk.advisory.0: score has no bound to be advisory",
    ],
    "advisory_unknown": [
        "2: policies.kiosk.advisory.0: there is no measure 'scores'; did you mean score?",
    ],
    "advisory_without_bound": [
        "2: policies.kiosk.advisory.0: yaw has no bound to be advisory",
    ],
    "alias": [
        "2: anchors and aliases are not taken; write the values out, or use extends",
    ],
    "bound_a_number": [
        "4: policies.kiosk.bounds.sharpness: must be a mapping with min, max or both, or null to drop the bound",
    ],
    "bound_empty": [
        "4: policies.kiosk.bounds.sharpness: needs min, max or both, or null to drop the bound",
    ],
    "bounds_of_the_gate": [
        "4: policies.kiosk.advisory.0: no policy bounds image_bytes: the limits of photos are the vendor's",
        "6: policies.kiosk.bounds.face_count: no policy bounds face_count: its 'faces' say how many there may be",
        "7: policies.kiosk.bounds.image_long_side: no policy bounds image_long_side: the limits of photos are the vendor's",
    ],
    "default_a_number": [
        "1: default: must be a text of 1 to 200 characters",
    ],
    "default_missing": [
        " default: is missing; name one of kiosk, desk",
    ],
    "default_unknown": [
        "1: default: there is no policy 'kiosks' in the files; did you mean kiosk?",
    ],
    "description_too_long": [
        "2: policies.kiosk.description: must be a text of 1 to 200 characters",
    ],
    "duplicate_key": [
        "3: policies.kiosk: stands twice; the first is in line 2",
    ],
    "empty": [
        " is empty",
    ],
    "extends_itself": [
        "4: policies.door.extends: extends itself: kiosk -> desk -> door -> kiosk",
    ],
    "extends_itself_at_once": [
        "3: policies.kiosk.extends: extends itself: kiosk -> kiosk",
    ],
    "extends_unknown": [
        "2: policies.kiosk.extends: there is no policy 'enrol'; did you mean enroll?; there are kiosk, loose, normal, enroll, strict",
    ],
    "extends_a_number": [
        "2: policies.kiosk.extends: must be a text of 1 to 200 characters",
    ],
    "faces_alone_unknown": [
        "2: policies.kiosk.faces: must be largest, dominant or exactly_one",
    ],
    "faces_missing": [
        "2: policies.kiosk: needs faces (largest, dominant or exactly_one) or extends",
    ],
    "faces_unknown": [
        "4: policies.kiosk.faces: must be largest, dominant or exactly_one; did you mean exactly_one?",
    ],
    "flag_in_between": [
        "5: policies.kiosk.bounds.hat.max: must be 0 or 1, not 0.5",
        "6: policies.kiosk.bounds.eyes_open.min: must be 0 or 1, not 2",
    ],
    "guidance_unknown_language": [
        "2: policies.kiosk.guidance.TOO_DARK.de: is not a key here; keys: en, zh-Hans",
    ],
    "guidance_unknown_reason": [
        "2: policies.kiosk.guidance.TO_DARK: there is no reason 'TO_DARK'; did you mean TOO_DARK?",
    ],
    "many_mistakes": [
        "1: default: there is no policy 'kiosks' in the files; did you mean kiosk?",
        "4: policies.kiosk.extends: there is no policy 'enrol'; did you mean enroll?; there are kiosk, loose, normal, enroll, strict",
        "5: policies.kiosk.faces: must be largest, dominant or exactly_one",
        "7: policies.kiosk.bounds.sharpnes: there is no measure 'sharpnes'; did you mean sharpness?" + MEASURES_LIST,
        "8: policies.kiosk.bounds.brightness: min 80 is over max 20",
        "9: policies.kiosk.advisory.0: there is no measure 'scor'; did you mean score?",
    ],
    "min_over_inherited_max": [
        "4: policies.kiosk.bounds.brightness: min 71 is over max 70, one of them inherited",
    ],
    "min_over_max": [
        "4: policies.kiosk.bounds.brightness: min 60 is over max 40",
    ],
    "name_malformed": [
        "2: policies.Kiosk 1: a name is 1 to 63 of a-z, 0-9, - and _, and begins with a letter",
    ],
    "no_policies": [
        "1: policies: is missing; it maps names to policies",
        "1: default: there is no policy 'kiosk' in the files",
    ],
    "not_utf8": [
        " is not UTF-8 text",
    ],
    "not_yaml": [
        "2: is not YAML: expected ',' or '}', but got '<stream end>'",
    ],
    "out_of_range": [
        "4: policies.kiosk.bounds.sharpness.min: 101 is outside 0 to 100",
        "4: policies.kiosk.bounds.yaw.min: -91 is outside -90 to 90",
    ],
    "policies_a_list": [
        "1: policies: must be a mapping of names to policies",
    ],
    "policies_empty": [
        "1: policies: holds no policy",
    ],
    "shadow_itself": [
        "2: policies.kiosk.shadow: a policy cannot shadow itself",
    ],
    "shadow_unknown": [
        "2: policies.kiosk.shadow: there is no policy 'strict' in the files; to try a built-in, extend it",
    ],
    "side_a_boolean": [
        "4: policies.kiosk.bounds.sharpness.min: must be a number in digits, 0 to 100, not 'True'",
    ],
    "side_a_sexagesimal": [
        "4: policies.kiosk.bounds.sharpness.min: must be a number in digits, 0 to 100, not '1:30'",
    ],
    "side_a_text": [
        "4: policies.kiosk.bounds.sharpness.min: must be a number in digits, 0 to 100, not 'high'",
    ],
    "side_not_taken": [
        "4: policies.kiosk.bounds.score.max: score takes no max",
    ],
    "tag": [
        "2: tags are not taken",
    ],
    "too_deep": [
        "1: is nested more than 12 deep",
    ],
    "too_many_values": [
        "1: holds more than 20,000 values",
    ],
    "no_character": [
        " is not YAML: it holds characters or numbers that YAML forbids",
    ],
    "two_documents": [
        "2: holds more than one document",
    ],
    "unknown_measure": [
        "5: policies.kiosk.bounds.sharpnes: there is no measure 'sharpnes'; did you mean sharpness?" + MEASURES_LIST,
    ],
    "unknown_policy_key": [
        "4: policies.kiosk.bound: is not a key here; did you mean bounds?; keys: description, extends, faces, bounds, advisory, shadow, guidance",
    ],
    "unknown_side": [
        "5: policies.kiosk.bounds.sharpness.minimum: is not a key here; did you mean min?; keys: min, max",
    ],
    "unknown_top_key": [
        "1: policy: is not a key here; did you mean policies?; keys: default, policies",
    ],
}


def loaded(tmp_path: Path, text: str, default: str = "") -> PolicySet:
    file = tmp_path / "policies.yaml"
    file.write_text(text, encoding="utf-8")
    return load(file, NOW, default)
