"""The network that all trainers of the bench train: two layers, tanh between them, in plain numpy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....harness.seeds import generator
from ....harness.types import Float64, Ints

_INPUT_SCALE = 0.01  # small, so that a record far from zero does not saturate the hidden units


@dataclass(frozen=True)
class Network:
    """A perceptron whose parameters are one flat vector: float64 (size,).

    Order: input weights (features, hidden), input biases, output weights (hidden, classes), output biases. The first
    `hidden` parameters therefore belong to feature 0 alone, the next to feature 1, and so on.
    """

    features: int
    hidden: int = 4
    classes: int = 2

    @property
    def layers(self) -> dict[str, slice]:
        """Where the parameters of each layer stand in the flat vector."""
        sizes = {
            "input weights": self.features * self.hidden,
            "input biases": self.hidden,
            "output weights": self.hidden * self.classes,
            "output biases": self.classes,
        }
        ends = np.cumsum(list(sizes.values())).tolist()
        return {name: slice(end - size, end) for (name, size), end in zip(sizes.items(), ends, strict=True)}

    @property
    def size(self) -> int:
        """Number of parameters."""
        return int(self.layers["output biases"].stop)

    def start(self, seed: int) -> Float64:
        """Initial parameters: input weights near zero, output weights of order one, biases zero."""
        rng, theta = generator(seed, "start"), np.zeros(self.size)
        for name, scale in (("input weights", _INPUT_SCALE), ("output weights", 1.0)):
            part = self.layers[name]
            theta[part] = scale * rng.normal(size=part.stop - part.start)
        return theta

    def matrices(self, theta: Float64) -> list[Float64]:
        """Input weights (features, hidden), input biases, output weights (hidden, classes), output biases."""
        parts = [theta[part] for part in self.layers.values()]
        parts[0] = parts[0].reshape(self.features, self.hidden)
        parts[2] = parts[2].reshape(self.hidden, self.classes)
        return parts

    def losses(self, theta: Float64, x: Float64, y: Ints) -> Float64:
        """Cross-entropy of each record: float64 (n,)."""
        _, log_p = self._forward(theta, x)
        return np.asarray(-log_p[np.arange(len(y)), y])

    def gradients(self, theta: Float64, x: Float64, y: Ints) -> Float64:
        """Gradient of each record's loss: float64 (n, size)."""
        hidden, log_p = self._forward(theta, x)
        outer = np.exp(log_p)
        outer[np.arange(len(y)), y] -= 1
        inner = (outer @ self.matrices(theta)[2].T) * (1 - hidden**2)
        return np.hstack([_outer(x, inner), inner, _outer(hidden, outer), outer])

    def _forward(self, theta: Float64, x: Float64) -> tuple[Float64, Float64]:
        """Hidden units (n, hidden) and log-probabilities (n, classes)."""
        into, into_bias, out, out_bias = self.matrices(theta)
        hidden = np.tanh(x @ into + into_bias)
        logits = hidden @ out + out_bias
        return hidden, logits - np.logaddexp.reduce(logits, axis=1, keepdims=True)


def _outer(a: Float64, b: Float64) -> Float64:
    """Outer products of rows (n, i) and (n, j): float64 (n, i j); n may be 0."""
    return np.asarray((a[:, :, np.newaxis] * b[:, np.newaxis, :]).reshape(len(a), a.shape[1] * b.shape[1]))
