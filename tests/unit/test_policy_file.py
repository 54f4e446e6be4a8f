"""Policy files: what is read, and every mistake that can be made."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from facequality.measure import FACE_MEASURES, Bound
from facequality.model import Measure, Reason
from facequality.policy import PRESETS, FaceRule
from facequality.policy_document import document, json_schema, to_yaml
from facequality.policy_file import load
from facequality.policy_mistakes import Mistake, PolicyFileError
from facequality.policy_source import take
from facequality.yaml_tree import MAX_BYTES
from hypothesis import given
from hypothesis import strategies as st

from tests.policy_mistakes import BROKEN, MISTAKES, NOW, WORKED, loaded

STRICT_ENROLL = "policies: {gate: {extends: enroll}}"


@pytest.mark.parametrize("name", MISTAKES)
def test_each_mistake_is_named_with_line_path_and_remedy(name: str) -> None:
    """The exact text; several mistakes of a file at once."""
    with pytest.raises(PolicyFileError) as caught:
        load(BROKEN / f"{name}.yaml", NOW)
    lines = [line.removeprefix(f"{BROKEN / name}.yaml:").removeprefix(":") for line in str(caught.value).splitlines()]
    assert lines == MISTAKES[name]


def test_a_directory_holds_no_more_than_a_config_map(tmp_path: Path) -> None:
    """It is not read to its end."""
    for number in range(8):
        (tmp_path / f"{number}.yaml").write_text(f"policies: {{p{number}: {{extends: enroll}}}} #" + "x" * 200_000)
    with pytest.raises(PolicyFileError, match="the files hold more than 1024 KiB together"):
        load(tmp_path, NOW)
    for number in range(5, 8):
        (tmp_path / f"{number}.yaml").unlink()
    assert len(load(tmp_path, NOW, "p0").policies) == 5


def test_of_several_policies_enroll_is_the_default(tmp_path: Path) -> None:
    """Unless the files say otherwise."""
    assert loaded(tmp_path, "policies: {a: {extends: loose}, enroll: {extends: strict}}").default == "enroll"


def test_a_directory_holds_64_files_at_most(tmp_path: Path) -> None:
    """Subdirectories are none of them, whatever their names; a change of the last one is a change."""
    (tmp_path / "old.yaml").mkdir()
    for number in range(64):
        (tmp_path / f"{number:02}.yaml").write_text(f"policies: {{p{number}: {{extends: enroll}}}}")
    assert len(load(tmp_path, NOW, "p0").policies) == 64
    before = take(tmp_path).fingerprint
    (tmp_path / "63.yaml").write_text("policies: {p63: {extends: strict}}")
    assert take(tmp_path).fingerprint != before
    (tmp_path / "64.yaml").write_text("policies: {p64: {extends: enroll}}")
    with pytest.raises(PolicyFileError, match="the directory holds more than 64 files"):
        load(tmp_path, NOW, "p0")


@pytest.mark.parametrize("count", [100, 101])
def test_a_hundred_mistakes_are_shown(count: int) -> None:
    """Of more it is said how many."""
    lines = str(PolicyFileError([Mistake("a.yaml", line, "", "is wrong") for line in range(1, count + 1)])).splitlines()
    assert lines[:100] == [f"a.yaml:{line}: is wrong" for line in range(1, 101)]
    assert lines[100:] == ["and 1 more"] * (count - 100)


def test_of_a_file_that_cannot_be_read_nothing_is_made_out(tmp_path: Path) -> None:
    """Whether another file's names are wrong is not known then; an editor's hidden lock is no policy file."""
    (tmp_path / "a.yaml").write_text("default: kiosk\npolicies: {gate: {extends: kiosk, shadow: next}}")
    (tmp_path / "b.yaml").write_text("policies: {kiosk: {extends: enroll}")
    (tmp_path / ".#c.yaml").symlink_to("nobody@nowhere:1")
    with pytest.raises(PolicyFileError) as caught:
        load(tmp_path, NOW)
    assert [Path(mistake.file).name for mistake in caught.value.mistakes] == ["b.yaml"]


def test_every_broken_fixture_is_asserted() -> None:
    """None lies about unused."""
    assert {path.stem for path in BROKEN.glob("*.yaml")} == set(MISTAKES)


def test_a_file_replaces_the_served_set_and_extends_built_ins_and_its_own(tmp_path: Path) -> None:
    """The contract's example, and one that extends it across lines."""
    served = loaded(
        tmp_path,
        """
        default: kiosk
        policies:
          desk:
            extends: kiosk
            faces: largest
            bounds: {brightness: {max: 80}, score: null, face_area_percent: {min: 5}}
            advisory: []
          kiosk:
            extends: enroll
            faces: exactly_one
            bounds: {sharpness: {min: 75}, completeness.chin: {min: 80}}
            advisory: [score]
            description: The kiosk in the hall.
        """,
    )
    assert set(served.policies) == {"desk", "kiosk"}
    kiosk, desk, enroll = served.get(""), served.get("desk"), PRESETS["enroll"]
    changed = {Measure.SHARPNESS: Bound(75), Measure.COMPLETENESS_CHIN: Bound(80)}
    assert dict(kiosk.bounds) == {**enroll.bounds, **changed}
    assert kiosk.advisory == {Measure.SCORE}
    assert (kiosk.description, desk.description) == ("The kiosk in the hall.", "extends kiosk")
    assert desk.bounds[Measure.BRIGHTNESS] == Bound(30, 80)
    assert Measure.SCORE not in desk.bounds
    assert desk.bounds[Measure.FACE_AREA_PERCENT] == Bound(5)
    assert (desk.face_rule, desk.advisory) == (FaceRule.LARGEST, frozenset())


