"""Reference values of other implementations, reproduced to 1e-6 or to the digits that were printed."""

import json
from pathlib import Path

import numpy as np
import pytest
from privassay.harness.audit import (
    dp_advantage_bound,
    dp_tpr_bound,
    epsilon_bayesian,
    epsilon_clopper_pearson,
    epsilon_clopper_pearson_both,
    epsilon_from_mu,
    epsilon_gdp,
    epsilon_one_run,
    epsilon_one_run_fdp,
    gdp_tpr_bound,
    max_provable_epsilon,
    max_provable_epsilon_one_run,
    mu_gdp,
    one_run_p_value,
    rero_bound,
)
from privassay.harness.audit.rates import upper_end
from scipy.integrate import trapezoid
from scipy.stats import norm

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())


def cases(name):
    return pytest.mark.parametrize("case", VECTORS[name])


def close(expected):
    return pytest.approx(expected, abs=1e-6, rel=1e-9)


def counts(case):
    return case["tp"], case["n_in"], case["fp"], case["n_out"]


@cases("clopper_pearson_one_sided")
def test_one_sided_ends(case):
    k, n, alpha = case["k"], case["n"], case["one_sided_alpha"]
    assert upper_end(k, n, alpha) == close(case["upper"])
    assert 1 - upper_end(n - k, n, alpha) == close(case["lower"])


@cases("eps_clopper_pearson")
def test_clopper_pearson(case):
    levels = {"delta": case["delta"], "alpha": case["alpha"]}
    assert float(epsilon_clopper_pearson(*counts(case), **levels)) == close(case["eps_one_sided"])
    assert float(epsilon_clopper_pearson_both(*counts(case), **levels)) == close(case["eps_two_sided"])


@pytest.mark.parametrize(
    ("given", "alpha", "delta", "epsilon"),
    [
        ((500, 500, 0, 500), 0.05, 0, 4.905594),
        ((900, 1000, 600, 1000), 0.05, 1e-5, 0.3330209446),
    ],
)
def test_clopper_pearson_in_one_direction(given, alpha, delta, epsilon):
    assert float(epsilon_clopper_pearson(*given, delta=delta, alpha=alpha)) == pytest.approx(epsilon, abs=2e-6)


def test_the_second_direction_can_be_the_better_one():
    found = epsilon_clopper_pearson_both(900, 1000, 600, 1000, delta=1e-5)
    assert float(found) == pytest.approx(1.1221514, abs=1e-6)


@cases("jagielski2020_group")
def test_copies_divide_epsilon_at_delta_0(case):
    given = case["pois_hits"], case["n_pois"], case["clean_hits"], case["n_clean"]
    assert float(epsilon_clopper_pearson(*given, delta=0, alpha=case["alpha"])) / case["k_pois"] == close(case["eps"])


@cases("gdp_mu_to_eps")
def test_epsilon_from_mu(case):
    assert epsilon_from_mu(case["mu"], case["delta"]) == close(case["eps"])


@cases("nasr2023_gdp_lower_bound")
def test_gdp(case):
    assert mu_gdp(*counts(case), alpha=case["alpha"]) == close(case["mu_lb"])
    found = epsilon_gdp(*counts(case), delta=case["delta"], alpha=case["alpha"])
    assert float(found) == pytest.approx(case["eps_lb"], rel=1e-8)


@cases("steinke2023_p_value")
def test_one_run_p_value(case):
    p = one_run_p_value(case["m"], case["r"], case["v"], case["eps"], case["delta"])
    assert p == pytest.approx(case["p_value"], rel=1e-8)


@cases("steinke2023_eps_lb")
def test_one_run(case):
    found = epsilon_one_run(case["m"], case["r"], case["v"], delta=case["delta"], alpha=case["alpha"])
    assert float(found) == close(case["eps_lb"])


@cases("mahloujifar2024_fdp_one_run")
def test_one_run_fdp(case):
    found = epsilon_one_run_fdp(case["m"], case["c_cap"], case["c"], delta=case["delta"], alpha=case["alpha"])
    assert float(found) == close(case["eps_lb"])
    assert float(found) == pytest.approx(epsilon_from_mu(case["mu_lb"], case["delta"]), abs=1e-6)


@cases("zanella_beguelin2022_joint_beta")
def test_bayesian_to_the_digits_that_were_printed(case):
    tp, tn, fp, fn = (case[name] for name in ("TP", "TN", "FP", "FN"))
    found = epsilon_bayesian(tp, tp + fn, fp, fp + tn, delta=case["delta"], alpha=case["alpha"])
    assert [found.low, found.high] == pytest.approx([case["eps_lo"], case["eps_hi"]], abs=5.1e-5)


@cases("dp_bounds_on_mia")
def test_dp_bounds(case):
    assert dp_tpr_bound(case["fpr"], case["eps"], case["delta"]) == close(case["tpr_max"])
    assert dp_advantage_bound(case["eps"], case["delta"]) == close(case["adv_max"])


