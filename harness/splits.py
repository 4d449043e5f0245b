"""Paired random halves: who trains on what."""

from __future__ import annotations

import numpy as np

from .errors import UsageError
from .seeds import generator
from .types import Dataset, Split

LEAST_RECORDS_A_HALF = 20


def paired_halves(dataset: Dataset, models: int, pool: int, seed: int) -> Split:
    """Draw a pool of audit records and `models` membership masks in complementary pairs.

    Model 2i trains on a random half of the pool, model 2i + 1 on the other half. The rest of the data set becomes
    auxiliary: never a member, the attacker's sample of the population. Growing `models` leaves the masks of the
    first models as they were.

    Args:
        dataset: the records.
        models: even, at least 2.
        pool: number of audit records, even.
        seed: root seed.

    Raises:
        UsageError: the data set is too small for the split.
    """
    if models % 2 or models < 2:
        raise UsageError(f"pool.models={models}: must be an even number, at least 2 (models are paired)")
    if pool % 2 or pool < 2 * LEAST_RECORDS_A_HALF:
        raise UsageError(f"pool.records={pool}: must be an even number, at least {2 * LEAST_RECORDS_A_HALF}")
    least = pool + dataset.n_classes
    if len(dataset) < least:
        raise UsageError(
            f"data {dataset.name}: {len(dataset)} records, fewer than the {least} that the split needs "
            f"(pool.records={pool} and as many auxiliary records as there are classes)"
        )
    order = generator(seed, "split", dataset.name).permutation(len(dataset)).astype(np.int64)
    member = np.zeros((models, pool), dtype=np.bool_)
    for pair in range(models // 2):
        half = generator(seed, "split", dataset.name, pair).permutation(pool)[: pool // 2]
        member[2 * pair, half] = True
        member[2 * pair + 1] = ~member[2 * pair]
    return Split(np.sort(order[:pool]), np.sort(order[pool:]), member)