def test_a_policy_may_carry_the_name_of_the_built_in_it_extends(tmp_path: Path) -> None:
    """The usual way to change one number of the default."""
    served = loaded(tmp_path, "policies: {enroll: {extends: enroll, bounds: {sharpness: {min: 60}}}}")
    assert served.default == "enroll"
    assert served.get("").bounds[Measure.SHARPNESS] == Bound(60)


def test_every_measure_can_be_bounded(tmp_path: Path) -> None:
    """Flags by 0 and 1."""
    bounds = {
        "face_size": {"min": 100}, "face_area_percent": {"min": 4.5}, "score": {"min": 1}, "sharpness": {"min": 1},
        "brightness": {"min": 1, "max": 99}, "pitch": {"min": -5, "max": 5}, "yaw": {"max": 5}, "roll": {"min": -5},
        "mask": {"max": 0}, "eyes_open": {"min": 1}, "glasses": {"max": 0}, "hat": {"max": 0},
        **{f"completeness.{part}": {"min": 1} for part in ("eyebrow", "eye", "nose", "cheek", "mouth", "chin")},
    }  # fmt: skip
    served = loaded(tmp_path, yaml.safe_dump({"policies": {"all": {"faces": "largest", "bounds": bounds}}}))
    assert set(served.get("").bounds) == set(FACE_MEASURES)
    assert served.get("").needs_attributes


