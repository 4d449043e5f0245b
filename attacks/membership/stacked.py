"""The stacked attack: a classifier of members, learnt on the reference models, over the signals of many attacks.

Whoever trained the reference models knows whose members are whose. So every reference is a labelled target: it is
compared with the other references as the real target will be, all published scores and their ingredients become the
features of a record, and two classifiers learn "member or not" on them, each by itself: a ridge logistic regression on
piecewise linear functions of the features, and gradient-boosted trees. Their log odds are averaged. They are applied to
the real target, whose membership they never see. This project's own; the scores that it stacks are LiRA's (Carlini et
al. 2022), RMIA's (Zarifzadeh et al. 2024) and the Student-t ratio of `student_t`.

Which records of each reference the classifiers are fitted on is drawn by `fit_seed`, not by the run's seed, so that all
targets share the draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, ClassVar, TypeAlias

import numpy as np

from ...harness.checks import require
from ...harness.errors import NotApplicable, UsageError
from ...harness.protocols import MembershipContext, View
from ...harness.types import Bools, Candidates, Family, Float64, Floats, Ints, Scores, ThreatModel, sha256_of
from ._references import granted
from ._stacked_features import SIGNALS, Sums, check_left, features, halves, signals_of, signals_of_probabilities

_FIT_ROWS = 12_000  # twice as many gain about 0.0005 of AUC
_LEFT_OUT = 4  # so many halves at most are left out in turn; more change nothing that can be measured
_RECORDS_AT_ONCE = 8_000
_KNOTS = (0.2, 0.5, 0.8)
_RIDGE = 1.0
_NEWTON_STEPS = 30
_ENOUGH = 0.01  # of log likelihood: what a step gains that is not worth another


def stacked_scores(
    target_logits: Floats, reference_logits: Floats, member: Bools, labels: Ints, *, seed: int = 0
) -> Float64:
    """Log odds of membership of each record, up to what the references and the target differ in.

    References whose halves are equal or complementary never judge one another: a complement trained on a record exactly
    where the other did not, which would give the answer away. The real target is compared with as many references as a
    reference can be: one half and its complement are left out in turn and the log odds are averaged, so that the
    classifier meets the features that it was fitted on.

    Args:
        target_logits: logits of the target, or logarithms of its probabilities, (n, classes), finite.
        reference_logits: the same of the references, (m, n, classes), finite.
        member: bool (m, n), which reference trained on which record.
        labels: int (n,).
        seed: which records of each reference the classifier is fitted on, where there are more than it needs.

    Returns:
        float64 (n,), higher = member. The same bytes whatever the number of threads.

    Raises:
        UsageError: shapes or types are wrong.
        NotApplicable: fewer than 4 references, or a record has no reference on one side once a model and its complement
            are left out.
    """
    if reference_logits.ndim != 3 or reference_logits.shape[1:] != target_logits.shape:
        raise UsageError(
            f"logits {target_logits.shape} and reference logits {reference_logits.shape}: must be (n, classes) and "
            "(m, n, classes)"
        )
    references = np.empty((*reference_logits.shape[:2], SIGNALS), dtype=np.float32)
    for k, logits in enumerate(reference_logits):
        references[k] = signals_of(logits, labels)
    return _scores(signals_of(target_logits, labels), references, member, lambda: _learnt(references, member, seed))


def scores_from_signals(target: Floats, references: Floats, member: Bools, *, seed: int) -> Float64:
    """`stacked_scores` from signals: (n, 7) of the target, (m, n, 7) of the references; see `signals_of`.

    What was learnt from the last references is kept, for the next target with the same ones.
    """
    return _scores(target, references, member, lambda: _kept(_References(references, member), seed))


def _scores(target: Floats, references: Floats, member: Bools, learnt: Callable[[], _Learnt]) -> Float64:
    """Check, learn, score."""
    from threadpoolctl import threadpool_limits

    if member.dtype != np.bool_ or member.shape != references.shape[:2]:
        raise UsageError(
            f"member is {member.dtype} {member.shape}: must be bool {references.shape[:2]}, (references, records)"
        )
    groups = halves(member)
    if len(member) < 4 or len(groups) < 2:
        raise NotApplicable(f"needs at least 4 reference models, in complementary pairs: there are {len(member)}")
    check_left(member, groups)
    with threadpool_limits(1):  # sums of another order have other last digits
        known, classifier = learnt()
        left_out = [groups[k] for k in np.unique(np.linspace(0, len(groups) - 1, _LEFT_OUT).astype(np.int64))]
        return _averaged(classifier, target.astype(np.float32), known, left_out)


@dataclass(frozen=True, eq=False)
class _References:
    """References as a key: equal where signals (m, n, 7) and membership (m, n) are."""

    signals: Floats
    member: Bools

    @cached_property
    def sha256(self) -> str:
        """Digest of both."""
        return sha256_of(self.signals, self.member)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _References) and self.sha256 == other.sha256

    def __hash__(self) -> int:
        return hash(self.sha256)


@lru_cache(maxsize=1)  # a target and its complement have the same references: one classifier serves both
def _kept(references: _References, seed: int) -> _Learnt:
    return _learnt(references.signals, references.member, seed)


def _learnt(signals: Floats, member: Bools, seed: int) -> _Learnt:
    """All that is learnt from references, whoever the target is."""
    known = _Known(signals, member, Sums.of(signals, member))
    rows = _labelled_rows(known, halves(member), np.random.default_rng(seed))
    return known, _Classifier.fitted(*rows)


@dataclass(frozen=True, eq=False)
class _Known:
    """References: their signals (m, n, 7), whom they trained on (m, n), and the sums of both."""

    signals: Floats
    member: Bools
    sums: Sums

    def without(self, group: Ints, rows: Ints) -> Sums:
        """Sums for `rows` over all references but those of `group`."""
        return self.sums.without(
            rows, self.signals[group[:, np.newaxis], rows], self.member[group[:, np.newaxis], rows]
        )


def _labelled_rows(known: _Known, groups: Sequence[Ints], rng: np.random.Generator) -> tuple[Float64, Bools]:
    """Features and membership of records of every reference, as its own group leaves them: (r, f) and (r,)."""
    m, n = known.member.shape
    each = min(n, -(-_FIT_ROWS // m))
    rows_of, member_of = [], []
    for group in groups:
        for k in group:
            rows = np.sort(rng.choice(n, each, replace=False))
            rows_of.append(features(known.signals[k, rows], known.without(group, rows)))
            member_of.append(known.member[k, rows])
    return np.concatenate(rows_of), np.concatenate(member_of)


def _averaged(classifier: _Classifier, target: Floats, known: _Known, left_out: Sequence[Ints]) -> Float64:
    """Log odds of every record, averaged over the groups that are left out in turn."""
    n = len(target)
    scores = np.zeros(n)
    for start in range(0, n, _RECORDS_AT_ONCE):
        rows = np.arange(start, min(n, start + _RECORDS_AT_ONCE))
        for group in left_out:
            scores[rows] += classifier.log_odds(features(target[rows], known.without(group, rows)))
    return scores / len(left_out)


_Learnt: TypeAlias = "tuple[_Known, _Classifier]"


@dataclass(frozen=True, eq=False)
class _Classifier:
    """A logistic regression and boosted trees, each fitted by itself, their log odds averaged.

    Neither is the better one on all data; the average was never more than 0.001 of AUC behind the better one.
    """

    regression: _Regression
    trees: Any

    @classmethod
    def fitted(cls, rows: Float64, member: Bools) -> _Classifier:
        """Fit both to features (r, f) and membership (r,)."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        trees = HistGradientBoostingClassifier(
            learning_rate=0.15,
            max_iter=40,
            max_leaf_nodes=8,
            min_samples_leaf=100,
            max_bins=63,
            early_stopping=False,
            random_state=0,
        )
        return cls(_Regression.fitted(rows, member), trees.fit(rows, member))

    def log_odds(self, rows: Float64) -> Float64:
        """Log odds of membership: float64 (r,) from features (r, f)."""
        return np.asarray((self.regression.log_odds(rows) + self.trees.decision_function(rows)) / 2)


