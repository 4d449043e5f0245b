"""Broken DP-SGD trainers: each replaces one step of the correct one by a mistake that has been made in practice."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from itertools import repeat

import numpy as np

from ....harness.claim_check import StatedClaim
from ....harness.seeds import derive
from ....harness.types import Float64, Ints
from .network import Network
from .opacus_trainer import OpacusTrainer
from .trainers import MomentumTrainer, Plan, Release, Trainer, clip_factors, epsilon_of, stated

_STOP_BELOW = 0.3
_RUNS = 5
_MINUTES_OF_A_DAY = 1440


class NoNoise(Trainer):
    """Clips, and forgets the noise."""

    name, fault = "no noise", "noise multiplier 0 in the code"

    def noises(self, network: Network, plan: Plan, seed: int) -> Iterator[Float64]:  # noqa: ARG002
        """Zeros."""
        return repeat(np.zeros(network.size))


class HalfNoise(Trainer):
    """Loses a factor of two between two definitions of sensitivity."""

    name, fault = "noise halved", "half of the stated deviation"

    def noises(self, network: Network, plan: Plan, seed: int) -> Iterator[Float64]:
        """Half of what the claim needs."""
        return (noise / 2 for noise in super().noises(network, plan, seed))


class NoiseWithoutClip(Trainer):
    """Takes the noise multiplier for the deviation."""

    name, fault = "noise not scaled by the clip", "deviation is the multiplier alone"

    def noises(self, network: Network, plan: Plan, seed: int) -> Iterator[Float64]:
        """As if gradients were clipped to norm 1."""
        return super().noises(network, dataclasses.replace(plan, max_grad_norm=1.0), seed)


class NoiseForgotten(Trainer):
    """Adds noise to a list of parameters that is older than the output weights."""

    name, fault = "noise forgotten on one layer", "none on the output weights"

    def noises(self, network: Network, plan: Plan, seed: int) -> Iterator[Float64]:
        """Zeros there."""
        for noise in super().noises(network, plan, seed):
            noise[network.layers["output weights"]] = 0
            yield noise


class ClipPerBatch(Trainer):
    """Clips the mean gradient, as `clip_grad_norm_` does after an ordinary backward pass."""

    name, fault = "clipping per batch", "the mean gradient is clipped, not each record's"

    def clipped_sum(self, network: Network, gradients: Float64, plan: Plan) -> Float64:  # noqa: ARG002
        """Mean of the raw gradients, clipped, times the batch size."""
        mean = gradients.sum(axis=0, keepdims=True) / plan.expected_batch
        return np.asarray(clip_factors(mean, plan.max_grad_norm) @ mean * plan.expected_batch)


class ClipForgotten(Trainer):
    """Leaves the output weights out of the clipping, as a new layer without per-record gradients would be."""

    name, fault = "clip forgotten on one layer", "output weights are not clipped"

    def clipped_sum(self, network: Network, gradients: Float64, plan: Plan) -> Float64:
        """Norm and clipping over all other layers."""
        missed = network.layers["output weights"]
        others = gradients.copy()
        others[:, missed] = 0
        total = clip_factors(others, plan.max_grad_norm) @ others
        total[missed] = gradients[:, missed].sum(axis=0)
        return np.asarray(total)


class NoiseReused(Trainer):
    """Draws the noise before the loop."""

    name, fault = "noise reused", "drawn once, the same at each step"

    def noises(self, network: Network, plan: Plan, seed: int) -> Iterator[Float64]:
        """One draw."""
        return repeat(next(super().noises(network, plan, seed)))


class FixedNoiseSeed(Trainer):
    """Leaves a seed for debugging in the code."""

    name, fault = "seed of the noise fixed", "the same noise in every run"

    def noises(self, network: Network, plan: Plan, seed: int) -> Iterator[Float64]:  # noqa: ARG002
        """Noise of seed 0."""
        return super().noises(network, plan, 0)


class FixedSizeBatches(Trainer):
    """Draws as many records for each step as it expects."""

    name, fault = "fixed-size batches", "sampling without replacement, claimed as Poisson"

    def batches(self, n: int, plan: Plan, rng: np.random.Generator) -> Iterator[Ints]:
        """Distinct records in each batch, independent between batches."""
        for _ in range(plan.steps):
            yield np.sort(rng.choice(n, round(plan.sample_rate * n), replace=False))


class ShuffledBatches(Trainer):
    """An ordinary shuffled loader."""

    name, fault = "shuffled batches", "each record once in a pass, claimed as Poisson"

    def batches(self, n: int, plan: Plan, rng: np.random.Generator) -> Iterator[Ints]:
        """Permutations, dealt into batches."""
        in_a_pass = round(1 / plan.sample_rate)
        for step in range(plan.steps):
            if step % in_a_pass == 0:
                dealt = np.array_split(rng.permutation(n), in_a_pass)
            yield dealt[step % in_a_pass]


class HalfOfTheSteps(Trainer):
    """Feeds the accountant half of the steps, as when two accumulated batches are counted as one."""

    name, fault = "accountant fed half of the steps", "epsilon of half of the steps"

    def state(self, plan: Plan, steps: int) -> StatedClaim:
        """The claim of a shorter run."""
        return super().state(plan, steps // 2)


class LargerDelta(Trainer):
    """Computes epsilon at one delta and prints another beside it."""

    name, fault = "delta larger than claimed", "epsilon computed at a thousand times the stated delta"

    def state(self, plan: Plan, steps: int) -> StatedClaim:
        """The right steps, the wrong delta."""
        return stated(plan, steps, epsilon_of(plan, steps, 1000 * plan.delta))


class MemberNormaliser(Trainer):
    """Standardises the features by mean and deviation of the training records and ships both with the model."""

    name, fault = "normalisation with member statistics", "exact mean and deviation of members"

    def normaliser(self, x: Float64) -> tuple[Float64, Float64]:
        """Mean and deviation; constant features are only shifted."""
        deviation = x.std(axis=0)
        return x.mean(axis=0), np.where(deviation > 0, deviation, 1.0)


class StopsOnMemberLoss(Trainer):
    """Stops when the exact mean loss of the members is low; the claim counts the steps taken, not the looks."""

    name, fault = "early stopping on member loss", "looks at exact losses, not accounted for"

    def stops(self, losses: Float64) -> bool:
        """Below a fixed loss."""
        return float(losses.mean()) < _STOP_BELOW


class BestOfSeveral(Trainer):
    """Trains five models, releases the one that fits its members best and claims for one."""

    name, fault = "best of five runs", "selection on member loss, claimed as one run"

    def train(self, x: Float64, y: Ints, plan: Plan, seed: int) -> Release:
        """The run with the least mean loss of members."""
        runs = [Trainer().train(x, y, plan, derive(seed, "run", number)) for number in range(_RUNS)]
        return min(runs, key=lambda run: float(run.losses(x, y).mean()))


class GuessableNoiseSeed(Trainer):
    """Seeds the noise by the minute of the day: 1440 seeds to try for whoever knows the code."""

    name, fault = "seed of the noise guessable", "one of 1440 seeds"

    def noises(self, network: Network, plan: Plan, seed: int) -> Iterator[Float64]:
        """Noise of a seed below 1440."""
        return super().noises(network, plan, seed % _MINUTES_OF_A_DAY)


BROKEN: tuple[type[Trainer], ...] = (
    NoNoise,
    HalfNoise,
    NoiseWithoutClip,
    NoiseForgotten,
    ClipPerBatch,
    ClipForgotten,
    NoiseReused,
    FixedNoiseSeed,
    FixedSizeBatches,
    ShuffledBatches,
    HalfOfTheSteps,
    LargerDelta,
    MemberNormaliser,
    StopsOnMemberLoss,
    BestOfSeveral,
    GuessableNoiseSeed,
)
CORRECT: tuple[type[Trainer], ...] = (Trainer, MomentumTrainer, OpacusTrainer)
