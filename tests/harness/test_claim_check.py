import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.claim_check import (
    SLACK,
    StatedClaim,
    check_claim,
    observed_from_batches,
)
from privassay.harness.errors import PrivassayError, UsageError
from privassay.harness.types import DPMechanism, ObservedSampling

# sigma 0.6, one pass of 1,000 batches, delta 1e-5: 1.42526 under Poisson sampling, at least 7.98766 when shuffled,
# 8.00369 without amplification (vector shuffle_vs_poisson_one_epoch, dp-accounting 0.6.0). Renyi accounting, which is
# quick, gives 2.54534 under Poisson sampling.
RECORDS = 50_000
POISSON = ObservedSampling("poisson", 1e-3, 1000, 1.0)
SHUFFLED = ObservedSampling("shuffled", 1e-3, 1000, 1.0)
FIXED = ObservedSampling("fixed_size", 1e-3, 1000, 1.0)
STATED = StatedClaim(2.54535, 1e-5, "poisson", 1e-3, 1000, 0.6, 1.0, "add_or_remove_one", "rdp", RECORDS)
STATED_PLD = replace(STATED, epsilon=1.42527, accountant="pld")
STATED_SHUFFLED = replace(
    STATED, epsilon=8.0037, sampler="shuffled", neighbouring="zero_out_one", accountant="gaussian"
)
DONE = DPMechanism(0.6, 1.0, POISSON, 1e-5)


def codes(check):
    return [finding.code for finding in check.findings]


@pytest.mark.parametrize(
    ("stated", "sampling"),
    [
        (STATED, POISSON),
        (STATED_PLD, POISSON),
        (replace(STATED, neighbouring="zero_out_one"), POISSON),
        (STATED_SHUFFLED, SHUFFLED),
        (replace(STATED_SHUFFLED, epsilon=1800.0, sampler="fixed_size"), FIXED),
        (
            replace(STATED, epsilon=8.0037, sampler="shuffled", sample_rate=1.0, steps=1, neighbouring="zero_out_one"),
            None,
        ),
    ],
    ids=["poisson", "poisson-pld", "poisson-zero-out", "shuffled", "fixed-size", "full-batch"],
)
def test_a_true_claim_holds(stated, sampling):
    full = ObservedSampling("poisson", 1.0, 1, 1.0)
    check = check_claim(stated, replace(DONE, sampling=sampling or full))
    assert check.findings == ()
    assert check.holds
    assert check.honest.epsilon <= stated.epsilon * (1 + SLACK)


def test_a_modest_claim_holds():
    modest = replace(STATED, epsilon=3.0)
    fewer = replace(POISSON, steps=900, sample_rate=9e-4)
    done = DPMechanism(0.7, 0.5, fewer, 1e-6)
    check = check_claim(modest, done)
    assert check.holds
    assert check.honest == dp_sgd_claim(replace(done, delta=1e-5), "rdp")


def test_a_shuffled_loader_that_claims_poisson_amplification():
    check = check_claim(STATED_PLD, replace(DONE, sampling=SHUFFLED))
    assert not check.holds
    assert codes(check) == ["sampler"]
    text = check.findings[0].text
    for words in ("1.42527", "Poisson batches", "shuffled batches", "8.00369", "below 7.98766"):
        assert words in text
    assert check.honest.epsilon == pytest.approx(8.00369, abs=5e-6)
    assert (check.honest.sampler, check.honest.neighbouring) == ("shuffled", "zero_out_one")


def test_the_shuffle_bound_is_for_one_pass_only():
    two = replace(STATED, steps=2000, epsilon=3.5)
    check = check_claim(two, replace(DONE, sampling=ObservedSampling("shuffled", 1e-3, 2000, 2.0)))
    assert codes(check) == ["sampler"]
    assert "below" not in check.findings[0].text


def test_batches_of_fixed_size_claimed_as_poisson():
    check = check_claim(STATED, replace(DONE, sampling=FIXED))
    assert codes(check) == ["sampler"]
    assert "batches of fixed size" in check.findings[0].text
    assert check.honest.epsilon > 1000  # 1,000 participations


def test_poisson_batches_claimed_as_shuffled_follow_from_nothing_that_was_done():
    assert codes(check_claim(STATED_SHUFFLED, DONE)) == ["sampler"]


@pytest.mark.parametrize(
    ("done", "code", "figures"),
    [
        (replace(DONE, sampling=replace(POISSON, steps=2000)), "steps", ("1000 steps", "took 2000")),
        (replace(DONE, sampling=replace(POISSON, sample_rate=2e-3)), "rate", ("0.001", "0.002")),
        (replace(DONE, noise_multiplier=0.3), "noise", ("0.6", "0.3")),
        (replace(DONE, max_grad_norm=2.0), "clipping", ("norm 1", "clipped at 2")),
        (replace(DONE, delta=1e-3), "delta", ("delta 0.001", "delta 1e-05")),
    ],
)
def test_what_flatters_is_found_and_named(done, code, figures):
    check = check_claim(STATED, done)
    assert codes(check) == [code]
    for figure in figures:
        assert figure in check.findings[0].text
    assert check.honest == dp_sgd_claim(replace(done, delta=1e-5), "rdp")