@dataclass(frozen=True, eq=False)
class _Regression:
    """Ridge logistic regression on each feature and on its excess over each of a few quantiles of it.

    Attributes:
        low: features are clipped at these, (f,).
        high: features are clipped at these, (f,).
        knots: quantiles of the features, (k, f).
        centre: mean of the expanded features, (e,).
        scale: their standard deviation, (e,).
        weights: one for each, and the intercept last, (e + 1,).
    """

    low: Float64
    high: Float64
    knots: Float64
    centre: Float64
    scale: Float64
    weights: Float64

    @classmethod
    def fitted(cls, rows: Float64, member: Bools) -> _Regression:
        """Penalised maximum likelihood on features (r, f) and membership (r,)."""
        low, *knots, high = np.quantile(rows, [0.002, *_KNOTS, 0.998], axis=0)
        reach = 2 * rows.std(axis=0)
        limits = low - reach, high + reach, np.array(knots)
        expanded = _expanded(rows, *limits)
        centre, scale = expanded.mean(axis=0), expanded.std(axis=0) + 1e-6
        design = np.column_stack([(expanded - centre) / scale, np.ones(len(rows))])
        return cls(*limits, centre, scale, _newton(design, member.astype(np.float64)))

    def log_odds(self, rows: Float64) -> Float64:
        """Log odds of membership: float64 (r,) from features (r, f)."""
        expanded = (_expanded(rows, self.low, self.high, self.knots) - self.centre) / self.scale
        return np.asarray(expanded @ self.weights[:-1] + self.weights[-1])


