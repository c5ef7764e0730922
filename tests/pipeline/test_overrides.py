"""Settings from YAML and --set: merged by dotted path, every mistake named at once."""

import contextlib
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from pipeline.overrides import ConfigError, apply, parse_yaml
from stages.settings import Settings


class Faces(Settings):
    detector: Literal["yunet", "haar"] = "yunet"
    stride: Annotated[int, Field(ge=1)] = 5
    width_px: int | None = 320


class Grain(Settings):
    strength: float = 0.0


class Encode(Settings):
    codec: str = "h264"
    crf: float = 18.0
    grain: Grain | None = None


class Config(Settings):
    faces: Faces = Faces()
    encode: Encode = Encode()
    tags: dict[str, str] = Field(default_factory=dict)
    name: str = "-"


def problems(values: dict[Any, Any], *overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        apply(Config, values, overrides)
    return str(caught.value).splitlines()


def test_nothing_given_is_the_defaults():
    assert apply(Config, {}) == Config()


def test_yaml_then_overrides_each_touching_one_setting():
    made = apply(
        Config,
        {"faces": {"stride": 3, "detector": "haar"}, "name": "night"},
        ["faces.stride=7", "encode.crf=20", "faces.stride=8"],
    )
    assert made == Config(faces=Faces(stride=8, detector="haar"), encode=Encode(crf=20.0), name="night")


def test_given_mapping_is_not_changed():
    values = {"faces": {"stride": 3}, "encode": None}
    apply(Config, values, ["faces.stride=9"])
    assert values == {"faces": {"stride": 3}, "encode": None}


def test_override_of_a_section_is_merged_into_it():
    made = apply(Config, {"faces": {"stride": 3}}, ["faces={detector: haar}"])
    assert made.faces == Faces(stride=3, detector="haar")


def test_optional_section_is_reached_through_its_path():
    assert apply(Config, {}, ["encode.grain.strength=0.5"]).encode.grain == Grain(strength=0.5)
    assert apply(Config, {"encode": {"grain": {"strength": 1}}}, ["encode.grain=null"]).encode.grain is None


def test_section_with_nothing_under_it_is_its_defaults():
    assert apply(Config, {"faces": None, "encode": {"crf": 1}}).faces == Faces()


def test_free_keys_of_a_mapping_are_free():
    assert apply(Config, {"tags": {"a": "b"}}, ["tags.c=d"]).tags == {"a": "b", "c": "d"}


def test_value_may_hold_an_equals_sign():
    assert apply(Config, {}, ["name=a=b"]).name == "a=b"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("2026-11-21", "2026-11-21"),
        ("0x10", "0x10"),
        ("'5'", "5"),
        ("", None),
        ("null", None),
        ("true", True),
        ("010", 10),
        ("1e-3", 0.001),
        ("-.5", -0.5),
        ("+.inf", float("inf")),
        ("[1, a, {b: c}]", [1, "a", {"b": "c"}]),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object):
    parsed = parse_yaml(text)
    assert parsed == value
    assert type(parsed) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "a: 1\na: 2",
        "[",
        "{a: 1",
        "!!python/object/apply:os.system [ls]",
        "? [a]\n: b",
        "\0",
        "[" * 5000,
        "9" * 5000,
    ],
)
def test_what_is_not_yaml_or_loses_a_value_is_refused(text: str):
    with pytest.raises(ConfigError, match="is not YAML"):
        parse_yaml(text)


def test_alias_that_holds_itself_is_refused():
    with pytest.raises(ConfigError, match="nested too deeply"):
        apply(Config, parse_yaml("tags: &a {b: *a}"))


def test_unknown_key_suggests_its_neighbour_in_yaml_and_override():
    assert problems({"faces": {"strid": 1}}) == ["faces.strid: is not a setting: did you mean faces.stride?"]
    assert problems({}, "face.stride=1") == ["face: is not a setting: did you mean faces?"]


def test_key_in_the_wrong_section_suggests_the_right_one():
    assert problems({"crf": 20}) == ["crf: is not a setting: did you mean encode.crf?"]
    assert problems({}, "encode.detector=haar") == ["encode.detector: is not a setting: did you mean faces.detector?"]


def test_key_like_nothing_lists_what_there_is():
    assert problems({"faces": {"zzzzzz": 1}}) == [
        "faces.zzzzzz: is not a setting: there are detector, stride, width_px"
    ]


def test_key_that_is_no_text_is_named():
    assert problems({"faces": {7: 1}})[0].startswith("faces.7: is not a setting")


def test_every_mistake_is_named_at_once_with_its_path():
    found = problems(
        {"faces": {"stride": 0, "detector": "s3fd", "strid": 2}, "encode": []},
        "name=[1]",
        "oops",
        "a..b=1",
        "name=[",
    )
    assert len(found) == 8
    text = "\n".join(found)
    assert "--set oops: must be a.b=value" in text
    assert "--set a..b=1: must be a.b=value" in text
    assert "--set name=[: is not YAML" in text
    assert "faces.strid: is not a setting" in text
    assert "faces.stride: input should be greater than or equal to 1, not 0" in text
    assert "faces.detector: input should be 'yunet' or 'haar', not 's3fd'" in text
    assert "encode: input should be a valid dictionary" in text
    assert "name: input should be a valid string, not [1] (from --set)" in text


def test_wrong_type_from_the_file_is_not_blamed_on_set():
    assert problems({"encode": {"crf": "high"}}, "faces.stride=2") == [
        "encode.crf: input should be a valid number, unable to parse string as a number, not 'high'"
    ]


def test_scalar_where_a_section_belongs():
    assert len(problems({"faces": 3})) == 1
    assert problems({}, "faces=3")[0].startswith("faces: ")
    assert problems({"faces": 3}, "faces.stride=0")[0].startswith("faces.stride: ")


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["faces", "stride", "encode", "grain", "x"]) | st.integers(), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(
    st.dictionaries(st.sampled_from(["faces", "encode", "tags", "name", "q"]), junk),
    st.lists(st.text(max_size=12)),
)
def test_any_mapping_is_settings_or_a_config_error(values: dict[str, Any], overrides: list[str]):
    with contextlib.suppress(ConfigError):
        assert isinstance(apply(Config, values, overrides), Config)


@given(st.text(max_size=40))
def test_any_text_is_yaml_or_a_config_error(text: str):
    with contextlib.suppress(ConfigError):
        made = parse_yaml(text)
        assert made is None or isinstance(made, bool | int | float | str | list | dict | date)


@given(stride=st.integers(1, 10**6), crf=st.floats(0, 51), name=st.text(min_size=1).filter(lambda s: s.isalnum()))
def test_override_of_any_value_arrives(stride: int, crf: float, name: str):
    made = apply(Config, {}, [f"faces.stride={stride}", f"encode.crf={crf!r}", f"name='{name}'"])
    assert (made.faces.stride, made.encode.crf, made.name) == (stride, crf, name)
