"""Core values that cross every border: frozen dataclasses with numpy arrays inside (numpy is all they need)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .columns import RecordColumns

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Floats = NDArray[np.floating[Any]]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

Access = Literal["labels", "probabilities", "gradients"]
Family = Literal["membership", "inversion", "attribute"]
Guarantee = Literal["none", "heuristic", "formal"]
Sampler = Literal["poisson", "shuffled", "fixed_size"]
Neighbouring = Literal["add_or_remove_one", "zero_out_one", "replace_one"]
Accountant = Literal["pld", "rdp", "gaussian"]
Unit = Literal["record", "user"]
Answers = Literal["labels", "probabilities"]
Over = Literal["records", "users", "classes", "models", "models and records", "models and users", "models and classes"]

Selection = Literal["bonferroni", "split"]
"""How the strongest of several attacks answers for having been chosen."""

STRONGEST = "strongest"
"""Stands where an attack's name stands, for the strongest of them; no attack may have this name."""

ACCESS_LEVELS: tuple[Access, ...] = ("labels", "probabilities", "gradients")


def sha256_of(*arrays: NDArray[np.generic]) -> str:
    """SHA-256 over the types, shapes and bytes of `arrays`, in order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True)
class ColumnsToFit:
    """Columns of flat records that each model prepares by statistics of its own members.

    A column that is in neither is used as it is: its range is public.

    Attributes:
        standardise: numbers of columns that are shifted and scaled to mean 0 and deviation 1.
        encode: numbers of columns that hold codes of categories, 0, 1, ...; each becomes one column a category that
            the members have.
    """

    standardise: tuple[int, ...] = ()
    encode: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False)
class Dataset:
    """Records of one classification task.

    Attributes:
        name: name in the catalogue.
        x: float32 (n, *shape), finite, within `bounds`.
        y: int64 (n,), labels 0 .. n_classes - 1.
        n_classes: number of classes, at least 2.
        bounds: smallest and largest value a feature may take; public knowledge, not measured on the records. Columns of
            `to_fit` have none.
        public: whether the records may be shown in a report (published data about no one).
        licence: terms under which the records were published.
        sensitive: columns of strings (n,), by name, whose groups the report compares, e.g. sex or region. Neither
            models nor attacks see them, and no result but the rows of groups depends on them, so they are no part of
            the digest.
        units: int64 (n,), who each record is about, where privacy is owed to users with several records; None where
            each record stands for itself. No user is on both sides of a split.
        released_member: int8 (n,), membership in a model that somebody else trained: 1 member, 0 not, -1 never asked
            about (the attacker's sample of the population); None where the data do not say.
        to_fit: columns that every model prepares by its own members; None where x is used as it is.
        grid: float64 (n_classes,), ascending: the numbers that classes stand for, where the target is a number that was
            rounded to them; None where classes have no order.
        columns: the columns of the user's file that features came from; None where records are no rows of such a file.
        class_names: what the user's file calls the classes, in order; empty where they have numbers only.
        left_out: what of the user's file are no records, and why, in words; empty where all of it are.
    """

    name: str
    x: Float32
    y: Ints
    n_classes: int
    bounds: tuple[float, float]
    public: bool
    licence: str
    sensitive: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    units: Ints | None = None
    released_member: NDArray[np.int8] | None = None
    to_fit: ColumnsToFit | None = None
    grid: Float64 | None = None
    columns: RecordColumns | None = None
    class_names: tuple[str, ...] = ()
    left_out: str = ""

    def __len__(self) -> int:
        return len(self.y)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record."""
        return tuple(self.x.shape[1:])

    @cached_property
    def sha256(self) -> str:
        """Digest of everything that results depend on: records, labels, classes, bounds, users, columns."""
        arrays: list[NDArray[Any]] = [self.x, self.y, np.array([self.n_classes, *self.bounds], dtype=np.float64)]
        arrays += [] if self.units is None else [np.array(["units"]), self.units]
        arrays += [] if self.released_member is None else [np.array(["released_member"]), self.released_member]
        arrays += [] if self.grid is None else [np.array(["grid"]), self.grid]
        arrays += [] if self.to_fit is None else [np.array([f"{self.to_fit}"])]
        arrays += [] if self.columns is None else [np.array([self.columns.digest(self.x)])]
        arrays += [np.array(self.class_names)] if self.class_names else []
        return sha256_of(*arrays)


@dataclass(frozen=True, eq=False)
class Split:
    """Who trained on what: the only place where membership lives.

    Attributes:
        pool: int64 (n,), rows of the data set that may be members: the audit records.
        auxiliary: int64 (k,), rows that are never members: the attacker's sample of the population.
        member: bool (models, n), `member[m, j]` tells whether model m trained on `pool[j]`. Models 2i and 2i + 1
            are complements, so each record is a member of exactly half of the models.
        released: whether model 0 is one that somebody else trained. Then models 2i + 1 and 2i + 2 are complements, and
            it has none.
    """

    pool: Ints
    auxiliary: Ints
    member: Bools
    released: bool = False

    @property
    def models(self) -> int:
        """Number of models in the pool."""
        return len(self.member)

    def rows(self, model: int) -> Ints:
        """Rows of the data set on which `model` trains."""
        return np.asarray(self.pool[self.member[model]])

    def references(self, target: int) -> Ints:
        """Models that may serve as references for `target`: all but itself and its complement."""
        pairs = (np.arange(self.models) + self.released) // 2
        return np.flatnonzero(pairs != pairs[target])

    @cached_property
    def sha256(self) -> str:
        """Digest of the rows and of every membership mask."""
        return sha256_of(self.pool, self.auxiliary, self.member)


@dataclass(frozen=True, eq=False)
class TrainingData:
    """What a training function may see: all records resident, each model taking its rows by index.

    Attributes:
        x: float32 (n, *shape).
        y: int64 (n,), labels 0 .. n_classes - 1.
        n_classes: number of classes.
        bounds: smallest and largest value a feature may take; public knowledge.
        public: int64 (k,), rows that are members of no model: data that a defence may use as public, whose labels it
            shall not read.
        units: int64 (n,), who each record is about; None where each record stands for itself.
        grid: float64 (n_classes,), the numbers that classes stand for in regression; None for classification.
        columns: the columns of the user's file that features came from; None where these records have none, or are
            prepared.
    """

    x: Float32
    y: Ints
    n_classes: int
    bounds: tuple[float, float]
    public: Ints = field(default_factory=lambda: np.arange(0))
    units: Ints | None = None
    grid: Float64 | None = None
    columns: RecordColumns | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one record."""
        return tuple(self.x.shape[1:])


@dataclass(frozen=True)
class ObservedSampling:
    """How batches were drawn, as training counted.

    Steps are counted, and under Poisson sampling the records that joined, which must agree with the rate
    (`accounting.observed_poisson`).

    Attributes:
        sampler: `poisson` (every record joins every batch by its own coin), `shuffled` (every record exactly once
            an epoch) or `fixed_size` (every batch as many records as the others, drawn afresh without replacement).
        sample_rate: Poisson: probability of joining a batch. Otherwise: batch size over records.
        steps: optimiser steps that were observed, empty batches included.
        epochs: passes over the data (Poisson: steps x sample_rate).
    """

    sampler: Sampler
    sample_rate: float
    steps: int
    epochs: float


@dataclass(frozen=True)
class GradientNoise:
    """How DP-SGD privatises a step: Poisson batches, clipped per-record gradients, Gaussian noise on their sum.

    Attributes:
        noise_multiplier: standard deviation of the noise over the clipping norm, >= 0.
        max_grad_norm: clipping norm of one record's gradient (L2), > 0.
        sample_rate: probability that a record joins a batch, in (0, 1].
        steps: optimiser steps to take, empty batches included.
    """

    noise_multiplier: float
    max_grad_norm: float
    sample_rate: float
    steps: int


@dataclass(frozen=True)
class DPMechanism:
    """What a DP-SGD run did, from which its claim is recomputed.

    Attributes:
        noise_multiplier: standard deviation of the noise over the clipping norm.
        max_grad_norm: clipping norm of one record's gradient (L2).
        sampling: observed sampling.
        delta: the delta at which epsilon is stated.
        unit: whose gradient is clipped: one record's, or the mean of one user's records.
        statement: what the library that trained says of its privacy, in its own words; empty where it says nothing.
    """

    noise_multiplier: float
    max_grad_norm: float
    sampling: ObservedSampling
    delta: float
    unit: Unit = "record"
    statement: str = ""


@dataclass(frozen=True)
class PrivacyClaim:
    """A formal (epsilon, delta) statement and all that it rests on. `None` stands for "no claim", never infinity.

    Attributes:
        epsilon: at least 0, finite.
        delta: at least 0 and below 1.
        unit: what neighbouring data sets differ by.
        neighbouring: how they differ by it.
        sampler: how batches were drawn; `none` where the mechanism has no batches.
        accountant: how epsilon was computed; `closed_form` where a theorem gives it directly.
        event: the mechanism in words.
        assumptions: what must be true for it to hold, in words.
        statement: what the library that trained says of its privacy, in its own words; empty where it says nothing.
    """

    epsilon: float
    delta: float
    unit: Unit
    neighbouring: Neighbouring
    sampler: Sampler | Literal["none"]
    accountant: Accountant | Literal["closed_form"]
    event: str
    assumptions: tuple[str, ...]
    statement: str = ""

    def __post_init__(self) -> None:
        if not (0 <= self.epsilon < np.inf and 0 <= self.delta < 1):
            raise ValueError(f"PrivacyClaim(epsilon={self.epsilon}, delta={self.delta}): not a claim")


@dataclass(frozen=True)
class ThreatModel:
    """What the attacker has; printed beside every result.

    Attributes:
        access: what the target answers with: labels only, probabilities, or gradients (the weights are known).
        knows_members: the attacker was told the membership of some of the target's own records.
        knows_recipe: the attacker can train models the way the target was trained.
        reference_models: number of such models; 0 when the attack uses none. In an attack's own declaration:
            the least number it needs.
        query_budget: evaluations of the target per candidate record (membership) or per class (inversion).
    """

    access: Access
    knows_members: bool
    knows_recipe: bool
    reference_models: int
    query_budget: int


@dataclass(frozen=True, eq=False)
class Candidates:
    """Records whose membership an attack is asked about. Carries no membership: the answer cannot be seen."""

    ids: Ints
    x: Float32
    y: Ints

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, eq=False)
class Scores:
    """Membership scores: `values` float64 (n,), finite, higher = member; `ids` a subset of the candidates'."""

    ids: Ints
    values: Float64


@dataclass(frozen=True, eq=False)
class Reconstruction:
    """What an inversion attack returned: `samples` float32 (classes, *shape) for `labels` int64 (classes,)."""

    labels: Ints
    samples: Float32


@dataclass(frozen=True)
class Estimate:
    """A number with its interval: the only kind of number that leaves the metrics.

    Attributes:
        value: point estimate.
        low: lower end of the interval.
        high: upper end of the interval.
        level: two-sided confidence level of (low, high), e.g. 0.95.
        method: how value and interval were obtained, in words.
        n: how many units the interval is over.
        over: what those units are.
    """

    value: float
    low: float
    high: float
    level: float
    method: str
    n: int
    over: Over

    def __post_init__(self) -> None:
        if not np.isfinite([self.value, self.low, self.high, self.level]).all():
            raise ValueError(f"Estimate({self.value}, {self.low}, {self.high}): NaN and infinity are not results")
        if not self.low <= self.value <= self.high or not 0 < self.level < 1:
            raise ValueError(
                f"Estimate({self.value}, low={self.low}, high={self.high}, level={self.level}): not an interval"
            )


@dataclass(frozen=True)
class AuditedEpsilon:
    """What an audit found out about epsilon, and what that is worth.

    Attributes:
        value: the number to quote, >= 0: for a lower bound the bound itself.
        low: lower end of what is stated, equal to `value` for a lower bound.
        high: upper end; None where nothing is stated about it.
        level: confidence level of the bound, or mass of the credible interval, e.g. 0.95.
        kind: `lower bound` holds with probability `level` whatever the mechanism; `conditional lower bound` does if
            the mechanism is of the family that `assumes` names; `credible interval` is a Bayesian statement;
            `heuristic` holds for no stated reason, since `assumes` is known not to be met.
        method: how it was computed, in words, with its source.
        delta: delta at which epsilon is stated.
        n: trials or canaries that it rests on.
        assumes: what must be true for it to hold, in words.
    """

    value: float
    low: float
    high: float | None
    level: float
    kind: Literal["lower bound", "conditional lower bound", "credible interval", "heuristic"]
    method: str
    delta: float
    n: int
    assumes: str

    def __post_init__(self) -> None:
        ends = [self.low, self.value, *([] if self.high is None else [self.high])]
        if not np.isfinite(ends).all() or sorted(ends) != ends or self.low < 0:
            raise ValueError(f"AuditedEpsilon({self.low} <= {self.value} <= {self.high}): not in order")

    def __float__(self) -> float:
        return self.value


class Verdict(StrEnum):
    """Outcome of a rule, a candidate or a run; decided on interval ends, never on a point estimate."""

    PASS = "PASS"  # noqa: S105 - a verdict, not a password
    FAIL = "FAIL"
    INCONCLUSIVE = "INCONCLUSIVE"
    ERROR = "ERROR"


@dataclass(frozen=True, eq=False)
class ScoreTable:
    """Scores of one attack on several targets, aligned with the audit records.

    Attributes:
        targets: int64 (t,), models that were attacked.
        scores: float64 (t, n); meaningless where `scored` is False.
        member: bool (t, n), the truth.
        scored: bool (t, n), which records the attack answered for.
    """

    targets: Ints
    scores: Float64
    member: Bools
    scored: Bools = field(repr=False)

    def part(self, kept: Bools) -> ScoreTable:
        """The table as if only the `kept` (n,) records existed."""
        return ScoreTable(self.targets, self.scores[:, kept], self.member[:, kept], self.scored[:, kept])


@dataclass(frozen=True)
class Identity:
    """What a component is, for keys and evidence: its catalogue name, its parameters and the digest of its code."""

    component: str
    parameters: Mapping[str, object]
    code_sha256: str
