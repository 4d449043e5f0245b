"""Who trains on what."""

import numpy as np
import pytest
from privassay.harness.errors import UsageError
from privassay.harness.splits import paired_halves
from privassay.harness.types import Dataset


def dataset(n=300):
    rng = np.random.default_rng(0)
    return Dataset("toy", rng.random((n, 4), dtype=np.float32), np.arange(n) % 3, 3, (0.0, 1.0), True, "none")


def test_each_record_is_in_exactly_half_of_the_models():
    split = paired_halves(dataset(), models=6, pool=200, seed=1)
    assert (split.member.sum(axis=0) == 3).all()
    assert (split.member.sum(axis=1) == 100).all()
    assert np.array_equal(split.member[0], ~split.member[1])


def test_auxiliary_is_disjoint_and_nothing_is_lost():
    split = paired_halves(dataset(), models=2, pool=200, seed=1)
    assert np.array_equal(np.sort(np.concatenate([split.pool, split.auxiliary])), np.arange(300))


def test_references_leave_out_target_and_complement():
    split = paired_halves(dataset(), models=6, pool=200, seed=1)
    assert split.references(2).tolist() == [0, 1, 4, 5]
    assert split.references(3).tolist() == [0, 1, 4, 5]
    assert (split.member[split.references(2)].sum(axis=0) == 2).all()


def test_growing_keeps_the_first_models():
    small, large = (paired_halves(dataset(), models=m, pool=200, seed=1) for m in (4, 10))
    assert np.array_equal(small.member, large.member[:4])


def test_seed_changes_masks():
    one, two = (paired_halves(dataset(), models=2, pool=200, seed=s) for s in (1, 2))
    assert not np.array_equal(one.member, two.member)
    assert one.sha256 != two.sha256


@pytest.mark.parametrize(
    ("models", "pool", "message"),
    [(3, 200, "pool.models=3"), (0, 200, "pool.models=0"), (4, 201, "pool.records=201"), (4, 10, "pool.records=10")],
)
def test_refused(models, pool, message):
    with pytest.raises(UsageError, match=message):
        paired_halves(dataset(), models=models, pool=pool, seed=0)


def test_too_few_records():
    with pytest.raises(UsageError, match="300 records, fewer than the 303 that the split needs"):
        paired_halves(dataset(), models=4, pool=300, seed=0)
