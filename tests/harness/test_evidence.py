"""evidence.json: its schema, its refusals, its round trip."""

import json

import jsonschema
import pytest
from privassay.harness import evidence
from privassay.harness.errors import UsageError
from privassay.harness.types import Estimate, PrivacyClaim


def test_published_schema_is_current():
    assert evidence.SCHEMA_FILE.read_text() == evidence.json_schema()
    jsonschema.Draft202012Validator.check_schema(json.loads(evidence.json_schema()))


def test_example_follows_the_schema(example_run):
    content = json.loads((example_run / "evidence.json").read_text())
    jsonschema.validate(content, json.loads(evidence.json_schema()))


def test_round_trip(example_run, tmp_path):
    found = evidence.read(example_run / "evidence.json")
    evidence.write(found, tmp_path / "again.json")
    assert evidence.read(tmp_path / "again.json") == found


@pytest.mark.parametrize("value", ["NaN", "Infinity", '"0.5"', "null"])
def test_metrics_are_finite_numbers(example_run, value):
    path = example_run / "evidence.json"
    content = json.loads(path.read_text())
    utility = content["candidates"][0]["utility"]
    utility[next(iter(utility))]["value"] = 123456.5
    path.write_text(json.dumps(content).replace("123456.5", value))
    with pytest.raises(UsageError) as error:
        evidence.read(path)
    assert "candidates.0.utility" in str(error.value) or "not evidence" in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("content", "message"), [("{}", "Field required"), ("not json", "Invalid JSON")])
def test_not_evidence(tmp_path, content, message):
    (tmp_path / "evidence.json").write_text(content)
    with pytest.raises(UsageError, match=message):
        evidence.read(tmp_path / "evidence.json")


def test_not_there(tmp_path):
    with pytest.raises(UsageError, match="cannot be read"):
        evidence.read(evidence.evidence_path(tmp_path))


@pytest.mark.parametrize(
    "values", [(float("nan"), 0, 1), (0.5, float("-inf"), 1), (0.5, 0.9, 0.1)], ids=["NaN", "infinity", "ends swapped"]
)
def test_estimate_refuses(values):
    with pytest.raises(ValueError, match="Estimate"):
        Estimate(*values, 0.95, "test", 1, "records")


def test_claim_is_never_infinite():
    with pytest.raises(ValueError, match="not a claim"):
        PrivacyClaim(float("inf"), 1e-5, "record", "add_or_remove_one", "poisson", "pld", "", ())


def test_atomic_write_keeps_the_old_file_on_failure(tmp_path):
    path = tmp_path / "sub" / "file"
    with pytest.raises(evidence.InfrastructureError, match="cannot be written"):
        evidence.write_atomically(path, b"x")
    path.parent.mkdir()
    evidence.write_atomically(path, b"old")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]
