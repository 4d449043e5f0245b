"""A pool whose trainings are counted in a file, for tests with several processes; nothing heavy is imported."""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from privassay.defenses.none import NoDefense
from privassay.harness import training as harness_training
from privassay.harness.pool import CandidateSpec
from privassay.harness.splits import paired_halves
from privassay.harness.store import Store
from privassay.harness.training import train_pool
from privassay.harness.types import Dataset, Identity


@dataclass(frozen=True)
class Linear:
    """Random weights: a stand-in for a trained model."""

    weights: np.ndarray

    def logits(self, x):
        return x @ self.weights

    def save(self, folder):
        np.save(folder / "weights.npy", self.weights)


@dataclass(frozen=True)
class Counting:
    """Appends the seed of each model to the file `log` when its training begins."""

    framework: ClassVar[str] = "numpy"
    log: Path
    seconds: float = 0.01

    def fit(self, data, rows, seed):
        descriptor = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{seed}\n".encode())
        os.close(descriptor)
        time.sleep(self.seconds)
        shape = (data.x.shape[1], data.n_classes)
        return Linear(np.random.default_rng(seed).normal(size=shape).astype(np.float32))

    def load(self, folder, shape, n_classes):
        return Linear(np.load(folder / "weights.npy"))


def data(models):
    rng = np.random.default_rng(0)
    y = np.arange(400) % 3
    x = rng.random((400, 6), dtype=np.float32)
    dataset = Dataset(name="noise", x=x, y=y, n_classes=3, bounds=(0.0, 1.0), public=True, licence="none")
    return dataset, paired_halves(dataset, models, 100, seed=0)


def train(root, log, models, block, observe=lambda event: None):
    """Train the pool in the store at `root`, `block` models at a time."""
    harness_training.BLOCK = block
    spec = CandidateSpec(
        "linear", "none", Counting(log), Identity("counting", {}, "0"), NoDefense(), Identity("none", {}, "0")
    )
    return train_pool(spec, data(models), Store(root), 0, observe)


def trained(log):
    """Seeds of the models whose training began, in order."""
    return log.read_text().split() if log.exists() else []
