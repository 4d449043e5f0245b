"""Signals of membership of single records (numpy only). Higher = more like a member unless said.

Temperatures and differences are taken on logits. The logarithms of probabilities are logits, up to a number for each
record that no signal depends on, so an attacker who sees probabilities loses nothing.
"""

from __future__ import annotations

import numpy as np

from ...harness.types import Float64, Floats, Ints

_SMALLEST = 1e-300  # keeps logarithms finite; float64 softmax reaches it at a margin of about 690


def log_probabilities(probabilities: Floats) -> Float64:
    """Logarithms of probabilities (n, classes), finite: logits as good as the model's own."""
    return np.asarray(np.log(np.maximum(probabilities, _SMALLEST)))


def log_loss(probabilities: Float64, labels: Ints) -> Float64:
    """Cross-entropy -ln p_y: float64 (n,) from (n, classes) and (n,). LOWER = more like a member."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(chosen, _SMALLEST)))


def lira_logit(logits: Floats, labels: Ints) -> Float64:
    """Logit-scaled confidence z_y - ln sum of exp of the other logits (Carlini et al. 2022, section IV.C).

    Equal to ln(p_y / (1 - p_y)) and free of its saturation: computed from probabilities, 1 - p_y is exactly 0 from a
    margin of about 37 in float64.

    Args:
        logits: (n, classes), any floating type; computed in float64.
        labels: int (n,).

    Returns:
        float64 (n,).

    >>> import numpy as np
    >>> round(float(lira_logit(np.log([[0.7, 0.2, 0.1]]), np.array([0]))[0]), 6)
    0.847298
    """
    rows = np.arange(len(labels))
    others = logits.astype(np.float64)
    chosen = others[rows, labels].copy()
    others[rows, labels] = -np.inf
    largest = others.max(axis=1)
    others -= largest[:, np.newaxis]
    return np.asarray(chosen - largest - np.log(np.exp(others, out=others).sum(axis=1)))


def confidence_logit(probabilities: Float64, labels: Ints) -> Float64:
    """The LiRA logit of answered probabilities (n, classes): float64 (n,). See `lira_logit`."""
    return lira_logit(log_probabilities(probabilities), labels)
