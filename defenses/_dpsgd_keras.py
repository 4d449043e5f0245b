"""DP-SGD for Keras recipes, by TensorFlow Privacy's `DPModel`; importing it imports TensorFlow.

Batches. The records of an epoch are shuffled and dealt into round(records / batch_size) batches whose sizes
differ by at most one, so each record is used exactly once an epoch and no short batch is left over. This is
not Poisson sampling, and the claim is made without amplification. Then small batches only add noise: the
larger the batch, the better the model at the same claim.

Noise. `DPModel` clips each record's gradient to `max_grad_norm`, takes the mean over the batch and adds
Gaussian noise of standard deviation noise_multiplier x max_grad_norm / (size of this batch). Against what one
record can change, the noise is the same in every batch, whatever its size.

Randomness. TensorFlow Privacy draws its noise from TensorFlow's global generator, whose state can be set but
not put back. `train` sets it: a program around it that relies on that generator has to seed it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..harness.errors import UsageError
from ..harness.protocols import Model, Trained
from ..harness.seeds import derive, generator
from ..harness.types import DPMechanism, Ints, ObservedSampling, TrainingData

try:
    import tensorflow as tf
    from tensorflow_privacy.privacy.fast_gradient_clipping.layer_registry import make_default_layer_registry
    from tensorflow_privacy.privacy.keras_models.dp_keras_model import DPModel
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


def train(recipe: KerasRecipe, data: TrainingData, rows: Ints, seed: int, settings: DPSGD) -> Trained:
    """Train one model; its mechanism holds the steps that the optimiser really took.

    A batch size beyond the number of records means that every record joins every batch.
    """
    recipe = settings.applied_to(recipe)
    batches = max(1, round(len(rows) / recipe.batch_size))
    planned = ObservedSampling("shuffled", 1 / batches, recipe.epochs * batches, float(recipe.epochs))
    multiplier = settings.noise_for(planned)
    uses = np.zeros(len(rows), dtype=np.int64)
    steps = 0

    def loop(network: tf.keras.Model, x: tf.Tensor, y: tf.Tensor) -> None:
        nonlocal steps
        tf.random.set_seed(derive(seed, "noise"))
        private = _private(network, settings.max_grad_norm, multiplier)

        def step(batch: tf.Tensor) -> None:
            private.train_step((tf.gather(x, batch), tf.gather(y, batch)))

        compiled = tf.function(step, input_signature=[tf.TensorSpec([None], tf.int64)], autograph=False)
        for batch in shuffled_batches(len(y), batches, recipe.epochs, generator(seed, "shuffle")):
            compiled(tf.constant(batch))
            uses[batch] += 1
        steps = int(private.optimizer.iterations)

    model = recipe.fit_by(loop, data, rows, seed)
    observed = ObservedSampling("shuffled", 1 / batches, steps, float(uses.max()))
    mechanism = DPMechanism(multiplier, settings.max_grad_norm, observed, settings.target_delta)
    return Trained(model, mechanism)


def shuffled_batches(records: int, batches: int, epochs: int, rng: np.random.Generator) -> Iterator[Ints]:
    """Yield the indices of `batches` batches an epoch, each record in exactly one of them."""
    for _ in range(epochs):
        yield from np.array_split(rng.permutation(records), batches)


def _private(network: tf.keras.Model, max_grad_norm: float, multiplier: float) -> DPModel:
    """`DPModel` over the very layers of `network`, so that training it trains the network."""
    private = DPModel(
        l2_norm_clip=max_grad_norm,
        noise_multiplier=multiplier,
        use_xla=False,
        layer_registry=make_default_layer_registry(),  # clips without building each record's gradient
        inputs=network.inputs,
        outputs=network.outputs,
    )
    private.compile(network.optimizer, network.loss)
    return private