def test_a_directory_is_one_set(tmp_path: Path) -> None:
    """Extends crosses files; hidden files and others are left alone; a name or default twice is a mistake."""
    (tmp_path / "a.yaml").write_text("policies: {kiosk: {extends: base}}\ndefault: kiosk")
    (tmp_path / "b.yml").write_text("policies: {base: {extends: loose}}")
    (tmp_path / "notes.txt").write_text("policies: {")
    assert set(load(tmp_path, NOW).policies) == {"kiosk", "base"}
    (tmp_path / "c.yaml").write_text("policies: {kiosk: {extends: loose}}\ndefault: base")
    with pytest.raises(PolicyFileError) as caught:
        load(tmp_path, NOW)
    assert [mistake.path for mistake in caught.value.mistakes] == ["policies.kiosk", "default"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(PolicyFileError, match=r"holds no \*\.yaml"):
        load(tmp_path / "empty", NOW)


def test_what_cannot_be_read_is_a_mistake(tmp_path: Path) -> None:
    """A missing file, one that is too large, one that explodes."""
    with pytest.raises(PolicyFileError, match="cannot be read: No such file"):
        load(tmp_path / "missing.yaml", NOW)
    with pytest.raises(PolicyFileError, match="is larger than 256 KiB"):
        loaded(tmp_path, "#" * (MAX_BYTES + 1))
    with pytest.raises(PolicyFileError, match="anchors and aliases"):
        loaded(tmp_path, "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]")
    with pytest.raises(PolicyFileError, match="nested more than 12 deep"):
        loaded(tmp_path, "[" * 100_000)


@pytest.mark.parametrize(
    "text",
    [
        'a: "\\U00110000"',
        "%YAML " + "9" * 5000 + ".1\n---\na: b",
        'policies: {a: {extends: enroll, description: "\\ud800"}}',
        "policies: {a: {extends: enroll, bounds: {score: {min: ٣٠}}}}",
        "policies: {a: {extends: enroll, bounds: {score: {min: " + "9" * 400 + "}}}}",
    ],
)
def test_what_the_yaml_library_stumbles_over_is_a_mistake(tmp_path: Path, text: str) -> None:
    """Never another exception; never half a character that could not be sent."""
    with pytest.raises(PolicyFileError):
        loaded(tmp_path, text)


def test_a_file_that_is_not_there_is_not_left_out(tmp_path: Path) -> None:
    """A dangling symlink in a directory is a mistake, not a policy less."""
    (tmp_path / "a.yaml").write_text(STRICT_ENROLL)
    (tmp_path / "b.yaml").symlink_to("nowhere.yaml")
    with pytest.raises(PolicyFileError, match=r"b\.yaml: cannot be read"):
        load(tmp_path, NOW)


@pytest.mark.parametrize("broken", [None, "policies: {"])
def test_what_a_file_that_cannot_be_read_may_hold_is_not_missed(tmp_path: Path, broken: str | None) -> None:
    """A policy that is not there, or no default: they may stand in it. One mistake is all."""
    (tmp_path / "a.yaml").write_text("policies: {one: {extends: base, shadow: next}, two: {extends: loose}}")
    if broken is None:
        (tmp_path / "b.yaml").symlink_to("nowhere.yaml")
    else:
        (tmp_path / "b.yaml").write_text(broken)
    with pytest.raises(PolicyFileError) as caught:
        load(tmp_path, NOW, "base")
    assert [Path(mistake.file).name for mistake in caught.value.mistakes] == ["b.yaml"]


def test_mistakes_stand_together_by_file(tmp_path: Path) -> None:
    """Whoever mends them opens each file once."""
    (tmp_path / "a.yaml").write_text("policies:\n  one: {extends: twoo}\n  two: {extends: loose, bound: {}}\n")
    (tmp_path / "b.yaml").write_text("policies:\n  three: {extends: loose, x: 1}\ndefault: fourr\n")
    with pytest.raises(PolicyFileError) as caught:
        load(tmp_path, NOW)
    files = [Path(mistake.file).name for mistake in caught.value.mistakes]
    assert files == sorted(files)
    assert files.count("a.yaml") == files.count("b.yaml") == 2


@pytest.mark.parametrize("number", ["70", "70.0", "+70", "070"])
def test_a_number_is_one_content_however_it_is_written(tmp_path: Path, number: str) -> None:
    """Also 0 and -0."""
    plain = loaded(tmp_path, "policies: {p: {extends: enroll, bounds: {sharpness: {min: 70}, pitch: {min: 0}}}}")
    written = loaded(
        tmp_path, f"policies: {{p: {{extends: enroll, bounds: {{sharpness: {{min: {number}}}, pitch: {{min: -0}}}}}}}}"
    )
    assert written.get("p").revision == plain.get("p").revision


def test_a_bound_may_leave_one_value(tmp_path: Path) -> None:
    """Of one's own, and by one side of an inherited one."""
    own = loaded(tmp_path, "policies: {a: {extends: enroll, bounds: {yaw: {min: 0, max: 0}}}}").get("")
    assert own.bounds[Measure.YAW] == Bound(0, 0)
    inherited = loaded(tmp_path, "policies: {a: {extends: enroll, bounds: {brightness: {min: 70}}}}").get("")
    assert inherited.bounds[Measure.BRIGHTNESS] == Bound(70, 70)


def test_ten_thousand_mistakes_are_a_hundred_lines(tmp_path: Path) -> None:
    """And how many more there are."""
    with pytest.raises(PolicyFileError) as caught:
        loaded(tmp_path, "policies:\n" + "".join(f"  p{n}: {{x: 1}}\n" for n in range(90)) * 5)
    lines = str(caught.value).splitlines()
    assert len(lines) == 101
    assert lines[-1] == f"and {len(caught.value.mistakes) - 100} more"


def test_one_policy_shown_loads_back_with_all_that_it_names(tmp_path: Path) -> None:
    """Shadows of shadows, no default among them, texts like numbers, small numbers."""
    served = loaded(
        tmp_path,
        """
        default: other
        policies:
          other: {extends: loose}
          a: {extends: enroll, shadow: b, description: "08", bounds: {face_area_percent: {min: 0.00001}}}
          b: {extends: enroll, shadow: c, description: "yes"}
          c: {extends: strict, description: "1:30 # x"}
        """,
    )
    again = loaded(tmp_path, to_yaml(document(served, ["a"])))
    assert set(again.policies) == {"a", "b", "c"}
    for name, policy in again.policies.items():
        assert (policy.revision, policy.description) == (served.get(name).revision, served.get(name).description)


def test_the_default_can_be_overridden_and_must_be_served(tmp_path: Path) -> None:
    """By the operator's setting."""
    text = "default: a\npolicies: {a: {extends: loose}, b: {extends: strict}}"
    assert loaded(tmp_path, text).default == "a"
    assert loaded(tmp_path, text, default="b").default == "b"
    with pytest.raises(PolicyFileError, match="FACEQUALITY_DEFAULT_POLICY names 'c'"):
        loaded(tmp_path, text, default="c")


def test_guidance_is_overridden_by_language_and_inherited(tmp_path: Path) -> None:
    """What is not given stays the built-in."""
    text = """
    policies:
      base: {extends: enroll, guidance: {TOO_DARK: {en: Turn on the lamp., zh-Hans: 请开灯。}}}
      kiosk: {extends: base, guidance: {TOO_DARK: {en: Press the lamp button.}}}
    default: kiosk
    """
    sentences = loaded(tmp_path, text).get("").guidance[Reason.TOO_DARK]
    assert dict(sentences) == {"en": "Press the lamp button.", "zh-Hans": "请开灯。"}


@given(st.binary(max_size=300) | st.text(max_size=200).map(str.encode))
def test_any_bytes_load_or_are_mistakes(content: bytes) -> None:
    """Nothing but PolicyFileError."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "policies.yaml"
        file.write_bytes(content)
        try:
            load(file, NOW)
        except PolicyFileError as error:
            assert error.mistakes


json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-200, 200)
    | st.floats(allow_nan=False)
    | st.sampled_from(["enroll", "largest", "kiosk"]),
    lambda children: (
        st.lists(children, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["policies", "default", "kiosk", "extends", "faces", "bounds", "advisory", "sharpness", "min", "max"]
            ),
            children,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def drawn_loads(value: Any) -> bool:
    """Whether a drawn document loads; it raises only mistakes."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "policies.yaml"
        file.write_text(yaml.safe_dump(value))
        try:
            load(file, NOW)
        except PolicyFileError:
            return False
    return True


@given(json_values)
def test_any_document_loads_or_is_mistaken(value: Any) -> None:
    """And nothing else is raised."""
    drawn_loads(value)


texts = st.sampled_from(["", "enroll", "Hello.", "x" * 201])
measures = st.sampled_from(["sharpness", "yaw", "completeness.chin", "face_count"])
bounds = st.none() | st.fixed_dictionaries({}, optional={side: st.none() | st.integers(-10, 110) for side in ("min", "max")})
entries = st.fixed_dictionaries(
    {"extends": st.sampled_from(["enroll", "loose"])},
    optional={
        "faces": st.sampled_from(["largest", "exactly_one", "one"]),
        "bounds": st.dictionaries(measures, bounds, max_size=2),
        "advisory": st.lists(measures, max_size=2),
        "description": texts,
        "guidance": st.dictionaries(st.sampled_from(["TOO_DARK", "DARK"]), st.dictionaries(st.just("en"), texts), max_size=1),
    },
)


@given(st.fixed_dictionaries({"policies": st.dictionaries(st.just("kiosk"), entries)}, optional={"default": st.just("kiosk")}))
def test_what_loads_fits_the_schema(value: Any) -> None:
    """The schema for editors never calls wrong what the loader takes."""
    if drawn_loads(value):
        jsonschema.validate(value, json_schema())


def test_no_description_is_empty(tmp_path: Path) -> None:
    """For the loader and the schema alike."""
    text = "policies: {kiosk: {extends: enroll, description: ''}}"
    with pytest.raises(PolicyFileError):
        loaded(tmp_path, text)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(text), json_schema())


