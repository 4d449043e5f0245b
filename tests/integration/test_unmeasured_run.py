"""`privassay run` and `audit run` where a part cannot be measured: a reason in every output, or a refusal at once."""

import numpy as np
import pandas as pd
import pytest
import yaml
from privassay.harness import cli, evidence
from privassay.harness.errors import ExitCode
from sklearn.datasets import load_digits

CODE = """
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier

def build():
    return RandomForestClassifier(5)

def fixed():
    return HistGradientBoostingClassifier(max_iter=2, categorical_features=[False] * 64)

def train(x, y, n_classes, seed):
    return RandomForestClassifier(10, random_state=seed).fit(x, y)
"""
EXPERIMENT = {
    "name": "part",
    "data": {"component": "table", "path": "d.csv", "target": "digit", "user_id": "user", "sensitive": ["ward", "day"]},
    "pool": {"models": 4, "records": 420, "canaries": 42},
    "models": {
        "est": {"component": "sklearn_estimator", "build": "users_part:build"},
        "fixed": {"component": "sklearn_estimator", "build": "users_part:fixed"},
        "py": {"component": "python", "train": "users_part:train"},
        "fr": {"component": "python", "train": "users_part:train", "records": "frame"},
    },
    "defenses": {"none": {}},
    "candidates": ["est/none", "py/none", "fr/none"],
    "suite": "auto",
    "metrics": {"fprs": [0.2, 0.001], "resamples": 100},
}


def digits_of_users():
    """1797 digits of 599 users, who live in one ward and come on any day."""
    digits = load_digits()
    table = pd.DataFrame(digits.data.astype(int), columns=[f"p{i}" for i in range(64)])
    user = np.arange(len(table)) // 3
    return table.assign(user=user, digit=digits.target, ward=np.where(user % 4, "north", "south"), day=table.index % 7)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    found = tmp_path_factory.mktemp("part")
    digits_of_users().to_csv(found / "d.csv", index=False)
    (found / "users_part.py").write_text(CODE)
    (found / "e.yaml").write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    return found


def command(folder, capsys, *arguments):
    code = cli.main([*map(str, arguments)])
    return code, capsys.readouterr().err.replace("\n", " ")


def run(folder, capsys, path, *settings):
    overrides = [word for setting in settings for word in ("--set", setting)]
    out = folder / f"out-{path.stem}-{len(list(folder.glob('out-*')))}"
    arguments = ["run", path, "--out", out, "--tracking-uri", f"sqlite:///{folder}/m.db", *overrides]
    code, words = command(folder, capsys, *arguments)
    return code, words, out


def test_canaries_and_groups_are_there_without_a_primary_attack(folder, capsys):
    code, words, out = run(folder, capsys, folder / "e.yaml", "candidates=[est/none]")
    found = evidence.read(out / "evidence.json")
    assert (code, found.primary) == (ExitCode.PASS, None)
    (candidate,) = found.candidates
    assert {group.attack for group in candidate.groups} == {candidate.vulnerability.attack} == {"rmia"}
    rows = {(group.column, group.value): group for group in candidate.groups}
    assert set(rows) == {("ward", "north"), ("ward", "south"), ("canaries", "canary"), ("canaries", "ordinary")}
    assert rows["canaries", "canary"].members == 14
    assert "tpr_at_fpr_0.2" in rows["canaries", "canary"].metrics
    reasons = {gap.what: gap.reason for gap in candidate.unmeasured}
    assert set(reasons) == {"tpr_at_fpr_0.001", "groups by class", "groups by day"}
    assert reasons["groups by day"] == "140 of 140 users have several values of it; results are about users"
    rate = "needs 10,000 users outside of the training data, there are 126"
    assert reasons["tpr_at_fpr_0.001"] == rate
    report = (out / "report.html").read_text()
    for page in (words, report.replace("&nbsp;", " ")):
        assert "rmia, an attack that was fixed in advance: no primary attack was named" in page
        assert "groups by day not measured: 140 of 140 users have several values of it" in page
        assert f"not measured: {rate}" in page


