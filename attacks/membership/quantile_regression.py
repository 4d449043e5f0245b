"""Membership by quantile regression: how surprising is the target's confidence for a record that looks like this one?

Bertran et al. 2023, "Scalable membership inference attacks via quantile regression", with the Gaussian head: the
target's signal on records that nobody trained on is modelled as normal with mean mu(x, y) and standard deviation
sd(x, y), and (signal - mu) / sd orders records as every quantile of that normal does. No reference models, no knowledge
of the recipe. Deviations: the regressors are gradient-boosted trees on the record's features and label, instead of a
network; mean and spread are fitted one after the other, the spread on residuals of records that the mean was not fitted
on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...harness.errors import NotApplicable
from ...harness.protocols import MembershipContext, View
from ...harness.types import Candidates, Family, Float64, Floats, Scores, ThreatModel
from .attack_p import drawn
from .signals import confidence_logit

LEAST_AUXILIARY = 50
"""Fewer records than this say nothing about how the signal depends on them."""

_COMPONENTS = 40  # as good on Location-30 as all 446 features, and five times as fast
_FOLDS = 5
_TREES = {"max_iter": 30, "max_leaf_nodes": 8, "max_bins": 32, "early_stopping": False}


def gaussian_head(features: Floats, signals: Floats, asked: Floats, seed: int) -> tuple[Float64, Float64]:
    """Mean and standard deviation of the signal at `asked`, learnt from `signals` at `features`.

    The mean is fitted by squared error on all rows. The variance is fitted to the squared residuals by gamma deviance,
    which for them is the likelihood of the normal; each residual comes from a fit on the other folds, because on their
    own rows trees leave residuals that are too small.

    Args:
        features: (k, d), any floating type.
        signals: (k,).
        asked: (n, d).
        seed: of the folds.

    Returns:
        mean float64 (n,) and standard deviation float64 (n,), above 0. On one thread: the same bytes every time.
    """
    from sklearn.ensemble import HistGradientBoostingRegressor
    from sklearn.model_selection import KFold, cross_val_predict
    from threadpoolctl import threadpool_limits

    folds = KFold(_FOLDS, shuffle=True, random_state=seed)
    with threadpool_limits(1):  # sums over threads have no fixed order
        mean = HistGradientBoostingRegressor(random_state=seed, **_TREES)
        squares = (signals - cross_val_predict(mean, features, signals, cv=folds)) ** 2
        squares = np.maximum(squares, 1e-3 * squares.mean() + 1e-12)  # gamma deviance needs values above 0
        variance = HistGradientBoostingRegressor(loss="gamma", random_state=seed, **_TREES)
        return (
            np.asarray(mean.fit(features, signals).predict(asked)),
            np.sqrt(variance.fit(features, squares).predict(asked)),
        )


def _reduced(known: Floats, asked: Floats, seed: int) -> tuple[Floats, Floats]:
    """Principal components of `known` (k, d), at most 40, and `asked` (n, d) on the same axes."""
    if known.shape[1] <= _COMPONENTS:
        return known, asked
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    axes: Any = PCA(_COMPONENTS, svd_solver="randomized", random_state=seed)
    with threadpool_limits(1):
        return axes.fit_transform(known), axes.transform(asked)


@dataclass(frozen=True)
class QuantileRegression:
    """The target's logit-scaled confidence, standardised by what auxiliary records like the candidate get.

    As many auxiliary records as there are candidates are asked, at most; hence two queries a candidate.
    """

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "privassay"
    threat_model: ClassVar[ThreatModel] = ThreatModel(
        access="probabilities", knows_members=False, knows_recipe=False, reference_models=0, query_budget=2
    )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score every candidate; higher = member."""
        known = drawn(context.auxiliary, len(candidates), context.seed)
        if len(known) < LEAST_AUXILIARY:
            raise NotApplicable(
                f"quantile regression learns from auxiliary records: {len(known)} may be asked, it needs "
                f"{LEAST_AUXILIARY}"
            )
        rows, asked = (np.reshape(records.x, (len(records), -1)) for records in (known, candidates))
        rows, asked = _reduced(rows, asked, context.seed)
        labels = np.eye(view.n_classes)
        mean, spread = gaussian_head(
            np.hstack([rows, labels[known.y]]),
            confidence_logit(view.predict(known.x), known.y),
            np.hstack([asked, labels[candidates.y]]),
            context.seed,
        )
        signals = confidence_logit(view.predict(candidates.x), candidates.y)
        return Scores(candidates.ids, (signals - mean) / spread)
