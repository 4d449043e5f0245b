"""Who trains on what: paired random halves, and the membership of a model that somebody else trained."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from .errors import UsageError
from .seeds import generator
from .types import Bools, Dataset, Ints, Split

LEAST_RECORDS_A_HALF = 20
_POPULATION_SHARE = 0.2
"""Of the non-members of a released model, where the data name no records that are never asked about."""


def paired_halves(dataset: Dataset, models: int, pool: int, seed: int) -> Split:
    """Draw a pool of audit records and `models` membership masks in complementary pairs.

    Model 2i trains on a random half of the pool, model 2i + 1 on the other half. The rest of the data set becomes
    auxiliary: never a member, the attacker's sample of the population. Growing `models` leaves the masks of the
    first models as they were.

    Where the data tell users apart, users are drawn instead of records, and each is with all records in one half, or
    in none: the pool has then `pool` records at most, and halves differ a little in size.

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
    least = pool + (dataset.n_classes if dataset.grid is None else 1)
    if len(dataset) < least:
        raise UsageError(
            f"data {dataset.name}: {len(dataset)} records, fewer than the {least} that the split needs "
            f"(pool.records={pool} and as many auxiliary records as there are classes)"
        )
    chosen = _drawn(dataset, pool, seed)
    audited = np.flatnonzero(chosen)
    return Split(audited, np.flatnonzero(~chosen), _halves(dataset, audited, models, seed))


def _drawn(dataset: Dataset, pool: int, seed: int) -> Bools:
    """Which records are in the pool: bool (n,)."""
    rng = generator(seed, "split", dataset.name)
    chosen = np.zeros(len(dataset), dtype=np.bool_)
    if dataset.units is None:
        chosen[rng.permutation(len(dataset))[:pool]] = True
        return chosen
    users, user_of, counts = np.unique(dataset.units, return_inverse=True, return_counts=True)
    order = rng.permutation(len(users))
    taken = order[np.cumsum(counts[order]) <= pool]
    if len(taken) < 2 * LEAST_RECORDS_A_HALF:
        raise UsageError(
            f"data {dataset.name}: pool.records={pool} hold {len(taken)} whole users; must be at least "
            f"{2 * LEAST_RECORDS_A_HALF}"
        )
    return np.isin(user_of, taken)


