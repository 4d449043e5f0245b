"""Label-only attack by the distance to the decision boundary, with ART's HopSkipJump as the search.

Choquette-Choo et al. 2021, "Label-only membership inference attacks", and Li and Zhang 2021, "Membership leakage in
label-only exposures": a member lies further from the boundary, and a record that is answered wrongly has distance 0.
The search is that of ART's `LabelOnlyDecisionBoundary`. Deviations:

- No threshold. ART's calibrations are told members; here the distance is the score, and nothing is known of members.
- ART's search has no limit on queries (its step size is halved until a step succeeds). Here it ends when a record's
  queries are spent, and the distance is that to the nearest point answered with another label, which is at most ART's.
- The search starts from an auxiliary record of another label, the nearest of a few that are asked. ART starts from
  uniform noise, from a generator that it does not let a caller seed, and reports distance 0 where no noise is answered
  with another label: for the most robust records.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from ...harness.checks import require
from ...harness.errors import NotApplicable
from ...harness.protocols import MembershipContext, View
from ...harness.types import Candidates, Family, Float32, Floats, Scores, ThreatModel
from .attack_p import drawn

_LEAST_RECORDS = 20  # with ten or so a side, a target seldom gets members only or non-members only
_LEAST_QUERIES = 50  # two estimates of the boundary's direction
_DIRECTIONS = 20  # queries for the first estimate of the boundary's direction; ART's 100 would leave few steps


class _SearchEnds(Exception):
    """The queries of one record are spent, or there is nothing to search for."""


class _Search:
    """The target around one record: counts the queries and keeps the nearest point with another label."""

    def __init__(self, view: View, record: Float32, label: int, start: Float32) -> None:
        self._view, self._record, self._label = view, record, label
        self._calls = self.asked = 0
        self.distance = self._nearest(start[np.newaxis])

    def answers(self, x: Floats, queries: int) -> Float32:
        """One-hot labels float32 (n, classes) of points (n, *shape), as long as `queries` are not spent."""
        if self.asked + len(x) > queries or not np.isfinite(x).all():
            raise _SearchEnds
        x = x.astype(np.float32)
        labels = self._view.predict_labels(x)
        self.asked += len(x)
        self._calls += 1
        other = x[labels != self._label]
        if len(other):
            self.distance = min(self.distance, self._nearest(other))
        # ART asks for the record, then for the start. Should a noisy answer to the start change, ART would look for
        # another start with a generator that it does not let us seed.
        if self.distance == 0 or (self._calls == 2 and not len(other)):
            raise _SearchEnds
        return np.eye(self._view.n_classes, dtype=np.float32)[labels]

    def _nearest(self, points: Float32) -> float:
        away = (points.astype(np.float64) - self._record).reshape(len(points), -1)
        return float(np.linalg.norm(away, axis=1).min())


def boundary_distance(view: View, record: Float32, label: int, start: Float32, queries: int) -> float:
    """L2 distance from `record` to the nearest point that was found to have another label than `label`.

    Draws from numpy's process-wide generator, as ART does.

    Args:
        view: the target.
        record: float32 (*shape).
        label: the true label.
        start: float32 (*shape), a point that was answered with another label.
        queries: how many the search may ask, the record itself included.

    Returns:
        At least 0; exactly 0 where the record itself is answered with another label.
    """
    from art.attacks.evasion import HopSkipJump
    from art.estimators.classification import BlackBoxClassifierNeuralNetwork

    search = _Search(view, record, label, start)
    estimator: Any = BlackBoxClassifierNeuralNetwork(
        lambda x: search.answers(x, queries), view.shape, view.n_classes, clip_values=view.bounds
    )
    attack = HopSkipJump(
        estimator, batch_size=queries, max_iter=queries, init_eval=_DIRECTIONS, max_eval=queries, verbose=False
    )
    encoded = np.eye(view.n_classes, dtype=np.float32)[[label]]
    with suppress(_SearchEnds), np.errstate(all="ignore"):  # noisy answers can shrink ART's search to a point: 0 / 0
        attack.generate(record[np.newaxis], encoded, x_adv_init=start[np.newaxis].copy())
    return search.distance


@contextmanager
def _numpy_seeded(seed: int) -> Iterator[None]:
    """Numpy's process-wide generator on `seed`, and as it was afterwards: ART draws from nothing else."""
    state = np.random.get_state()
    np.random.seed(seed)
    try:
        yield
    finally:
        np.random.set_state(state)


@dataclass(frozen=True)
class ArtBoundary:
    """Distance to the decision boundary by HopSkipJump of ART, labels only, for a random few of the candidates.

    Attributes:
        max_records: how many candidates are scored, drawn at random by the seed, at least 20; the search is slow. The
            others get no score.
        queries: queries for each scored record, the start and the record itself included, at least 50.
    """

    max_records: int = 50
    queries: int = 250

    family: ClassVar[Family] = "membership"
    implementation: ClassVar[str] = "adversarial-robustness-toolbox: HopSkipJump"
    needs_classes: ClassVar[str] = "looks for the border between predicted classes: a regressor has none"

    def __post_init__(self) -> None:
        require(self.max_records >= _LEAST_RECORDS, "max_records", self.max_records, f">= {_LEAST_RECORDS}")
        require(self.queries >= _LEAST_QUERIES, "queries", self.queries, f">= {_LEAST_QUERIES}")

    @property
    def threat_model(self) -> ThreatModel:
        """Labels only, `queries` for each record that is scored."""
        return ThreatModel(
            access="labels", knows_members=False, knows_recipe=False, reference_models=0, query_budget=self.queries
        )

    def score(self, view: View, candidates: Candidates, context: MembershipContext) -> Scores:
        """Score `max_records` of the candidates; higher = member."""
        chosen = drawn(candidates, self.max_records, context.seed)
        starts = drawn(context.auxiliary, len(chosen), context.seed)
        labels = view.predict_labels(starts.x)
        if len(np.unique(labels)) < 2:
            raise NotApplicable(f"the model answers {len(labels)} auxiliary records with one label: no boundary known")
        values = np.zeros(len(chosen))
        with _numpy_seeded(context.seed):
            for i, (record, label) in enumerate(zip(chosen.x, chosen.y, strict=True)):
                others = starts.x[labels != label]
                away = ((others - record) ** 2).reshape(len(others), -1).sum(axis=1)
                values[i] = boundary_distance(view, record, int(label), others[away.argmin()], self.queries - 1)
        return Scores(chosen.ids, values)
