from pathlib import Path
from typing import Annotated, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from privassay.harness.errors import UsageError
from privassay.harness.yamlfile import parse_value, parse_yaml, read_yaml, validate
from pydantic import BaseModel, ConfigDict, Field


class Model(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Tree(Model):
    kind: Literal["tree"]
    depth: int


class Mlp(Model):
    kind: Literal["mlp"]
    widths: tuple[int, ...]


class Training(Model):
    epochs: int = Field(10, ge=1)
    rate: float = 0.1
    shuffle: bool = True


class Config(Model):
    name: str = "x"
    seed: int | None = None
    training: Training = Training()
    models: tuple[Annotated[Tree | Mlp, Field(discriminator="kind")], ...] = ()
    stages: dict[str, Training] = Field(default_factory=dict)
    bounds: tuple[float, float] = (0.0, 1.0)
    other: float | str = 0.0


def message(content, model=Config):
    with pytest.raises(UsageError) as caught:
        validate(model, parse_yaml(content.encode(), "c.yaml"), "c.yaml")
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith("c.yaml: ")
    return text.removeprefix("c.yaml: ")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4), ("1E5", 1e5), ("-2.5e+3", -2500.0), ("1.0e-4", 1e-4),
        (".5", 0.5), ("3.", 3.0), ("10", 10), ("-3", -3),
        ("true", True), ("False", False), ("null", None),
        ("~", None), ("", None), ("[1, a]", [1, "a"]), ("{a: 1}", {"a": 1}),
        # Text in YAML 1.2 although YAML 1.1 turns it into something else:
        ("no", "no"), ("on", "on"), ("2027-05-01", "2027-05-01"),
        ("010", "010"), ("1:30", "1:30"), ("1_000", "1_000"),
        (".nan", ".nan"), (".inf", ".inf"), ("none", "none"), ("1e", "1e"), ("=", "="), ("'1'", "1"),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema_of_yaml_1_2(text, value):
    parsed = parse_value(text, "--set")
    assert parsed == value
    assert type(parsed) is type(value)