def _halves(dataset: Dataset, audited: Ints, models: int, seed: int) -> Bools:
    """Masks in complementary pairs over the audit records: bool (models, n)."""
    units = np.arange(len(audited)) if dataset.units is None else dataset.units[audited]
    users, user_of = np.unique(units, return_inverse=True)
    member = np.zeros((models, len(audited)), dtype=np.bool_)
    for pair in range(models // 2):
        half = np.zeros(len(users), dtype=np.bool_)
        half[generator(seed, "split", dataset.name, pair).permutation(len(users))[: len(users) // 2]] = True
        member[2 * pair] = half[user_of]
        member[2 * pair + 1] = ~member[2 * pair]
    return member


def released_split(dataset: Dataset, references: int, pool: int | None, seed: int) -> tuple[Ints, Split]:
    """Records that a released model is asked about, and who trained on them.

    Model 0 of the split is the released one, the others are `references` paired halves of the same audit records. The
    auxiliary records are those whose membership the data leave open; where there are none, a fifth of the non-members.

    Args:
        dataset: the records, with `released_member`.
        references: even, at least 0.
        pool: number of audit records, half of them members; None for all there are. Users are taken whole, so with
            them there are so many at most.
        seed: root seed.

    Returns:
        Rows of the data set that somebody is asked about, and the split of the data set that has these rows only.

    Raises:
        UsageError: membership is missing, or there are too few members or non-members.
    """
    where = f"data {dataset.name}"
    if dataset.released_member is None:
        raise UsageError(f"{where}: no column says who was a member of the released model: name it as `member`")
    if references % 2:
        raise UsageError(f"pool.models={references}: must be an even number (reference models are paired)")
    rng = generator(seed, "split", dataset.name)
    users, user_of, counts = np.unique(_units(dataset), return_inverse=True, return_counts=True)
    state = _by_user(dataset, users, user_of)
    members, outsiders, population = (rng.permutation(np.flatnonzero(state == s)) for s in (1, 0, -1))
    if not len(population):
        population, outsiders = np.split(outsiders, [int(_POPULATION_SHARE * len(outsiders))])
    if pool is not None:
        _require(where, counts[members].sum(), counts[outsiders].sum(), pool // 2)
        members, outsiders = (side[np.cumsum(counts[side]) <= pool // 2] for side in (members, outsiders))
    if dataset.units is not None:
        where += ": users"
    _require(where, len(members), len(outsiders), LEAST_RECORDS_A_HALF)
    asked, auxiliary = np.isin(user_of, [*members, *outsiders]), np.isin(user_of, population)
    kept = np.flatnonzero(asked | auxiliary)
    part = subset(dataset, kept)
    audited = np.flatnonzero(asked[kept])
    truth = part.released_member
    assert truth is not None
    member = np.vstack([truth[audited][np.newaxis] == 1, _halves(part, audited, references, seed)])
    return kept, Split(audited, np.flatnonzero(auxiliary[kept]), member, released=True)


def _require(where: str, members: int, outsiders: int, least: int) -> None:
    if min(members, outsiders) < least:
        raise UsageError(
            f"{where}: {members} members and {outsiders} non-members to ask about; must be at least {least} each"
        )


def with_references(split: Split, references: Bools, users: Ints) -> tuple[Split, int]:
    """The split of a released model with references that came with it, and how many audit records were left out.

    Attacks compare what references say that trained on a record with what the others say, and need two of each. Records
    that lack them are left out, unless too few would be left or there are fewer than four references.

    Args:
        split: of the released model alone.
        references: bool (m, n), on which audit records each reference trained.
        users: int64 (n,), who each audit record is about.
    """
    inside = references.sum(axis=0)
    whole = (inside >= 2) & (len(references) - inside >= 2)
    sides = [len(np.unique(users[whole & (split.member[0] == side)])) for side in (True, False)]
    if min(sides) < LEAST_RECORDS_A_HALF:
        whole = np.ones_like(whole)
    member = np.vstack([split.member, references])[:, whole]
    return replace(split, pool=split.pool[whole], member=member), int((~whole).sum())


def torn_users(member: Bools, users: Ints) -> Ints:
    """How many users each model trained on in part: (models,), from bool (models, n) and int64 (n,)."""
    _, user_of = np.unique(users, return_inverse=True)
    counts = np.bincount(user_of)
    inside = np.stack([np.bincount(user_of, weights=own) for own in member])
    return np.asarray(((inside > 0) & (inside < counts)).sum(axis=1))


def subset(dataset: Dataset, rows: Ints) -> Dataset:
    """The data set with these rows only, in their order."""
    return replace(
        dataset,
        x=dataset.x[rows],
        y=dataset.y[rows],
        sensitive={name: values[rows] for name, values in dataset.sensitive.items()},
        units=None if dataset.units is None else dataset.units[rows],
        released_member=None if dataset.released_member is None else dataset.released_member[rows],
    )


def _units(dataset: Dataset) -> Ints:
    return np.arange(len(dataset)) if dataset.units is None else dataset.units


def _by_user(dataset: Dataset, users: Ints, user_of: Ints) -> Ints:
    """Membership of every user, (users,): 1, 0 or -1.

    Raises:
        UsageError: a user has records on both sides.
    """
    truth = dataset.released_member
    assert truth is not None
    low, high = np.full(len(users), 2), np.full(len(users), -2)
    np.minimum.at(low, user_of, truth)
    np.maximum.at(high, user_of, truth)
    torn = np.flatnonzero(low != high)
    if len(torn):
        raise UsageError(
            f"data {dataset.name}: user {users[torn[0]]} has records on both sides of the split ({len(torn)} users "
            "do); a user must be a member with all records or with none"
        )
    return low.astype(np.int64)
