"""What is logged, decided without MLflow: names, parameters, files, and nothing restricted."""

import hashlib
import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_metric_name, _validate_param
from privassay.harness import evidence as ev
from privassay.harness.errors import UsageError
from privassay.harness.tracking_plan import clean_name, plan


def rewrite(folder, **changes):
    """Replace fields of the evidence in `folder`."""
    found = ev.read(folder / "evidence.json").model_copy(update=changes)
    ev.write(found, folder / "evidence.json")
    return found


def listed(folder, path, content=b"content", restricted=False):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return ev.Artifact(path=path, sha256=hashlib.sha256(content).hexdigest(), restricted=restricted)


def uploaded(folder):
    return {path.relative_to(folder.resolve()).as_posix() for path, _ in plan(folder).uploads}


@given(st.text(max_size=300))
def test_every_name_becomes_one_that_mlflow_accepts(name):
    for key in (clean_name(name), f"{clean_name(name)}/high"):
        _validate_metric_name(key)
        _validate_param(key, "value")


@pytest.mark.parametrize("name", ["mia/lira/tpr_at_fpr_0.01", "utility/train accuracy", "a:b-c"])
def test_names_that_are_fine_stay(name):
    assert clean_name(name) == name


def test_a_name_that_is_altered_says_so():
    assert clean_name("mia/lira (online)/auc") == "mia/lira _online_/auc-66decdeb"


def test_different_names_stay_different():
    names = ["a(b)", "a[b]", "a_b_", "x//y", "x/y", "x/./y", "é", "è", "n" * 300, "n" * 301, "", "..", "."]
    assert len({clean_name(name) for name in names}) == len(names)


def test_a_child_has_every_estimate_with_its_interval(example_run):
    found = ev.read(example_run / "evidence.json")
    for candidate, child in zip(found.candidates, plan(example_run).children, strict=True):
        expected = {}
        for name, estimate in candidate.metrics():
            expected |= {name: estimate.value, f"{name}/low": estimate.low, f"{name}/high": estimate.high}
        if candidate.claim:
            expected |= {"dp/epsilon": candidate.claim.epsilon, "dp/delta": candidate.claim.delta}
        assert child.metrics == expected
        assert child.tags["dp.guarantee"] == candidate.guarantee


def test_an_attack_without_result_is_named_with_its_reason(example_run):
    child = plan(example_run).children[2]
    assert child.tags["privassay.attack.art_black_box"] == "error: ValueError: attack model saw one class only"
    assert not [name for name in child.metrics if name.startswith("mia/art_black_box/")]


def test_what_was_not_measured_is_a_tag(example_run):
    file = example_run / "evidence.json"
    found = ev.read(file)
    gaps = (ev.Unmeasured(what="single records", reason="a"), ev.Unmeasured(what="audit", reason="b"))
    first = found.candidates[0].model_copy(update={"unmeasured": gaps})
    ev.write(found.model_copy(update={"candidates": (first, *found.candidates[1:])}), file)
    tags = [child.tags.get("privassay.not_measured") for child in plan(example_run).children]
    assert tags == ["single records: a; audit: b", *[None] * (len(tags) - 1)]


def test_the_parent_repeats_headlines_under_the_candidates_id(example_run):
    found = ev.read(example_run / "evidence.json")
    metrics = plan(example_run).parent.metrics
    estimates = dict(found.candidate("mlp/none").metrics())
    assert metrics["mlp/none/mia/lira/tpr_at_fpr_0.01"] == estimates["mia/lira/tpr_at_fpr_0.01"].value
    assert metrics["mlp/dp_sgd/dp/epsilon"] == found.candidate("mlp/dp_sgd").claim.epsilon
    assert "mlp/none/dp/epsilon" not in metrics
    assert "mlp/none/mia/lira/advantage" not in metrics


def test_a_control_that_failed_is_in_the_tags_and_in_every_verdict(example_run):
    control = ev.Control(id="planted", expectation="AUC > 0.8", status="failed", reason="AUC 0.61", metrics={})
    rewrite(example_run, controls=(control,))
    logged = plan(example_run)
    assert logged.parent.tags["privassay.controls"] == "planted failed: AUC 0.61"
    assert {run.tags["privassay.verdict"] for run in (logged.parent, *logged.children)} == {"ERROR"}


def test_the_parents_verdict_is_that_of_the_release_candidate(example_run):
    assert plan(example_run).parent.tags["privassay.verdict"] == "FAIL"
    assert "privassay.release_candidate" not in plan(example_run).parent.tags
    rewrite(example_run, experiment={"name": "quickstart", "release": "mlp/dp_sgd"})
    logged = plan(example_run)
    assert logged.parent.tags["privassay.verdict"] == "PASS"
    assert logged.parent.tags["privassay.release_candidate"] == "mlp/dp_sgd"
    assert logged.parent.tags["mlflow.note.content"].startswith("# PASS: ")
    assert [child.tags["privassay.verdict"] for child in logged.children] == ["FAIL", "PASS", "INCONCLUSIVE"]


