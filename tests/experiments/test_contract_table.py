"""The contract table says what happens: the page in the documentation is what the command finds today."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
from privassay.experiments import contract_table
from privassay.experiments._contract_page import exceptions, page, usual
from privassay.experiments._contract_runs import Combination, outcome_of
from privassay.experiments._contract_targets import TARGETS
from privassay.harness import catalog
from privassay.harness.errors import InfrastructureError, NotApplicable, UsageError

PAGE = Path(__file__).resolve().parents[2] / "docs" / "contract.md"
FACTS = {"models": 6, "records": 60, "minutes": 1.0, "processes": 2}
BACKENDS = {
    "mlp": {
        "none": Combination("runs", {"loss": "runs", "boundary": "runs"}),
        "rounded": Combination("runs", {"loss": "runs", "boundary": "runs"}),
        "odd": Combination("runs", {"loss": "runs", "boundary": "refuses: one label"}),
    },
    "forest": {
        "none": Combination("runs", {"loss": "runs", "boundary": "runs"}),
        "rounded": Combination("refuses: no", {"loss": "refuses: no", "boundary": "refuses: no"}),
        "odd": Combination("runs", {"loss": "error: KeyError: 3", "boundary": "runs"}),
    },
}


def matrices(text):
    """Reason or `runs` by (title, row, column), and the lines under Exceptions, with numbers replaced by reasons."""
    reasons = dict(re.findall(r"^(\d+)\. (.+)$", text.partition("## Reasons\n")[2], re.MULTILINE))
    found = {}
    for title, body in re.findall(r"^## (.+ and .+)\n\n((?:\|.*\n)+)", text, re.MULTILINE):
        header, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in body.splitlines()]
        for name, *cells in rows:
            for column, cell in zip(header[1:], cells, strict=True):
                found[title, name, column] = reasons.get(cell, cell)
    others = re.findall(r"^- (.+): (\w+)$", text.partition("## Exceptions\n")[2].partition("## ")[0], re.MULTILINE)
    return found, {what: reasons.get(outcome, outcome) for what, outcome in others}


def printed(capsys, *arguments):
    contract_table.main([*arguments, "--markdown", "--processes", "1"])
    return matrices(capsys.readouterr().out)


def test_a_part_is_as_the_page_says(capsys):
    models, defenses = ["sklearn_logistic_regression", "torch_mlp", "python"], ["none", "dp_sgd", "top_k"]
    attacks = ["loss", "attack_p", "lira", "art_miface", "art_boundary", "art_rule_based"]
    targets = ["predictions", "predictions, labels only", "python, references trained"]
    chosen = ("--models", *models, "--defenses", *defenses, "--attacks", *attacks, "--targets", *targets)
    found, others = printed(capsys, *chosen)
    written, _ = matrices(PAGE.read_text())
    assert len(found) == 3 * 3 + 6 * 3 + 6 * 3
    assert found == {key: written.get(key) for key in found}
    assert others == {}
    assert found["Recipes and attacks", "art_miface", "torch_mlp"] == "runs"
    assert "are not kept" in found["Recipes and attacks", "art_miface", "python"]
    assert "not available" in found["Recipes and defences", "dp_sgd", "sklearn_logistic_regression"]
    assert "answers with labels" in found["Released models and attacks", "loss", "predictions, labels only"]


def test_the_page_has_no_hole_and_no_error():
    found, others = matrices(PAGE.read_text())
    names = {kind: list(catalog.BUILT_IN[kind]) for kind in ("models", "defenses", "attacks")}
    expected = {("Recipes and defences", d, m) for d in names["defenses"] for m in names["models"]}
    expected |= {("Recipes and attacks", a, m) for a in names["attacks"] for m in names["models"]}
    expected |= {("Released models and attacks", a, t) for a in names["attacks"] for t in TARGETS}
    assert set(found) == expected
    outcomes = [*found.values(), *others.values()]
    assert [outcome for outcome in outcomes if not outcome or outcome.isdigit() or outcome.startswith("error")] == []


def test_every_way_to_a_released_model_is_in_the_table():
    assert {component for component, _, _ in TARGETS.values()} == set(catalog.BUILT_IN["targets"])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_whole_page_is_what_the_command_prints(capsys):
    if importlib.util.find_spec("tensorflow") is None:
        pytest.skip("needs the [keras] extra")
    contract_table.main(["--markdown"])
    assert matrices(capsys.readouterr().out) == matrices(PAGE.read_text())


def test_json_has_every_combination(capsys):
    chosen = ["--models", "sklearn_logistic_regression", "--defenses", "none", "dropout", "--targets", "predictions"]
    contract_table.main([*chosen, "--attacks", "loss", "rmia", "--processes", "1"])
    found = json.loads(capsys.readouterr().out)
    refused = "refuses: dropout is not available for sklearn recipes"
    assert found["backends"]["sklearn_logistic_regression"] == {
        "none": {"training": "runs", "attacks": {"loss": "runs", "rmia": "runs"}},
        "dropout": {"training": refused, "attacks": {"loss": refused, "rmia": refused}},
    }
    assert found["targets"]["predictions"]["loss"] == "runs"
    assert found["targets"]["predictions"]["rmia"].startswith("refuses: needs 2 reference models")


def test_anything_but_a_reason_is_an_error_and_the_exit_code_says_so(capsys, monkeypatch):
    def broken(self, *arguments):
        raise ZeroDivisionError("by\nzero")

    loss = catalog.resolve("attacks", "loss", "test")
    monkeypatch.setattr(loss, "score", broken)
    chosen = ["--models", "sklearn_logistic_regression", "--defenses", "none", "--targets", "predictions"]
    with pytest.raises(SystemExit) as ended:
        contract_table.main([*chosen, "--attacks", "loss", "margin", "--processes", "1"])
    assert ended.value.code == 1
    shown = capsys.readouterr()
    attacks = json.loads(shown.out)["backends"]["sklearn_logistic_regression"]["none"]["attacks"]
    assert attacks == {"loss": "error: ZeroDivisionError: by zero", "margin": "runs"}
    assert "2 combinations failed" in shown.err


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "runs"),
        (NotApplicable("no gradients"), "refuses: no gradients"),
        (UsageError("k=9: too many"), "refuses: k=9: too many"),
        (InfrastructureError("disk full"), "error: disk full"),
        (KeyError("x"), "error: KeyError: 'x'"),
    ],
)
def test_outcomes(error, outcome):
    def work():
        if error is not None:
            raise error

    assert outcome_of(work) == outcome


def test_what_the_matrices_do_not_say_is_listed():
    assert usual(BACKENDS["mlp"]) == {"loss": "runs", "boundary": "runs"}
    assert exceptions(BACKENDS) == {
        ("mlp", "odd", "boundary"): "refuses: one label",
        ("forest", "odd", "loss"): "error: KeyError: 3",
    }
    found, others = matrices(page(BACKENDS, {"table": {"loss": "runs", "boundary": "refuses: no"}}, FACTS))
    assert found["Recipes and defences", "rounded", "forest"] == "no"
    assert found["Recipes and defences", "odd", "mlp"] == "runs"
    assert found["Recipes and attacks", "boundary", "mlp"] == "runs"
    assert found["Released models and attacks", "boundary", "table"] == "no"
    assert others == {"mlp behind odd, boundary": "one label", "forest behind odd, loss": "error: KeyError: 3"}


def test_a_recipe_that_nothing_trains_says_so_for_every_attack():
    refused = {"mlp": {"odd": Combination("refuses: no", {"loss": "refuses: no"})}}
    found, others = matrices(page(refused, {}, FACTS))
    assert found == {("Recipes and defences", "odd", "mlp"): "no", ("Recipes and attacks", "loss", "mlp"): "no"}
    assert others == {}