# Mistakes that only the loader can see: they span keys, or files, or lie in the YAML itself.
BEYOND_THE_SCHEMA = {
    "empty", "not_yaml", "not_utf8", "advisory_of_a_dropped_bound", "too_many_values",
    "advisory_without_bound", "alias", "default_missing", "default_unknown", "duplicate_key",
    "extends_itself", "extends_itself_at_once", "extends_unknown", "min_over_inherited_max", "min_over_max", "shadow_itself", "shadow_unknown", "tag",
    "no_character", "two_documents", "too_deep", "side_a_sexagesimal",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(MISTAKES) - BEYOND_THE_SCHEMA))
def test_the_schema_sees_the_mistakes_of_shape(name: str) -> None:
    """An editor underlines them."""
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load((BROKEN / f"{name}.yaml").read_text()), json_schema())


@pytest.mark.parametrize("file", sorted(WORKED.glob("*.yaml")), ids=lambda file: file.stem)
def test_the_worked_policies_load_and_fit_the_schema(file: Path) -> None:
    """The page's examples are real."""
    assert load(file, NOW).policies
    jsonschema.validate(yaml.safe_load(file.read_text(encoding="utf-8")), json_schema())


def test_there_are_three_worked_policies() -> None:
    """A kiosk, a phone, a bulk import."""
    assert len(list(WORKED.glob("*.yaml"))) == 3


