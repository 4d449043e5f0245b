"""A small correct DP-SGD trainer in numpy, whose steps the broken ones replace one at a time.

A trainer is what its owner would hand over for an audit: it trains on any records by any plan and releases the model
with all intermediate ones, and it states a claim. Nothing else of it is seen by the auditor.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ....harness.accounting import dp_sgd_claim
from ....harness.claim_check import StatedClaim
from ....harness.seeds import generator
from ....harness.types import DPMechanism, Float64, Ints, ObservedSampling
from .network import Network


@dataclass(frozen=True)
class Plan:
    """Settings of a run, all public.

    Attributes:
        noise_multiplier: standard deviation of the noise over the clipping norm.
        max_grad_norm: L2 norm to which each record's gradient is to be clipped.
        sample_rate: probability with which each record is to join each batch.
        steps: optimiser steps.
        records: how many records are expected; fixed before they are known.
        learning_rate: step size on the noisy mean gradient.
        momentum: 0 or more and below 1.
        delta: the delta of the claim.
    """

    noise_multiplier: float
    max_grad_norm: float
    sample_rate: float
    steps: int
    records: int
    learning_rate: float
    momentum: float
    delta: float

    @property
    def expected_batch(self) -> float:
        """Divisor of the noisy sum; never the actual size, which depends on the data."""
        return self.sample_rate * self.records


@dataclass(frozen=True, eq=False)
class Release:
    """What a run gives away.

    Attributes:
        start: initial parameters, float64 (size,).
        path: parameters after each step, float64 (steps, size).
        shift: subtracted from a record's features before the network sees them, float64 (features,).
        scale: divides them then, float64 (features,).
    """

    start: Float64
    path: Float64
    shift: Float64
    scale: Float64

    @property
    def steps(self) -> int:
        """Steps that were taken."""
        return len(self.path)

    def losses(self, x: Float64, y: Ints) -> Float64:
        """Loss of the final model on records in their raw form: float64 (n,)."""
        return Network(x.shape[1]).losses(self.path[-1], (x - self.shift) / self.scale, y)


class Trainer:
    """DP-SGD (Abadi et al. 2016, arXiv:1607.00133, algorithm 1) with Poisson batches, as it should be."""

    name: ClassVar[str] = "reference"
    fault: ClassVar[str | None] = None

    def adapted(self, plan: Plan) -> Plan:
        """The plan as this owner runs it: settings that do not enter the claim may be the owner's own."""
        return plan

    def train(self, x: Float64, y: Ints, plan: Plan, seed: int) -> Release:
        """Train on records x (n, features), y (n,)."""
        network = Network(x.shape[1])
        shift, scale = self.normaliser(x)
        z = (x - shift) / scale
        start = theta = network.start(seed)
        velocity, path = np.zeros(network.size), []
        noises = self.noises(network, plan, seed)
        for batch, noise in zip(self.batches(len(y), plan, generator(seed, "batches")), noises, strict=False):
            total = self.clipped_sum(network, network.gradients(theta, z[batch], y[batch]), plan)
            velocity = plan.momentum * velocity + (total + noise) / plan.expected_batch
            theta = theta - plan.learning_rate * velocity
            path.append(theta)
            if self.stops(network.losses(theta, z, y)):
                break
        return Release(start, np.array(path), shift, scale)

    def normaliser(self, x: Float64) -> tuple[Float64, Float64]:
        """Shift and scale of the features: fixed in advance, here none."""
        return np.zeros(x.shape[1]), np.ones(x.shape[1])

    def batches(self, n: int, plan: Plan, rng: np.random.Generator) -> Iterator[Ints]:
        """Yield the records of each step: every record by its own coin."""
        for _ in range(plan.steps):
            yield np.flatnonzero(rng.random(n) < plan.sample_rate)

    def clipped_sum(self, network: Network, gradients: Float64, plan: Plan) -> Float64:  # noqa: ARG002
        """Sum of the gradients (b, size), each clipped as a whole."""
        return np.asarray(clip_factors(gradients, plan.max_grad_norm) @ gradients)

    def noises(self, network: Network, plan: Plan, seed: int) -> Iterator[Float64]:
        """Yield the noise of each step, float64 (network.size,), without end."""
        rng = generator(seed, "noise")
        while True:
            yield plan.noise_multiplier * plan.max_grad_norm * rng.normal(size=network.size)

    def stops(self, losses: Float64) -> bool:  # noqa: ARG002
        """Whether to stop after this step, given the members' losses, which a correct trainer leaves alone."""
        return False

    def state(self, plan: Plan, steps: int) -> StatedClaim:
        """The claim for a run of `steps` steps."""
        return stated(plan, steps, epsilon_of(plan, steps, plan.delta))


class MomentumTrainer(Trainer):
    """The same with momentum and a clip of its own, which are the owner's to choose."""

    name = "reference, momentum 0.9, other clip"

    def adapted(self, plan: Plan) -> Plan:
        """With momentum and a quarter of the clip."""
        return dataclasses.replace(plan, momentum=0.9, max_grad_norm=plan.max_grad_norm / 4)


def clip_factors(gradients: Float64, limit: float) -> Float64:
    """What each row of (b, k) must be multiplied by to have L2 norm at most `limit`: float64 (b,)."""
    norms = np.sqrt(np.einsum("bk,bk->b", gradients, gradients))
    return np.asarray(np.minimum(1.0, limit / np.maximum(norms, np.finfo(np.float64).tiny)))


def epsilon_of(plan: Plan, steps: int, delta: float) -> float:
    """What the accountant says of `steps` steps of Poisson batches."""
    sampling = ObservedSampling("poisson", plan.sample_rate, steps, steps * plan.sample_rate)
    return dp_sgd_claim(DPMechanism(plan.noise_multiplier, plan.max_grad_norm, sampling, delta)).epsilon


def stated(plan: Plan, steps: int, epsilon: float) -> StatedClaim:
    """`epsilon` at the plan's delta, for `steps` steps of Poisson batches."""
    return StatedClaim(
        epsilon=epsilon,
        delta=plan.delta,
        sampler="poisson",
        sample_rate=plan.sample_rate,
        steps=steps,
        noise_multiplier=plan.noise_multiplier,
        max_grad_norm=plan.max_grad_norm,
        neighbouring="add_or_remove_one",
        accountant="pld",
        records=plan.records,
    )