def test_shuffled_batches_count_in_passes():
    more = replace(SHUFFLED, epochs=1.5)
    check = check_claim(STATED_SHUFFLED, replace(DONE, sampling=more))
    assert codes(check) == ["steps"]
    assert "used 1 times, training used it up to 2" in check.findings[0].text
    smaller_batches = replace(SHUFFLED, steps=2000, sample_rate=5e-4)
    assert check_claim(STATED_SHUFFLED, replace(DONE, sampling=smaller_batches)).holds


@pytest.mark.parametrize(
    ("done", "code", "words"),
    [
        (replace(DONE, noise_multiplier=0.0), "noise", "none, so that no claim can be made"),
        (replace(DONE, noise_multiplier=1e-7), "noise", "1e-07"),
        (replace(DONE, max_grad_norm=math.inf), "clipping", "did not clip, so that no claim can be made"),
    ],
)
def test_where_nothing_protects_no_honest_claim_is_offered(done, code, words):
    check = check_claim(STATED_PLD, done)
    assert check.honest is None
    assert codes(check) == [code]
    assert words in check.findings[0].text
    both = check_claim(STATED_PLD, replace(done, sampling=SHUFFLED))
    assert codes(both) == ["sampler", code]


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        (
            {"epsilon": 2.5},
            "arithmetic",
            "Epsilon 2.5 is stated, for the stated parameters the accountant (rdp) gives 2.545",
        ),
        ({"noise_multiplier": 0.0}, "arithmetic", "gives none"),
        ({"records": 1000, "delta": 1e-3}, "delta", "Delta 0.001 is not below 1/records = 0.001"),
    ],
)
def test_a_claim_that_contradicts_itself(changes, code, words):
    stated = replace(STATED, **changes)
    check = check_claim(stated, replace(stated.mechanism))
    assert codes(check) == [code]
    assert words in check.findings[0].text


def test_adding_or_removing_a_record_changes_shuffled_batches():
    stated = replace(STATED_SHUFFLED, neighbouring="add_or_remove_one")
    assert codes(check_claim(stated, stated.mechanism)) == ["neighbouring"]


def test_rounding_is_no_lie():
    exact = dp_sgd_claim(DONE, "rdp").epsilon
    assert check_claim(replace(STATED, epsilon=exact / (1 + 0.9 * SLACK)), DONE).holds
    assert codes(check_claim(replace(STATED, epsilon=exact / (1 + 1.1 * SLACK)), DONE)) == ["arithmetic"]


def test_every_cause_is_named_at_once():
    worst = DPMechanism(0.3, 2.0, ObservedSampling("shuffled", 1e-3, 2000, 2.0), 1e-3)
    check = check_claim(replace(STATED, epsilon=0.1, records=1000, delta=1e-3), replace(worst, delta=1e-2))
    assert codes(check) == ["sampler", "steps", "noise", "clipping", "delta", "delta", "arithmetic"]


def test_the_honest_claim_is_made_by_the_accountant_that_was_named():
    assert check_claim(STATED, DONE).honest.accountant == "rdp"
    assert check_claim(STATED_PLD, DONE).honest.accountant == "pld"
    assert check_claim(STATED_SHUFFLED, DONE).honest.accountant == "pld"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epsilon": -1.0}, "epsilon=-1.0"),
        ({"epsilon": math.inf}, "epsilon=inf"),
        ({"delta": 0.0}, "delta=0.0"),
        ({"records": 0}, "records=0"),
        ({"steps": 0}, "steps=0"),
        ({"accountant": "gaussian"}, "accountant='gaussian'"),
    ],
)
def test_a_statement_out_of_range_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        check_claim(replace(STATED, **changes), DONE)


def poisson_log(rng, records, rate, steps):
    return [np.flatnonzero(rng.random(records) < rate) for _ in range(steps)]


def fixed_log(rng, records, size, steps):
    return [rng.permutation(records)[:size] for _ in range(steps)]


def shuffled_log(rng, records, size, epochs):
    orders = [rng.permutation(records) for _ in range(epochs)]
    return [order[start : start + size] for order in orders for start in range(0, records, size)]


def dropping_log(rng, records, size, epochs):
    return [batch for batch in shuffled_log(rng, records, size, epochs) if len(batch) == size]