def test_one_side_of_an_inherited_bound_can_be_dropped(tmp_path: Path) -> None:
    """The other stays."""
    served = loaded(tmp_path, "policies: {k: {extends: enroll, bounds: {brightness: {max: null}}}}")
    assert served.get("").bounds[Measure.BRIGHTNESS] == Bound(30, None)


def test_an_advisory_list_is_inherited_or_replaced(tmp_path: Path) -> None:
    """Never joined: an empty one makes every bound block."""
    policies = "{a: {extends: enroll, advisory: [score]}, b: {extends: a}, c: {extends: a, advisory: []}, d: {extends: a, advisory: [sharpness]}}"
    served = loaded(tmp_path, f"default: a\npolicies: {policies}")
    wanted = [{Measure.SCORE}, {Measure.SCORE}, set(), {Measure.SHARPNESS}]
    assert [served.get(name).advisory for name in "abcd"] == wanted


def test_a_policy_of_the_files_comes_before_a_preset_of_its_name(tmp_path: Path) -> None:
    """As a base for others too."""
    policies = "{enroll: {extends: enroll, bounds: {sharpness: {min: 60}}}, k: {extends: enroll}}"
    assert loaded(tmp_path, f"default: k\npolicies: {policies}").get("k").bounds[Measure.SHARPNESS] == Bound(60)


@pytest.mark.parametrize("name", ["kiosk.1", "kiosk 1", "kiosk!", "a" * 64])
def test_names_fit_into_labels(tmp_path: Path, name: str) -> None:
    """To their last letter."""
    with pytest.raises(PolicyFileError, match="a name is"):
        loaded(tmp_path, f'policies: {{"{name}": {{extends: enroll}}}}')


def test_a_hundred_policies_are_served_and_no_more(tmp_path: Path) -> None:
    """Each has series of its own."""
    first = "default: p0\npolicies:\n" + "".join(f"  p{number}: {{extends: loose}}\n" for number in range(100))
    assert len(loaded(tmp_path, first).policies) == 100
    with pytest.raises(PolicyFileError, match="more than 100"):
        loaded(tmp_path, first + "  p100: {extends: loose}\n")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """A pipe would never end."""
    os.mkfifo(tmp_path / "policies.yaml")
    with pytest.raises(PolicyFileError, match="not a regular file"):
        load(tmp_path, NOW)
