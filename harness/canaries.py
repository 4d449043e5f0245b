"""Canaries: records made up for an audit, each put into the training data or left out by a fair coin of its own.

What a model gives away about the coins bounds its epsilon from below (`audit/`). Kinds:

- `mislabelled`: a real record with one of the wrong labels, drawn evenly. The default: it needs no knowledge of the
  model, and fitting it means remembering it (Aerni, Zhang and Tramer 2024, arXiv:2404.17399).
- `mislabelled_duplicates`: the same, but the record is in the data twice, both copies on one coin: for defences that
  single out records unlike any other (same paper). What is proved is about groups of two records.
- `out_of_distribution`: uniform noise within the bounds, with any label, drawn evenly.
- `blank`: one constant record in the middle of the bounds, with any label, drawn evenly. Canaries with the same label
  are equal, so a model shows at most how many of them it has seen, not which: of use for few canaries only.
- `own_feature`: the data get one more feature for each canary, which is 0 in every other record; the canary has that
  feature at its extreme bound, all others at 0, and any label. In the first layer its gradient lies in coordinates
  that no other record touches, so canaries there do not blur one another: close to an attacker who may insert
  gradients. For records that are flat rows of features.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np

from .checks import one_of, open_unit, require
from .config import CanaryKind
from .errors import UsageError
from .seeds import generator
from .types import Bools, Dataset, Float32, Ints

KINDS: tuple[CanaryKind, ...] = get_args(CanaryKind)
MOST_TIMES_DELTA = 0.01

CANARY_COLUMN, CANARY = "canaries", "canary"
"""Column of groups, and its value for canaries among the audit records of a pool."""


@dataclass(frozen=True, eq=False)
class Canaries:
    """A data set with canaries in it.

    Attributes:
        dataset: the records, those in `rows` replaced by canaries.
        kind: what the canaries are.
        rows: int64 (m, copies), the rows of each canary's copies.
        included: bool (m,), whether each canary is to be trained on: `coins` of the first training run.
    """

    dataset: Dataset
    kind: CanaryKind
    rows: Ints
    included: Bools

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def copies(self) -> int:
        """How often each canary is in the data, if at all."""
        return self.rows.shape[1]

    def taken(self, included: Bools) -> Ints:
        """Rows that a training run with these coins, bool (m,), has besides its real records."""
        return np.asarray(self.rows[included].ravel())


def copies_of(kind: CanaryKind) -> int:
    """How many rows a canary of this kind takes."""
    return 2 if kind == "mislabelled_duplicates" else 1


def most_canaries(delta: float) -> int:
    """The most canaries that an audit in one run should have: 0.01 / delta.

    The p-value of such an audit has a term 2 m delta alpha (Steinke et al. 2023, theorem 5.2): each canary may be given
    away outright with probability delta. With more canaries than this the term eats the proof: 20,000 of them at delta
    1e-5 prove nothing about a Gaussian mechanism with epsilon 4.4, 2000 prove 0.9.

    Raises:
        UsageError: `delta` is not between 0 and 1.
    """
    open_unit(delta=delta)
    return math.floor(MOST_TIMES_DELTA / delta * (1 + 1e-9))


def check_number(m: int, delta: float) -> None:
    """Refuse more canaries than `most_canaries`.

    Raises:
        UsageError: with the reason.
    """
    most = most_canaries(delta)
    if m > most:
        raise UsageError(
            f"canaries={m}: must be at most {most}, 0.01 / delta for delta={delta:g}: each canary may be given away "
            "with probability delta, and with more of them the bound would lose most of its strength"
        )


def check_kind(kind: str, dataset: Dataset) -> None:
    """Refuse canaries that cannot be made for these data.

    Raises:
        UsageError: with the reason.
    """
    one_of(KINDS, kind=kind)
    if kind != "own_feature":
        return
    if len(dataset.shape) != 1:
        raise UsageError(
            f"kind='own_feature': records of shape {dataset.shape} are not flat rows of features, to which one more "
            "could be added"
        )
    low, high = dataset.bounds
    require(low <= 0 <= high, "bounds", dataset.bounds, "around 0 for kind='own_feature': absent features are 0")


def coins(m: int, seed: int, run: int = 0) -> Bools:
    """Independent fair coins of one training run: bool (m,), True = trained on.

    Args:
        m: number of canaries.
        seed: root seed; coins come from a stream of their own, which nothing else draws from.
        run: number of the training run.
    """
    return np.asarray(generator(seed, "canary", "coins", run).random(m) < 0.5)


def insert(dataset: Dataset, rows: Ints, kind: CanaryKind, seed: int) -> Canaries:
    """Replace `rows` of a data set by canaries; every other record keeps its values and its label.

    Args:
        dataset: the records.
        rows: int64 (m * copies,), distinct rows to replace: none that is trained on whatever the coins say. The first
            m are the real records that mislabelled canaries are made of.
        kind: what to make.
        seed: root seed of labels, noise and coins.

    Raises:
        UsageError: the kind is unknown or cannot be made for these data, or `rows` are not as required.
    """
    check_kind(kind, dataset)
    copies = copies_of(kind)
    if not len(rows) or len(rows) % copies or len(np.unique(rows)) < len(rows):
        raise UsageError(f"rows: {len(rows)} of them: must be distinct, {copies} for each canary")
    placed = np.asarray(rows.reshape(copies, -1).T)
    made = _MAKERS[kind](dataset, placed, generator(seed, "canary", "records"))
    return Canaries(made, kind, placed, coins(len(placed), seed))


def among_members(dataset: Dataset, pool: Ints, count: int, seed: int) -> Dataset:
    """The data set with wrong labels on some audit records, which the column `CANARY_COLUMN` tells from the others.

    Where the data tell users apart, whole users are drawn, in random order as long as they fit, and all their records
    get wrong labels: a user is a canary or is not.

    Args:
        dataset: the records.
        pool: int64 (n,), the audit records.
        count: how many of them, 1 to n; of users, at most so many records.
        seed: root seed.

    Raises:
        UsageError: every user has more records than `count`.
    """
    rng = generator(seed, "canary", "members")
    if dataset.units is None:
        rows = rng.permutation(pool)[:count]
    else:
        rows = pool[_whole_users(dataset.units[pool], count, rng)]
    found = insert(dataset, rows, "mislabelled", seed).dataset
    kind = np.full(len(dataset), "ordinary", dtype="<U8")
    kind[rows] = CANARY
    return replace(found, sensitive={**dataset.sensitive, CANARY_COLUMN: kind})


def _whole_users(units: Ints, count: int, rng: np.random.Generator) -> Bools:
    """Which records belong to users drawn at random, together at most `count` records: bool (n,), some of them True."""
    _, user_of, sizes = np.unique(units, return_inverse=True, return_counts=True)
    if count < sizes.min():
        raise UsageError(f"pool.canaries={count}: must be at least {sizes.min()}, the records of the smallest user")
    taken, left = np.zeros(len(sizes), dtype=np.bool_), count
    for user in rng.permutation(len(sizes)):
        if sizes[user] <= left:
            taken[user] = True
            left -= sizes[user]
    return np.asarray(taken[user_of])


def ordinary(dataset: Dataset, pool: Ints) -> Bools:
    """Which audit records are no canaries: bool (n,)."""
    column = dataset.sensitive.get(CANARY_COLUMN)
    return np.ones(len(pool), dtype=np.bool_) if column is None else np.asarray(column[pool] != CANARY)


def _mislabelled(dataset: Dataset, rows: Ints, rng: np.random.Generator) -> Dataset:
    base = rows[:, 0]
    wrong = (dataset.y[base] + rng.integers(1, dataset.n_classes, len(base))) % dataset.n_classes
    return _placed(dataset, rows, dataset.x[base], wrong)


def _out_of_distribution(dataset: Dataset, rows: Ints, rng: np.random.Generator) -> Dataset:
    x = rng.uniform(*dataset.bounds, (len(rows), *dataset.shape)).astype(np.float32)
    return _placed(dataset, rows, x.clip(*dataset.bounds), _any_labels(dataset, rows, rng))


def _blank(dataset: Dataset, rows: Ints, rng: np.random.Generator) -> Dataset:
    x = np.full((len(rows), *dataset.shape), sum(dataset.bounds) / 2, dtype=np.float32)
    return _placed(dataset, rows, x, _any_labels(dataset, rows, rng))


def _own_feature(dataset: Dataset, rows: Ints, rng: np.random.Generator) -> Dataset:
    m, width = len(rows), dataset.shape[0]
    wider = np.pad(dataset.x, ((0, 0), (0, m)))
    x = np.zeros((m, width + m), dtype=np.float32)
    x[np.arange(m), width + np.arange(m)] = max(dataset.bounds, key=abs)
    return _placed(replace(dataset, x=wider, columns=None), rows, x, _any_labels(dataset, rows, rng))


def _any_labels(dataset: Dataset, rows: Ints, rng: np.random.Generator) -> Ints:
    return rng.integers(0, dataset.n_classes, len(rows))


def _placed(dataset: Dataset, rows: Ints, x: Float32, y: Ints) -> Dataset:
    """The data set with record j, (x[j], y[j]), in every one of rows[j]."""
    records, labels = dataset.x.copy(), dataset.y.copy()
    records[rows], labels[rows] = x[:, None], y[:, None]
    return replace(dataset, name=f"{dataset.name} with canaries", x=records, y=labels)


_MAKERS: dict[CanaryKind, Callable[[Dataset, Ints, np.random.Generator], Dataset]] = {
    "mislabelled": _mislabelled,
    "mislabelled_duplicates": _mislabelled,
    "out_of_distribution": _out_of_distribution,
    "blank": _blank,
    "own_feature": _own_feature,
}
