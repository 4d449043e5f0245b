"""Per-record signals of membership, from probabilities (numpy only). Higher = more like a member unless said."""

from __future__ import annotations

import numpy as np

from ...harness.types import Float64, Ints

_SMALLEST = 1e-300  # keeps logarithms finite; float64 softmax reaches it at a margin of about 690


def log_loss(probabilities: Float64, labels: Ints) -> Float64:
    """Cross-entropy -ln p_y: float64 (n,) from (n, classes) and (n,). LOWER = more like a member."""
    chosen = probabilities[np.arange(len(labels)), labels]
    return np.asarray(-np.log(np.maximum(chosen, _SMALLEST)))


def lira_logit(probabilities: Float64, labels: Ints) -> Float64:
    """Ln p_y - ln sum of the other probabilities: float64 (n,) (Carlini et al. 2022, section IV.C).

    Summing the other classes instead of computing 1 - p_y keeps confident records apart: 1 - p_y is exactly 0 from
    a margin of about 37 in float64.

    >>> import numpy as np
    >>> round(float(lira_logit(np.array([[0.7, 0.2, 0.1]]), np.array([0]))[0]), 6)
    0.847298
    """
    rows = np.arange(len(labels))
    others = probabilities.copy()
    others[rows, labels] = 0.0
    chosen = np.maximum(probabilities[rows, labels], _SMALLEST)
    return np.asarray(np.log(chosen) - np.log(np.maximum(others.sum(axis=1), _SMALLEST)))