@cases("gdp_bounds_on_mia")
def test_gdp_bounds(case):
    assert gdp_tpr_bound(case["fpr"], case["mu"]) == close(case["tpr_max"])
    fpr = np.linspace(0, 1, 200_001)
    tpr = gdp_tpr_bound(fpr, case["mu"])
    assert (tpr - fpr).max() == close(case["adv_max"])
    assert trapezoid(tpr, fpr) == pytest.approx(case["auc_max"], abs=1e-5)


@cases("hayes2023_rero_bound")
def test_rero_bound(case):
    assert rero_bound(case["kappa"], case["sigma"], case["T"], case["q"]) == close(case["gamma"])


@cases("max_provable_eps_perfect_attack")
def test_ceilings_of_many_runs(case):
    n_in, n_out = case["n_in"], case["n_out"]
    levels = {"delta": case["delta"], "alpha": case["alpha"]}
    assert max_provable_epsilon(n_in, n_out, **levels) == pytest.approx(case["max_eps_cp"], abs=5.1e-6)
    assert mu_gdp(n_in, n_in, 0, n_out) == pytest.approx(case["max_mu_gdp"], abs=5.1e-6)
    assert float(epsilon_gdp(n_in, n_in, 0, n_out, **levels)) == pytest.approx(case["max_eps_gdp"], abs=5.1e-5)


@cases("one_run_max_eps")
def test_ceiling_of_one_run(case):
    assert max_provable_epsilon_one_run(case["m"], delta=1e-5, alpha=0.05) == pytest.approx(case["eps_lb"], abs=5.1e-6)


# jax_privacy shares alpha among the corners of the ROC curve's upper hull, which the data choose, and guesses "in"
# only. `Bonferroni` does neither, so its bounds differ. Its rule on our formulas must give its published numbers.


def hull(ins, outs):
    """Corners (scores below) of the hull of (in, out) counts: no corner lies on or above a chord of two others."""
    thresholds = np.append(np.union1d(ins, outs), np.inf)
    fn, tn = np.searchsorted(np.sort(ins), thresholds), np.searchsorted(np.sort(outs), thresholds)
    corners = []
    for x, y in zip(fn.tolist(), tn.tolist(), strict=True):
        while len(corners) > 1:
            (x0, y0), (x1, y1) = corners[-2:]
            if (y1 - y0) * (x - x1) > (y - y1) * (x1 - x0):
                break
            corners.pop()
        corners.append((x, y))
    return corners


def quantile_scores(n, shift):
    outs = norm.ppf((np.arange(n) + 0.5) / n)
    return outs + shift, outs


def over_the_hull(ins, outs, bound):
    corners = hull(ins, outs)
    n_in, n_out = len(ins), len(outs)
    return max(bound(n_in - fn, n_out - tn, len(corners)) for fn, tn in corners)


def guessed_in(m, method, delta, alpha):
    return lambda tp, fp, share: float(method(m, tp + fp, tp, delta=delta, alpha=alpha / share))


@cases("jax_privacy_end_to_end")
def test_the_rule_of_jax_privacy_on_rates(case):
    n, delta, alpha = case["n_in"], case["delta"], case["alpha"]
    ins, outs = quantile_scores(n, case["mu"])

    def clopper_pearson(tp, fp, share):
        return float(epsilon_clopper_pearson(tp, n, fp, n, delta=delta, alpha=alpha / share))

    def gdp(tp, fp, share):
        return float(epsilon_gdp(tp, n, fp, n, delta=delta, alpha=alpha / share))

    assert over_the_hull(ins, outs, clopper_pearson) == pytest.approx(case["eps_clopper_pearson_bonferroni"], abs=1e-6)
    assert over_the_hull(ins, outs, gdp) == pytest.approx(case["eps_gdp_bonferroni"], abs=1e-5)


@pytest.mark.parametrize("case", VECTORS["jax_privacy_end_to_end"][:2])
def test_the_rule_of_jax_privacy_on_one_run(case):
    ins, outs = quantile_scores(case["n_in"], case["mu"])
    m, delta, alpha = 2 * len(ins), case["delta"], case["alpha"]
    one_run = guessed_in(m, epsilon_one_run, delta, alpha)
    fdp = guessed_in(m, epsilon_one_run_fdp, delta, alpha)
    assert over_the_hull(ins, outs, one_run) == pytest.approx(case["eps_one_run_bonferroni"], abs=1e-5)
    assert over_the_hull(ins, outs, fdp) == pytest.approx(case["eps_one_run_fdp_bonferroni"], abs=1e-5)


@pytest.mark.slow
@cases("jax_privacy_published_test_values")
def test_the_values_that_jax_privacy_publishes(case):
    ins, outs = quantile_scores(10_000, case["shift"])
    for method, name in ((epsilon_one_run, "one_run"), (epsilon_one_run_fdp, "one_run_fdp")):
        assert over_the_hull(ins, outs, guessed_in(20_000, method, 1e-6, 0.05)) == pytest.approx(case[name], abs=1e-5)