def test_recorded_answers_without_references_have_their_groups(tmp_path, capsys):
    rng = np.random.default_rng(0)
    member, grp = np.arange(400) % 2, rng.choice(["a", "b"], 400)
    right = np.clip(rng.beta(2 + 2 * member, 1), 0.01, 0.99)
    label = rng.integers(0, 2, 400)
    first = np.where(label == 0, right, 1 - right)
    table = pd.DataFrame({"id": np.arange(400), "grp": grp, "label": label, "member": member, "p_0": first})
    table.assign(p_1=1 - first).to_csv(tmp_path / "target.csv", index=False)
    target = {"component": "predictions", "path": "target.csv", "record_id": "id", "sensitive": ["grp"]}
    content = {"name": "p", "targets": {"api": target}, "suite": "auto"}
    content["metrics"] = {"fprs": [0.1], "resamples": 100}
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(content))
    code, words, out = run(tmp_path, capsys, tmp_path / "p.yaml")
    assert code == ExitCode.PASS
    (candidate,) = evidence.read(out / "evidence.json").candidates
    assert {group.value for group in candidate.groups if group.column == "grp"} == {"a", "b"}
    assert {group.attack for group in candidate.groups} == {"loss"}
    assert [gap.what for gap in candidate.unmeasured] == ["single records"]
    assert "api/released: groups by loss, an attack that was fixed in advance" in words
    assert "single records not measured" not in words  # one released model never suffices: the report says so


NOT_KEPT = "its models are not kept, so they cannot be asked about canaries; name the candidates that are to be audited"


@pytest.mark.parametrize(
    "section", ["{canaries: 100}", "{canaries: 100, candidates: [py/none]}", "{canaries: 100, kind: own_feature}"]
)
def test_an_audit_of_a_model_that_is_not_kept_is_refused_before_training(folder, capsys, section):
    code, words, out = run(folder, capsys, folder / "e.yaml", f"audit={section}")
    assert code == ExitCode.USAGE
    assert f"e.yaml: audit of py/none: {NOT_KEPT}" in words
    assert not (out / "store").exists()


@pytest.mark.parametrize(("candidate", "kind"), [("py/none", "mislabelled"), ("fr/none", "own_feature")])
def test_so_is_the_audit_alone(folder, capsys, candidate, kind):
    out = folder / "out-refused"
    arguments = ["audit", "run", folder / "e.yaml", "--candidate", candidate, "--kind", kind]
    code, words = command(folder, capsys, *arguments, "--canaries", 100, "--out", out)
    assert code == ExitCode.USAGE
    assert f"e.yaml: audit of {candidate}: {NOT_KEPT}" in words
    assert "no rows of a CSV" not in words
    assert not out.exists()


def test_a_network_that_does_not_fit_the_canaries_is_refused_before_training(folder, capsys):
    module = {"component": "torch_module", "build": "users_net:build"}
    (folder / "users_net.py").write_text(
        "import torch\n\ndef build(shape, n_classes):\n    return torch.nn.Linear(64, n_classes)\n"
    )
    content = {**EXPERIMENT, "models": {"net": module}, "candidates": ["net/none"], "audit": {"canaries": 100}}
    (folder / "net.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    code, words, out = run(folder, capsys, folder / "net.yaml", "audit.kind=own_feature")
    assert code == ExitCode.USAGE
    assert "net.yaml: audit of net/none: users_net:build" in words
    assert not (out / "store").exists()


def test_an_audit_that_fails_when_it_trains_leaves_the_evidence(folder, capsys):
    """The model takes 64 features and says so only when it is fitted."""
    settings = ("candidates=[fixed/none]", "audit={canaries: 20, kind: own_feature}", "suite=null", "attacks={loss: }")
    code, words, out = run(folder, capsys, folder / "e.yaml", *settings)
    assert code == ExitCode.ERROR
    found = evidence.read(out / "evidence.json")
    (candidate,) = found.candidates
    assert candidate.attacks[0].status == "ok"
    (reason,) = (gap.reason for gap in candidate.unmeasured if gap.what == "audit")
    assert "categorical_features" in reason
    (verdict,) = found.verdicts
    assert (verdict.verdict.value, verdict.reason) == ("ERROR", f"the audit of this candidate failed ({reason})")
    assert "fixed/none: audit not measured:" in words
    assert "audit not measured:" in (out / "report.html").read_text()