@settings(deadline=None)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_finite_number_as_python_writes_it_is_a_number(number):
    assert parse_value(repr(number), "x") == number


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "holds nothing: must be a mapping of keys to values"),
        (b"[1, 2]", "holds [1, 2]: must be a mapping of keys to values"),
        (b"word", "holds 'word': must be a mapping of keys to values"),
        (b"a: 1\na: 2", "line 2: key 'a' is given twice"),
        (b"x: {b: 1, b: 2}", "line 1: key 'b' is given twice"),
        (b"a: 1\n2: b", "line 2: key 2: keys must be text"),
        (b"[a]: b", "line 1: key: keys must be text"),
        (b"a: &x 1\nb: *x", "line 2: alias *x: aliases are not supported"),
        (b"a: &x [*x]", "line 1: alias *x: aliases are not supported"),
        (
            b"a: !!python/name:os.system b",
            "line 1: tag tag:yaml.org,2002:python/name:os.system: tags are not",
        ),
        (b"a: !!int b", "line 1: tag tag:yaml.org,2002:int: tags are not supported"),
        (b"a: [1", "line 1: expected ',' or ']', but got '<stream end>'"),
        (b"a: 1\n---\nb: 2", "line 2: but found another document"),
        (b"\x80", "not YAML (invalid start byte)"),
        (b"a: \x00", "not YAML (special characters are not allowed)"),
        (b"a: " + b"[" * 5000, "nested too deeply"),
        (b"a: " + b"9" * 5000, "Exceeds the limit (4300 digits) for integer string conversion"),
    ],
)
def test_what_is_not_a_plain_mapping_is_refused_in_one_line(content, expected):
    with pytest.raises(UsageError) as caught:
        parse_yaml(content, "c.yaml")
    assert str(caught.value).startswith(f"c.yaml: {expected}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            "naem: y",
            "unknown key 'naem', did you mean 'name'? allowed: name, seed, training, models, stages, bounds",
        ),
        ("zzz: y", "unknown key 'zzz'; allowed: name, seed"),
        (
            "training: {epohcs: 3}",
            "training: unknown key 'epohcs', did you mean 'epochs'? allowed: epochs, rate, shuffle",
        ),
        ("stages: {one: {epoch: 3}}", "stages.one: unknown key 'epoch', did you mean 'epochs'?"),
        (
            "models: [{kind: tree, depth: 3}, {kind: tree, dept: 3}]",
            "models[1]: unknown key 'dept', did you mean 'depth'?",
        ),
        ("models: [{kind: tree}]", "models[0]: key 'depth' is missing"),
        ("models: [{kind: mlp, widths: [3, a]}]", "models[0].widths[1]='a': must be a whole number"),
        ("models: [{kind: cnn}]", "models[0]={'kind': 'cnn'}: 'kind' must be one of 'tree', 'mlp'"),
        ("models: 3", "models=3: must be a list"),
        ("training: [1]", "training=[1]: must be a mapping of keys to values"),
        ("training: {epochs: '3'}", "training.epochs='3': must be a whole number"),
        ("training: {epochs: 1e3}", "training.epochs=1000.0: must be a whole number"),
        ("training: {epochs: 2.5}", "training.epochs=2.5: must be a whole number"),
        ("training: {epochs: true}", "training.epochs=True: must be a whole number"),
        ("training: {epochs: 0}", "training.epochs=0: must be greater than or equal to 1"),
        ("training: {rate: fast}", "training.rate='fast': must be a number"),
        ("training: {rate: .inf}", "training.rate='.inf': must be a number"),
        ("training: {rate: 1e999}", "training.rate=inf: must be a finite number"),
        ("training: {shuffle: yes}", "training.shuffle='yes': must be true or false"),
        ("training: {shuffle: 1}", "training.shuffle=1: must be true or false"),
        ("name: 7", "name=7: must be text (quote it if it looks like a number)"),
        ("seed: x", "seed='x': must be a whole number"),
        ("other: [1]", "other=[1]: must be"),
        ("bounds: [0]", "bounds: key '1' is missing"),
        ("naem: y\nseed: x", "unknown key 'naem'"),
    ],
)  # fmt: skip
def test_mistakes_name_the_key_the_value_and_what_is_allowed(content, expected):
    assert message(content).startswith(expected)


def test_of_several_mistakes_the_unknown_key_is_named_and_the_rest_counted():
    assert message("seed: x\nnaem: y\nbounds: 3").endswith("(and 2 more)")


def test_values_are_not_printed_at_full_length():
    assert len(message(f"training: {{epochs: {'x' * 5000}}}")) < 200


def test_valid_content_becomes_the_model():
    content = "training: {rate: 1e-4}\nmodels: [{kind: mlp, widths: [3, 4]}]\nbounds: [0, 1]\nother: 3"
    config = validate(Config, parse_yaml(content.encode(), "c"), "c")
    assert config.training == Training(epochs=10, rate=1e-4, shuffle=True)
    assert config.models == (Mlp(kind="mlp", widths=(3, 4)),)
    assert config.bounds == (0.0, 1.0)


def test_a_value_that_no_file_could_hold_is_an_error_and_no_traceback():
    with pytest.raises(UsageError, match=r"^x: seed=.*must be a whole number"):
        validate(Config, {"seed": object()}, "x")


def test_files_are_read(tmp_path):
    (tmp_path / "c.yaml").write_text("name: a")
    assert read_yaml(tmp_path / "c.yaml") == {"name": "a"}


@pytest.mark.parametrize(("name", "reason"), [("absent", "No such file or directory"), (".", "Is a directory")])
def test_unreadable_files_are_named(tmp_path, name, reason):
    path = Path(tmp_path / name)
    with pytest.raises(UsageError) as caught:
        read_yaml(path)
    assert str(caught.value) == f"{path}: cannot be read ({reason})"
