"""`suite: auto`: which attacks a number of references is worth, and how an experiment asks for them."""

import pytest
from privassay.harness import catalog, config, plan
from privassay.harness.errors import UsageError
from privassay.harness.suite import FEW, HUNDREDS, MANY, TWO, suite_for
from privassay.tests.support import experiments


@pytest.mark.parametrize("references", [0, TWO, FEW, 14, MANY, 62, HUNDREDS, 254])
def test_every_suite_is_made_of_attacks_that_can_run_with_so_many_references(references):
    suite = suite_for(references)
    for name, section in suite.attacks.items():
        component = section.get("component", name)
        parameters = {k: v for k, v in section.items() if k != "component"}
        attack = catalog.build("attacks", component, parameters, "test")
        assert attack.family == "membership"
        assert not attack.threat_model.knows_members
        assert attack.threat_model.reference_models <= references
    assert f"{references} reference models" in suite.reason


def test_suites_grow_with_the_references():
    two, few, many, hundreds = (set(suite_for(n).attacks) for n in (TWO, FEW, MANY, HUNDREDS))
    assert two < few < many < hundreds
    assert two == {"loss", "modified_entropy", "difficulty_calibration", "rmia"}
    assert set(suite_for(0).attacks) == {"loss", "margin", "art_rule_based", "quantile_regression"}
    assert "stacked" in few
    assert "stacked" not in suite_for(FEW - 1).attacks
    assert "attack_r" in hundreds - many


def load(tmp_path, **changes):
    return config.load(experiments.write(tmp_path, **changes))


def test_the_experiments_own_sections_win_and_the_rest_is_added(tmp_path):
    found = load(tmp_path, suite="auto", attacks={"lira": {"online": False}, "mine": {"component": "loss"}})
    assert found.references == 4
    assert found.all_attacks()["lira"] == {"online": False}
    assert set(found.all_attacks()) == {*suite_for(4).attacks, "mine"}
    assert found.primary_attack() == "stacked"


def test_a_suite_alone_is_enough_and_nothing_at_all_is_not(tmp_path):
    assert load(tmp_path, suite="auto", attacks=None).all_attacks()
    with pytest.raises(UsageError, match="set suite: auto"):
        load(tmp_path, attacks=None)


def test_primary_is_a_membership_attack_of_the_experiment(tmp_path):
    assert load(tmp_path).primary_attack() is None
    assert load(tmp_path, primary="loss").primary_attack() == "loss"
    with pytest.raises(UsageError, match=r"primary: 'rmia' is not an attack \(loss, lira"):
        load(tmp_path, primary="rmia")
    with pytest.raises(UsageError, match="'art_miface' is no membership attack"):
        plan.make(experiments.write(tmp_path, primary="art_miface"))


def test_the_default_primary_is_known_by_its_component(tmp_path):
    assert load(tmp_path, attacks={"loss": {}, "mine": {"component": "stacked"}}).primary_attack() == "mine"
    assert load(tmp_path, attacks={"stacked": {"component": "loss"}}).primary_attack() is None
    assert load(tmp_path, suite="auto", attacks={"stacked": {"component": "loss"}}).primary_attack() is None


def test_an_inversion_attack_called_stacked_is_no_primary(tmp_path):
    assert plan.make(experiments.write(tmp_path, attacks__stacked={"component": "art_miface"})).config.primary is None


def test_a_suite_for_two_references_can_be_run(tmp_path):
    made = plan.make(experiments.write(tmp_path, suite="auto", attacks=None, pool__models=4))
    assert [named.id for named in made.attacks] == list(suite_for(2).attacks)
    assert made.config.primary_attack() is None