def test_settings_become_parameters(example_run):
    experiment = {
        "name": "odd",
        "pool": {"models": 16, "targets": None},
        "models": {"mlp": {"hidden": [256], "note": "x" * 7000}},
        "defenses": {"dp_sgd": {"ε (target)": 8.0}},
    }
    rewrite(example_run, experiment=experiment)
    logged = plan(example_run)
    assert logged.parent.parameters["pool.models"] == "16"
    assert logged.parent.parameters["pool.targets"] == "null"
    assert len(logged.parent.parameters["models.mlp.note"]) == 6000
    dp_sgd = logged.children[1].parameters
    assert dp_sgd["models.hidden"] == "[256]"
    assert dp_sgd[clean_name("defenses.ε (target)")] == "8.0"
    assert dp_sgd["dp.accountant"] == "pld"
    assert not [name for name in logged.children[0].parameters if name.startswith("dp.")]


def test_more_settings_than_mlflow_shows_are_counted_not_lost_silently(example_run):
    rewrite(example_run, experiment={"name": "many", **{f"setting{i}": i for i in range(150)}})
    parent = plan(example_run).parent
    assert len(parent.parameters) == 100
    assert parent.tags["privassay.parameters_left_out"] == "51"


def test_two_values_under_one_name_are_refused(example_run):
    rewrite(example_run, experiment={"name": "twice", "a": {"b": 1}, "a.b": 2})
    with pytest.raises(UsageError, match=r"'a\.b' stands for two values"):
        plan(example_run)


def test_files_made_from_the_evidence_and_unrestricted_ones_are_uploaded(example_run):
    (example_run / "report.html").write_text("<p>report</p>")
    (example_run / "notes.txt").write_text("not listed")
    open_files = {a.path for a in ev.read(example_run / "evidence.json").artifacts if not a.restricted}
    assert uploaded(example_run) == open_files | {"evidence.json", "report.html"}


@pytest.mark.parametrize(
    ("path", "entries"),
    [
        ("release/scores.npz", [True]),
        ("release/scores.npz", [False, True]),
        ("restricted/forgotten.npz", [False]),
        ("report.html", [True]),
    ],
)
def test_nothing_restricted_is_uploaded(example_run, path, entries):
    rewrite(example_run, artifacts=tuple(listed(example_run, path, restricted=flag) for flag in entries))
    assert uploaded(example_run) == {"evidence.json"}


def test_a_link_to_a_restricted_file_is_not_uploaded(example_run):
    secret = listed(example_run, "restricted/scores.npz", restricted=True)
    (example_run / "release" / "harmless.npz").symlink_to(example_run / "restricted" / "scores.npz")
    link = secret.model_copy(update={"path": "release/harmless.npz", "restricted": False})
    rewrite(example_run, artifacts=(secret, link))
    assert uploaded(example_run) == {"evidence.json"}


def test_files_outside_the_folder_are_refused(example_run):
    rewrite(example_run, artifacts=(listed(example_run, "../elsewhere.txt"),))
    with pytest.raises(UsageError, match="lies outside the folder"):
        plan(example_run)


@pytest.mark.parametrize("content", [b"changed", None])
def test_a_file_that_is_not_the_listed_one_is_refused(example_run, content):
    rewrite(example_run, artifacts=(listed(example_run, "release/curve.json"),))
    if content is None:
        (example_run / "release/curve.json").unlink()
    else:
        (example_run / "release/curve.json").write_bytes(content)
    with pytest.raises(UsageError, match=r"release/curve\.json: not the file that evidence\.json lists"):
        plan(example_run)


@pytest.mark.parametrize(
    "created",
    ["2026-11-21T22:04:11+00:00", "2026-11-21T22:04:11Z", "2026-11-21T22:04:11", "2026-11-22T00:04:11+02:00"],
)
def test_the_time_is_that_of_the_evidence(example_run, created):
    rewrite(example_run, created=created)
    moment = datetime(2026, 11, 21, 22, 4, 11, tzinfo=UTC)
    assert plan(example_run).created == 1000 * int(moment.timestamp())


def test_a_time_that_is_none_is_refused(example_run):
    rewrite(example_run, created="yesterday")
    with pytest.raises(UsageError, match="created='yesterday': must be an ISO 8601"):
        plan(example_run)


def test_the_same_evidence_gives_the_same_plan(example_run):
    assert plan(example_run) == plan(example_run)


def test_pool_and_auxiliary_records_are_two_inputs(example_run):
    data = ev.read(example_run / "evidence.json").provenance.data
    pool, auxiliary = plan(example_run).inputs
    assert (pool.context, auxiliary.context) == ("members_and_non_members", "auxiliary")
    assert (pool.name, pool.digest) != (auxiliary.name, auxiliary.digest)
    assert pool.tags["privassay.data_sha256"] == data.sha256
    assert pool.tags["privassay.records"] == str(data.pool)
    assert json.loads(pool.source)["tags"]["licence"] == data.licence
