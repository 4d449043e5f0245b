"""`privassay run` on numbers: diabetes, a forest that remembers its members and a ridge that hardly does."""

import pytest
import yaml
from privassay.harness import cli, evidence
from privassay.harness.errors import ExitCode

EXPERIMENT = {
    "name": "diabetes",
    "seed": 0,
    "data": {"component": "diabetes"},
    "pool": {"models": 6, "records": 300},
    "models": {
        "forest": {"component": "sklearn_random_forest_regressor", "n_estimators": 10},
        "ridge": {"component": "sklearn_ridge"},
    },
    "defenses": {"none": {}},
    "attacks": {"loss": {}, "lira": {}, "confidence": {}, "art_miface": {}},
    "primary": "lira",
    "metrics": {"fprs": [0.1], "resamples": 100},
}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    folder = tmp_path_factory.mktemp("regression")
    path = folder / "diabetes.yaml"
    path.write_text(yaml.safe_dump(EXPERIMENT, sort_keys=False))
    arguments = ["run", path, "--out", folder / "out", "--tracking-uri", f"sqlite:///{folder}/m.db"]
    code = cli.main(list(map(str, arguments)))
    return code, evidence.read(folder / "out" / "evidence.json"), (folder / "out" / "report.html").read_text()


def test_the_run_passes_with_every_control(finished):
    code, found, _ = finished
    assert code == ExitCode.PASS
    assert [(c.id, c.status) for c in found.controls] == [
        ("shuffled_membership", "passed"), ("planted_leak", "passed"), ("model_free_baseline", "passed"),
    ]  # fmt: skip


def test_the_forest_leaks_and_the_ridge_hardly(finished):
    forest, ridge = ({a.id: a for a in candidate.attacks if a.status == "ok"} for candidate in finished[1].candidates)
    assert set(forest) == set(ridge) == {"loss", "lira"}
    assert forest["lira"].metrics["auc"].low > 0.75
    assert ridge["lira"].metrics["auc"].high < 0.65


def test_utility_is_r2(finished):
    forest, ridge = (candidate.utility for candidate in finished[1].candidates)
    assert set(forest) == set(ridge) == {"train_r2", "heldout_r2"}
    assert forest["train_r2"].low > 0.8
    assert 0.2 < forest["heldout_r2"].value < 0.6
    assert 0.2 < ridge["heldout_r2"].value < 0.6


def test_what_does_not_apply_says_why(finished):
    _, found, report = finished
    for candidate in found.candidates:
        refused = {a.id: a.reason for a in candidate.attacks if a.status != "ok"}
        assert set(refused) == {"confidence", "art_miface"}
        assert all("regressor" in reason for reason in refused.values())
    assert "a regressor has no classes" in report
    assert {group.column for candidate in found.candidates for group in candidate.groups} == {"sex"}
