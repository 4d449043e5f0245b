"""Digits with members and public records, and small recipes, for defences that regularise."""

from functools import cache

import numpy as np
from privassay.experiments.digits import Digits
from privassay.harness.types import TrainingData
from privassay.models.torch_cnn import TorchCNN
from privassay.models.torch_mlp import TorchMLP

SMALL = TorchMLP(hidden=(32,), epochs=6, batch_size=32)
PICTURES = TorchCNN(channels=(4,), epochs=3, batch_size=32)  # its plain training is the loop by autograd itself


@cache
def digits() -> tuple[TrainingData, np.ndarray, np.ndarray]:
    """The data with 300 public records, 300 members and 600 others."""
    dataset = Digits().load()
    order = np.random.default_rng(0).permutation(len(dataset))
    data = TrainingData(dataset.x, dataset.y, dataset.n_classes, dataset.bounds, public=order[:300])
    return data, order[300:600], order[600:1200]


def one(defense, recipe, data, rows, seed=1):
    """The model that the defence trains."""
    (trained,) = defense.train(recipe, data, [rows], [seed])
    assert trained.mechanism is None
    return trained.model


def weights(model):
    """All parameters as one vector."""
    return np.concatenate([value.numpy().ravel() for value in model.module.state_dict().values()])


def losses(model, data, rows):
    """Cross-entropy of each record, float64."""
    logits = model.logits(data.x[rows]).astype(np.float64)
    return np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(rows)), data.y[rows]]


def softmax(logits):
    """Probabilities, float64."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)
