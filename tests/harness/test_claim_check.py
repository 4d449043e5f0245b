import math
import sys
from dataclasses import replace

import pytest
from privassay.harness.accounting import dp_sgd_claim, gaussian_epsilon
from privassay.harness.claim_check import (
    SLACK,
    StatedClaim,
    check_claim,
)
from privassay.harness.errors import UsageError
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
            {"epsilon": 1.4, "accountant": "pld"},
            "arithmetic",
            "Epsilon 1.4 is stated, for the stated parameters the accountant (pld) gives 1.42526",
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
    exact = dp_sgd_claim(DONE).epsilon
    for stated in (STATED, STATED_PLD):
        assert check_claim(replace(stated, epsilon=exact / (1 + 0.9 * SLACK)), DONE).holds
        assert codes(check_claim(replace(stated, epsilon=exact / (1 + 1.1 * SLACK)), DONE)) == ["arithmetic"]


def test_the_orders_of_a_renyi_accountant_are_the_owners_choice():
    """Orders closer than ours prove 0.26687 (quadrature over dense orders), ours 0.26819, the PLD 0.2455."""
    done = DPMechanism(10.0, 1.0, ObservedSampling("poisson", 0.02, 1000, 20.0), 1e-6)
    stated = StatedClaim(0.26687, 1e-6, "poisson", 0.02, 1000, 10.0, 1.0, "add_or_remove_one", "rdp", 5000)
    assert dp_sgd_claim(done, "rdp").epsilon > stated.epsilon * (1 + SLACK)
    assert check_claim(stated, done).holds
    assert check_claim(replace(stated, epsilon=0.2456), done).holds
    check = check_claim(replace(stated, epsilon=0.245), done)
    assert codes(check) == ["arithmetic"]
    assert "the accountant (pld) gives 0.245455" in check.findings[0].text


UNEVEN = StatedClaim(1.0, 1e-5, "shuffled", 64 / 2005, 32, 2.0, 1.0, "zero_out_one", "gaussian", 2005)


@pytest.mark.parametrize("stated_epochs", [None, "true"])
@pytest.mark.parametrize("epochs", [1, 5, 30, 100])
def test_passes_whose_last_batch_is_smaller(epochs, stated_epochs):
    """2,005 records in batches of 64: 32 batches a pass, and 32 x 64 / 2005 is more than one."""
    steps = 32 * epochs
    done = DPMechanism(2.0, 1.0, ObservedSampling("shuffled", 1 / 32, steps, float(epochs)), 1e-5)
    exact = gaussian_epsilon(2.0 / math.sqrt(epochs), 1e-5)
    stated = replace(UNEVEN, epsilon=exact, steps=steps, epochs=stated_epochs and float(epochs))
    assert check_claim(stated, done).findings == ()
    assert codes(check_claim(replace(stated, epsilon=exact * (1 - 2 * SLACK)), done)) == ["arithmetic"]
    assert codes(check_claim(stated, replace(done, sampling=replace(done.sampling, epochs=epochs + 1.0)))) == ["steps"]


def test_passes_whose_last_batch_is_dropped():
    """31 batches a pass: 3,100 steps are 100 passes, which the claim may leave to be told from its steps."""
    done = DPMechanism(2.0, 1.0, ObservedSampling("shuffled", 64 / 2005, 3100, 100.0), 1e-5)
    exact, fewer = (gaussian_epsilon(2.0 / math.sqrt(passes), 1e-5) for passes in (100, 97))
    for epochs in (None, 100.0):
        assert check_claim(replace(UNEVEN, epsilon=exact, steps=3100, epochs=epochs), done).findings == ()
    check = check_claim(replace(UNEVEN, epsilon=fewer, steps=3100), done)
    assert codes(check) == ["steps"]
    assert "used 97 times, training used it up to 100" in check.findings[0].text
    assert codes(check_claim(replace(UNEVEN, epsilon=fewer, steps=3100, epochs=100.0), done)) == ["arithmetic"]


@pytest.mark.parametrize(
    "sampling",
    [replace(POISSON, steps=1100), replace(POISSON, sample_rate=1.1e-3)],
    ids=["steps", "rate"],
)
def test_an_epsilon_that_covers_what_was_done_holds_whatever_it_was_computed_for(sampling):
    done = replace(DONE, sampling=sampling)
    covering = dp_sgd_claim(done).epsilon
    assert check_claim(replace(STATED_PLD, epsilon=covering), done).holds
    assert len(codes(check_claim(replace(STATED_PLD, epsilon=covering * (1 - 2 * SLACK)), done))) == 1
    # The stated parameters would give more than is stated, what was done gives less.
    assert check_claim(replace(STATED_PLD, steps=1200), DONE).holds


def test_no_claim_never_holds():
    """Noise between the least that has a finite epsilon and a trifle below: no stated figure differs."""
    least = 1 / math.sqrt(sys.float_info.max)
    stated = replace(STATED_SHUFFLED, epsilon=1.7e308, noise_multiplier=least * (1 + 1e-10))
    check = check_claim(stated, replace(stated.mechanism, noise_multiplier=least * (1 - 1e-10)))
    assert check.honest is None
    assert codes(check) == ["noise"]
    assert check_claim(stated, stated.mechanism).holds


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"noise_multiplier": math.nan}, "noise_multiplier=nan"),
        ({"noise_multiplier": math.inf}, "noise_multiplier=inf"),
        ({"noise_multiplier": -1.0}, r"noise_multiplier=-1\.0"),
        ({"delta": math.nan}, "delta=nan"),
        ({"delta": 0.0}, r"delta=0\.0"),
        ({"delta": 1.0}, r"delta=1\.0"),
        ({"max_grad_norm": math.nan}, "max_grad_norm=nan"),
        ({"sampling": replace(SHUFFLED, epochs=math.nan)}, "epochs=nan"),
        ({"sampling": replace(POISSON, sample_rate=math.nan)}, "sample_rate=nan"),
    ],
)
def test_an_observation_out_of_range_is_refused(changes, message):
    for noise in (0.6, 0.0):
        with pytest.raises(UsageError, match=message):
            check_claim(STATED_PLD, replace(DONE, **{"noise_multiplier": noise, **changes}))


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
        ({"noise_multiplier": math.nan}, "noise_multiplier=nan"),
        ({"max_grad_norm": math.nan}, "max_grad_norm=nan"),
        ({"sampler": "shuffled", "sample_rate": 0.0}, r"sample_rate=0\.0"),
        ({"sampler": "shuffled", "sample_rate": math.nan}, "sample_rate=nan"),
        ({"sampler": "shuffled", "epochs": math.nan}, "epochs=nan"),
        ({"accountant": "gaussian"}, "accountant='gaussian'"),
    ],
)
def test_a_statement_out_of_range_is_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        check_claim(replace(STATED, **changes), DONE)
