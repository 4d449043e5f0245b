import math
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from privassay.harness import observed_batches
from privassay.harness.accounting import gaussian_epsilon
from privassay.harness.claim_check import StatedClaim, check_claim
from privassay.harness.errors import PrivassayError, UsageError
from privassay.harness.observed_batches import observed_from_batches
from privassay.harness.types import DPMechanism, ObservedSampling


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
    from privassay.harness.observed_batches import _log_fixed, _shuffled  # the ratios are no part of the interface

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


REPLAYS = {
    "an epoch replayed": lambda rng: poisson_log(rng, 1000, 0.05, 20) * 50,
    "an epoch replayed in another order": lambda rng: in_new_orders(rng, poisson_log(rng, 1000, 0.05, 20), 50),
    "a batch that comes back": lambda rng: (log := poisson_log(rng, 1000, 0.05, 300)) + log[17:18],
    "batches of one record, replayed": lambda rng: poisson_log(rng, 1000, 0.002, 100) * 3,
    "coins kept half of the time": lambda rng: sticky_log(rng, 1000, 0.05, 300, 0.5),
    "coins kept in a twentieth of cases": lambda rng: sticky_log(rng, 1000, 0.05, 300, 0.05),
    "an epoch replayed by halves": lambda rng: half_replayed_log(rng, 1000, 0.05, 20, 50),
    "shuffled but for one record": lambda rng: glitched(shuffled_log(rng, 1000, 50, 5)),
}


def in_new_orders(rng, log, times):
    return [log[step] for _ in range(times) for step in rng.permutation(len(log))]


def sticky_log(rng, records, rate, steps, share):
    coins = [rng.random(records) < rate]
    for _ in range(steps - 1):
        coins.append(np.where(rng.random(records) < share, coins[-1], rng.random(records) < rate))
    return [np.flatnonzero(one) for one in coins]


def half_replayed_log(rng, records, rate, steps, times):
    """The coins of every second record come from a generator that is seeded anew in each epoch."""
    fixed = rng.random((steps, records)) < rate
    odd = np.arange(records) % 2 == 1
    return [np.flatnonzero(np.where(odd, rng.random(records) < rate, coins)) for _ in range(times) for coins in fixed]


def glitched(log):
    absent = np.setdiff1d(log[0], log[1])[0]
    return [log[0], np.append(log[1], absent), *log[2:]]


@pytest.mark.parametrize("replay", REPLAYS)
def test_batches_that_depend_on_each_other_are_refused(replay):
    rng = np.random.default_rng(11)
    for _ in range(5):
        log = REPLAYS[replay](rng)
        with pytest.raises(PrivassayError, match="these are no Poisson batches, no claim can be made"):
            observed_from_batches(log, 1000, sum(map(len, log)) / len(log) / 1000)


def test_the_cause_of_a_refusal_is_named():
    rng = np.random.default_rng(12)
    with pytest.raises(PrivassayError, match="one batch was used 50 times"):
        observed_from_batches(poisson_log(rng, 1000, 0.05, 20) * 50, 1000, 0.05)
    with pytest.raises(PrivassayError, match=r"batches 20 steps apart share \d+ records, independent ones would share"):
        observed_from_batches(half_replayed_log(rng, 1000, 0.05, 20, 50), 1000, 0.05)


def test_small_batches_of_true_coins_do_come_back():
    rng = np.random.default_rng(13)
    log = poisson_log(rng, 50, 0.02, 2000)
    assert len({batch.tobytes() for batch in log}) < len(log) / 2
    assert observed_from_batches(log, 50, 0.02).sampler == "poisson"


def test_a_long_log_is_watched_in_part():
    rng = np.random.default_rng(14)
    records, steps = 5000, 1000
    assert records * steps > 2 * observed_batches._CELLS
    log = poisson_log(rng, records, 0.01, steps)
    assert observed_from_batches(log, records, 0.01).sampler == "poisson"
    halves = half_replayed_log(rng, records, 0.01, 50, 20)
    with pytest.raises(PrivassayError, match="batches 50 steps apart"):
        observed_from_batches(halves, records, 0.01)


def test_overlaps_are_counted_at_every_lag():
    rng = np.random.default_rng(15)
    log = poisson_log(rng, 40, 0.3, 12)
    member = np.array([[row in batch for batch in log] for row in range(40)], dtype=np.float64)
    naive = [sum(len(np.intersect1d(log[t], log[t + lag])) for t in range(12 - lag)) for lag in range(1, 12)]
    assert observed_batches._at_lags(member).tolist() == naive


@pytest.mark.parametrize(("records", "rate", "steps"), [(20, 0.1, 8), (6, 0.5, 5), (100, 0.05, 30)])
def test_overlaps_raise_a_false_alarm_as_seldom_as_they_say(monkeypatch, records, rate, steps):
    """With four tests at 0.8 together, this one at 0.2; Chernoff's bound and the union over lags leave room."""
    monkeypatch.setattr(observed_batches, "FALSE_ALARM", 0.8)
    rng, logs, refused = np.random.default_rng(16), 2000, 0
    for _ in range(logs):
        try:
            observed_batches._refuse_overlapping(poisson_log(rng, records, rate, steps), records)
        except PrivassayError:
            refused += 1
    assert 0 < refused <= 0.2 * logs


def test_passes_are_counted_where_batches_do_not_divide_the_records():
    """From the log to the verdict: 2,005 records in batches of 64, the last one smaller or dropped."""
    rng = np.random.default_rng(17)
    for log in (shuffled_log(rng, 2005, 64, 5), dropping_log(rng, 2005, 64, 5)):
        done = DPMechanism(2.0, 1.0, observed_from_batches(log, 2005, 64 / 2005), 1e-5)
        exact = gaussian_epsilon(2.0 / math.sqrt(5), 1e-5)
        stated = StatedClaim(
            exact, 1e-5, "shuffled", 64 / 2005, len(log), 2.0, 1.0, "zero_out_one", "gaussian", 2005, 5.0
        )
        assert check_claim(stated, done).holds
        assert check_claim(replace(stated, epochs=None), done).holds
        assert not check_claim(replace(stated, epsilon=0.99 * exact), done).holds


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
        assert [finding.code for finding in check.findings] == ([] if sampler == "poisson" else ["sampler"])
