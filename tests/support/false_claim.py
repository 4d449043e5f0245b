"""A defence that lies: it trains plainly and reports noise that it never added."""

from dataclasses import dataclass
from typing import ClassVar

from privassay.harness.protocols import Trained
from privassay.harness.types import DPMechanism, ObservedSampling

SAMPLING = ObservedSampling("poisson", sample_rate=1.0, steps=1, epochs=1.0)


@dataclass(frozen=True)
class FalseClaim:
    """Claims what one Gaussian mechanism with this noise multiplier promises: about epsilon 1 by default."""

    guarantee: ClassVar[str] = "formal"

    noise_multiplier: float = 3.73
    delta: float = 1e-5

    def supports(self, recipe, records):
        return None

    def training_parameters(self):
        return {"noise_multiplier": self.noise_multiplier, "delta": self.delta}

    def train(self, recipe, data, rows, seeds):
        for own, seed in zip(rows, seeds, strict=True):
            yield Trained(recipe.fit(data, own, seed), DPMechanism(self.noise_multiplier, 1.0, SAMPLING, self.delta))

    def release(self, probabilities, rng):
        return probabilities
