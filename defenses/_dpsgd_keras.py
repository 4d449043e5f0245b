"""DP-SGD for Keras recipes over Poisson batches, by TensorFlow Privacy; importing it imports TensorFlow.

Batches. At every step each record joins by its own coin, so batches differ in size and may be empty; an empty one is
a step too. TensorFlow Privacy's own `DPModel` divides by the size that was drawn, which depends on the data, and
scales its noise alike; so its parts are used here and the sum is divided by the expected size.

Noise. Gaussian, from a generator of its own seeded with the model's seed, added to the sum of every step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..harness.accounting import observed_poisson
from ..harness.errors import UsageError
from ..harness.protocols import Model, Trained
from ..harness.seeds import derive, generator
from ..harness.types import DPMechanism, Ints, ObservedSampling, TrainingData

try:
    import tensorflow as tf
    from tensorflow_privacy.privacy.analysis.compute_dp_sgd_privacy_lib import compute_dp_sgd_privacy_statement

    from ._clipping_keras import check_network, clipped_sums, gradients_of
except ImportError as error:
    raise UsageError(
        f"DP-SGD on Keras needs TensorFlow Privacy ({error}): install it with pip install 'privassay[keras]'"
    ) from error

if TYPE_CHECKING:
    from .dp_sgd import DPSGD


class KerasRecipe(Protocol):
    """What this half needs of a Keras recipe."""

    @property
    def epochs(self) -> int: ...

    @property
    def batch_size(self) -> int: ...

    def fit_by(
        self,
        loop: Callable[[tf.keras.Model, tf.Tensor, tf.Tensor], None],
        data: TrainingData,
        rows: Ints,
        seed: int,
    ) -> Model:
        """Build and compile the network, let `loop` train it in place, return the model."""


@dataclass(frozen=True)
class Noise:
    """How gradients are privatised.

    Attributes:
        multiplier: standard deviation of the noise over `max_grad_norm`; 0 adds none.
        max_grad_norm: L2 norm to which each record's gradient is clipped.
        expected_batch_size: divisor of the noisy sum; never the actual size, which depends on the data.
        generator: source of the noise.
    """

    multiplier: float
    max_grad_norm: float
    expected_batch_size: float
    generator: tf.random.Generator


def train(recipe: KerasRecipe, data: TrainingData, rows: Ints, seed: int, settings: DPSGD) -> Trained:
    """Train one model; its mechanism holds the steps that the optimiser really took.

    A batch size beyond the number of records means that every record joins every batch.

    Raises:
        NotApplicable: the network can bound no record's part; the message says why.
    """
    recipe = settings.applied_to(recipe)
    rate = min(1.0, recipe.batch_size / len(rows))
    steps = math.ceil(recipe.epochs / rate)
    multiplier = settings.noise_for(ObservedSampling("poisson", rate, steps, steps * rate))
    sizes: list[int] = []
    taken = 0

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        nonlocal taken
        source = tf.random.Generator.from_seed(derive(seed, "noise"), alg="philox")
        noise = Noise(multiplier, settings.max_grad_norm, rate * len(y), source)
        batches = poisson_batches(len(y), rate, steps, generator(seed, "batches"))
        taken += private_descent(network, noise, x, y, _counted(batches, sizes))

    model = recipe.fit_by(loop, data, rows, seed)
    observed = observed_poisson(rate, taken, len(rows), sum(sizes))
    statement = library_statement(
        len(rows), min(recipe.batch_size, len(rows)), taken, multiplier, settings.target_delta
    )
    mechanism = DPMechanism(multiplier, settings.max_grad_norm, observed, settings.target_delta, statement=statement)
    return Trained(model, mechanism)


def check(recipe: KerasRecipe, few: TrainingData) -> None:
    """Build a network, ask of it what `train` asks, and throw it away.

    Raises:
        NotApplicable: as `train`.
    """

    def loop(network: tf.keras.Model, x: tf.Tensor, _: tf.Tensor) -> None:
        check_network(network, tuple(x.shape[1:]))

    recipe.fit_by(loop, few, np.arange(len(few.y)), seed=0)


def poisson_batches(records: int, rate: float, steps: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield `steps` batches; each of `records` joins each batch by its own coin, so some are empty."""
    for _ in range(steps):
        yield np.flatnonzero(rng.random(records) < rate)


def _counted(batches: Iterable[Ints], sizes: list[int]) -> Iterator[Ints]:
    """The same batches; their sizes are added to `sizes` as they are used."""
    for batch in batches:
        sizes.append(len(batch))
        yield batch


@lru_cache(maxsize=64)
def library_statement(records: int, batch_size: int, steps: int, multiplier: float, delta: float) -> str:
    """TensorFlow Privacy's own words on a run of Poisson batches; empty where it cannot compute an epsilon."""
    rate = batch_size / records
    epochs = steps * rate
    # It rounds epochs / rate up to steps: a product that came out a hair too large would add one.
    epochs = epochs if math.ceil(epochs / rate) == steps else math.nextafter(epochs, 0)
    try:
        statement: str = compute_dp_sgd_privacy_statement(
            records, batch_size, epochs, multiplier, delta, used_microbatching=False
        )
    except (OverflowError, ValueError):  # noise beyond what its accountant's floating point holds
        return ""
    return statement


def private_descent(network: tf.keras.Model, noise: Noise, x: tf.Tensor, y: tf.Tensor, batches: Iterable[Ints]) -> int:
    """Train `network` in place on `batches` of (x, y); return the steps its optimiser took, empty ones included.

    Penalties on weights are added after the noise, since they see no record.

    Raises:
        NotApplicable: the network can bound no record's part; the message says why.
    """
    check_network(network, tuple(x.shape[1:]))
    weights = network.trainable_variables
    clipped = clipped_sums(network, noise.max_grad_norm, tuple(x.shape[1:]))
    deviation = noise.multiplier * noise.max_grad_norm

    def descend(sums: list[tf.Tensor]) -> None:
        noisy = [
            (total + noise.generator.normal(weight.shape, stddev=deviation)) / noise.expected_batch_size
            for total, weight in zip(sums, weights, strict=True)
        ]
        gradients = [a + b for a, b in zip(noisy, _penalty_gradients(network), strict=True)]
        network.optimizer.apply_gradients(zip(gradients, weights, strict=True))

    def step(batch: tf.Tensor) -> None:
        descend(clipped(tf.gather(x, batch), tf.gather(y, batch)))

    def empty_step() -> None:  # many layers cannot take a batch of no records
        descend([tf.zeros(weight.shape) for weight in weights])

    # Concrete at once: TensorFlow would remark on every model having functions of its own.
    step = tf.function(step, autograph=False).get_concrete_function(tf.TensorSpec([None], tf.int64))
    empty_step = tf.function(empty_step, autograph=False).get_concrete_function()
    before = int(network.optimizer.iterations)
    for batch in batches:
        step(tf.constant(batch)) if len(batch) else empty_step()
    return int(network.optimizer.iterations) - before


def _penalty_gradients(network: tf.keras.Model) -> list[tf.Tensor]:
    with tf.GradientTape() as tape:
        penalty = tf.add_n(network.losses or [tf.constant(0.0)])
    return gradients_of(tape, penalty, network.trainable_variables)