def _expanded(rows: Float64, low: Float64, high: Float64, knots: Float64) -> Float64:
    clipped = np.clip(rows, low, high)
    return np.hstack([clipped, *(np.maximum(clipped - knot, 0.0) for knot in knots)])


def _newton(design: Float64, truth: Float64) -> Float64:
    """Weights (e,) of a ridge logistic regression on `design` (r, e), whose last column is the unpenalised constant."""
    weights, ridge = np.zeros(design.shape[1]), np.full(design.shape[1], _RIDGE)
    ridge[-1] = 1e-9

    def loss(at: Float64) -> float:
        odds = design @ at
        return float(np.logaddexp(0.0, odds).sum() - odds @ truth + 0.5 * ridge @ at**2)

    reached = loss(weights)
    for _ in range(_NEWTON_STEPS):
        probability = 1 / (1 + np.exp(-np.clip(design @ weights, -30.0, 30.0)))
        gradient = design.T @ (probability - truth) + ridge * weights
        weighted = design * np.sqrt(np.maximum(probability * (1 - probability), 1e-6))[:, np.newaxis]
        curvature = weighted.T @ weighted
        curvature[np.diag_indices_from(curvature)] += ridge
        step = np.linalg.solve(curvature, gradient)
        while (reaches := loss(weights - step)) > reached + _ENOUGH:  # too far: Newton's method alone may diverge
            step /= 2
        weights, gained, reached = weights - step, reached - reaches, reaches
        if gained < _ENOUGH:
            break
    return weights


@dataclass(frozen=True)
class Stacked:
    """Ridge logistic regression and boosted trees over the features of all reference-model attacks, log odds averaged.

    Both are fitted on the references themselves.

    Attributes:
        fit_seed: draws the records of each reference that both are fitted on, where there are more than they need, the
            same for every target; the run's seed has no part in it; >= 0.
    """

    fit_seed: int = 0

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=True, reference_models=4, query_budget=1
    )

    def __post_init__(self) -> None:
        require(self.fit_seed >= 0, "fit_seed", self.fit_seed, "at least 0")

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        references = granted(context)
        target = signals_of_probabilities(view.predict(candidates.x), candidates.y)
        signals = references.measured(signals_of_probabilities)
        values = scores_from_signals(target, signals, references.member, seed=self.fit_seed)
        return Scores(candidates.ids, values)