def split_log(rng, records, size, epochs):
    return [batch for _ in range(epochs) for batch in np.array_split(rng.permutation(records), records // size)]


def bins_log(rng, records, size, epochs):
    """Every record to a batch of its own choice in each pass: sizes as uneven as Poisson ones."""
    bins = records // size
    picks = [rng.integers(0, bins, records) for _ in range(epochs)]
    return [np.flatnonzero(pick == one) for pick in picks for one in range(bins)]


@pytest.mark.parametrize(("records", "rate", "steps"), [(200, 0.1, 30), (100, 0.6, 25), (1000, 0.003, 60)])
def test_poisson_batches_are_never_called_otherwise(records, rate, steps):
    rng = np.random.default_rng(5)
    for _ in range(700):
        found = observed_from_batches(poisson_log(rng, records, rate, steps), records, rate)
        assert found == ObservedSampling("poisson", rate, steps, steps * rate)


@pytest.mark.parametrize("log", [shuffled_log, dropping_log, split_log, bins_log])
@pytest.mark.parametrize(("records", "size", "epochs"), [(100, 7, 2), (203, 20, 3), (60, 3, 1)])
def test_shuffled_batches_are_always_recognised(log, records, size, epochs):
    rng = np.random.default_rng(6)
    for _ in range(100):
        batches = log(rng, records, size, epochs)
        found = observed_from_batches(batches, records, size / records)
        assert (found.sampler, found.steps, found.epochs) == ("shuffled", len(batches), epochs)


def test_a_pass_that_was_broken_off_counts():
    rng = np.random.default_rng(7)
    assert observed_from_batches(shuffled_log(rng, 200, 20, 2)[:15], 200, 0.1).epochs == 2
    assert observed_from_batches(shuffled_log(rng, 200, 20, 1)[:9], 200, 0.1).sampler == "shuffled"


@pytest.mark.parametrize(("records", "size", "steps"), [(200, 20, 25), (1000, 1, 60), (60, 40, 20)])
def test_batches_of_fixed_size_are_always_recognised(records, size, steps):
    rng = np.random.default_rng(8)
    for _ in range(300):
        found = observed_from_batches(fixed_log(rng, records, size, steps), records, size / records)
        assert (found.sampler, found.steps) == ("fixed_size", steps)


def test_both_tests_together_raise_a_false_alarm_as_seldom_as_they_say():
    """Over every log of 3 records and 2 batches, the ratios average at most 1 under Poisson sampling (Markov)."""
    from privassay.harness.claim_check import _log_fixed, _shuffled  # the ratios are no part of the interface

    subsets = [np.flatnonzero(coins) for coins in product((0, 1), repeat=3)]
    for rate in (0.05, 0.3, 0.5, 0.8):
        shuffled = fixed = 0.0
        for log in product(subsets, repeat=2):
            sizes = np.array([len(batch) for batch in log])
            chance = rate ** sizes.sum() * (1 - rate) ** (6 - sizes.sum())
            shuffled += chance * math.exp(_shuffled(log, sizes, 3)[1])
            fixed += chance * math.exp(_log_fixed(sizes, 3))
        assert 0.1 < shuffled <= 1 + 1e-12
        assert 0.1 < fixed <= 1 + 1e-12


@pytest.mark.parametrize(
    ("batches", "records"),
    [([[0, 1]], 10), ([[0, 1], [2, 3]], 10), ([[0], [1, 2]], 5), ([[], []], 10), ([[0, 1], [1, 2]], 10)],
)
def test_a_log_too_short_to_tell_is_not_called_anything(batches, records):
    log = [np.array(batch, dtype=np.int64) for batch in batches]
    with pytest.raises(PrivassayError, match="too few to tell"):
        observed_from_batches(log, records, 0.2)


def test_full_batches_are_one_sampler_whatever_they_are_called():
    log = [np.arange(10)] * 4
    assert observed_from_batches(log, 10, 1.0) == ObservedSampling("poisson", 1.0, 4, 4.0)
    assert observed_from_batches(log, 10, 0.5).sample_rate == 1.0


def test_a_rate_that_the_batches_do_not_show_is_replaced_by_one_that_is_not_too_small():
    rng = np.random.default_rng(9)
    batches = poisson_log(rng, 500, 0.2, 100)
    assert observed_from_batches(batches, 500, 0.201).sample_rate == 0.201
    for planned in (0.1, 0.3):
        found = observed_from_batches(batches, 500, planned)
        assert 0.2 < found.sample_rate < 0.22
        assert found.epochs == pytest.approx(100 * found.sample_rate)


def test_a_bad_log_is_refused():
    with pytest.raises(PrivassayError, match="batch 1 has a record twice"):
        observed_from_batches([np.array([0, 1]), np.array([2, 2])], 10, 0.2)
    for log, rate, message in [
        ([], 0.2, "batches"),
        ([np.array([10])], 0.2, "rows 0 to 9"),
        ([np.array([-1])], 0.2, "rows 0 to 9"),
        ([np.array([1])], 0.0, "sample_rate=0.0"),
    ]:
        with pytest.raises(UsageError, match=message):
            observed_from_batches(log, 10, rate)


def test_from_a_log_to_the_verdict():
    rng = np.random.default_rng(10)
    stated = StatedClaim(3.0, 1e-4, "poisson", 0.05, 60, 1.5, 1.0, "add_or_remove_one", "pld", 400)
    logs = {
        "poisson": poisson_log(rng, 400, 0.05, 60),
        "shuffled": shuffled_log(rng, 400, 20, 3),
        "fixed_size": fixed_log(rng, 400, 20, 60),
    }
    for sampler, log in logs.items():
        check = check_claim(stated, DPMechanism(1.5, 1.0, observed_from_batches(log, 400, 0.05), 1e-4))
        assert codes(check) == ([] if sampler == "poisson" else ["sampler"])
