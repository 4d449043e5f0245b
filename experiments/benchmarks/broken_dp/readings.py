"""What the auditor trains on, and what he reads off a run: the noisy sum of gradients that each step gave away.

Records are built so that coordinates tell who moved them. Feature layout: two ordinary features, `BLANK` features that
are zero in every record, then one feature for each canary. Canary j is zero but for its own feature, so that nearly all
of its gradient lies in the input weights of that feature, where no other record has any; the input weights of blank
features are moved by noise alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from ....harness.types import Bools, Float64, Ints
from .network import Network
from .trainers import Plan, Release, Trainer

BLANK = 50
_ORDINARY = 2
_FIRST = _ORDINARY + BLANK
_CANARY_VALUE = 30.0  # most of the gradient is then in the canary's own weights, and beyond any clip used here

Records = tuple[Float64, Ints]


@dataclass(frozen=True, eq=False)
class Reading:
    """A run as a white-box auditor sees it.

    Attributes:
        plan: what the owner says was run.
        release: what came of it.
        features: columns of the records.
    """

    plan: Plan
    release: Release
    features: int

    @cached_property
    def sums(self) -> Float64:
        """Noisy sum of clipped gradients of each step, solved from the weights: float64 (steps, size)."""
        path = np.vstack([self.release.start, self.release.path])
        velocity = np.diff(path, axis=0) / -self.plan.learning_rate
        velocity[1:] -= self.plan.momentum * velocity[:-1]
        return np.asarray(velocity * self.plan.expected_batch)

    @property
    def blank(self) -> Float64:
        """Sums in the coordinates of blank features, noise only: float64 (steps, k)."""
        hidden = Network(self.features).hidden
        return self.sums[:, _ORDINARY * hidden : _FIRST * hidden]

    @property
    def own(self) -> Float64:
        """Sums in each canary's own coordinates: float64 (steps, canaries, hidden)."""
        hidden = Network(self.features).hidden
        return self.sums[:, _FIRST * hidden : self.features * hidden].reshape(len(self.sums), -1, hidden)

    @property
    def claimed(self) -> float:
        """Standard deviation of the noise on a sum, as the claim has it."""
        return self.plan.noise_multiplier * self.plan.max_grad_norm

    @property
    def measured(self) -> float:
        """Standard deviation of the noise on a sum, as the blank coordinates have it."""
        return float(np.sqrt(np.mean(self.blank**2)))

    def noise_of_total(self) -> float:
        """Deviation of the noise on a total over all steps, per square root of the steps; never below the claim's.

        Where the claim holds both are alike; where it does not, noise is not taken for the mark of a record.
        """
        totals = self.blank.sum(axis=0) / np.sqrt(len(self.blank))
        return max(self.claimed, float(np.sqrt(np.mean(totals**2))))


def read(trainer: Trainer, records: Records, plan: Plan, seed: int) -> Reading:
    """Have a model trained and read it."""
    return Reading(plan, trainer.train(*records, plan, seed), records[0].shape[1])


def canaries(m: int) -> Records:
    """`m` canaries, all of class 0."""
    x = np.zeros((m, _FIRST + m))
    x[np.arange(m), _FIRST + np.arange(m)] = _CANARY_VALUE
    return x, np.zeros(m, dtype=np.int64)


def with_ordinary(records: Records, n: int, rng: np.random.Generator) -> Records:
    """Append `n` ordinary records of two classes that overlap a little."""
    x, y = records
    labels = np.arange(n) % 2
    ordinary = np.zeros((n, x.shape[1]))
    ordinary[:, :_ORDINARY] = rng.normal(size=(n, _ORDINARY)) + (2 * labels - 1)[:, np.newaxis]
    return np.vstack([x, ordinary]), np.concatenate([y, labels])


def neighbours() -> tuple[Records, Records]:
    """Eight records that are easily fitted, and the same with one more that contradicts them."""
    x = np.zeros((9, _FIRST))
    x[:8, 0] = np.repeat([3.0, -3.0], 4)
    x[8, 0] = 30.0
    y = np.repeat([0, 1], [4, 5])
    return (x[:8], y[:8]), (x, y)


def included(records: Records, coins: Bools) -> Records:
    """The records whose coin says so."""
    return records[0][coins], records[1][coins]
