"""Signals of membership of single records (numpy only). Higher = more like a member unless said.

Temperatures and differences are taken on logits. The logarithms of probabilities are logits, up to a number for each
record that no signal depends on, so an attacker who sees probabilities loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ...harness.checks import positive
from ...harness.errors import UsageError
from ...harness.types import Float64, Floats, Ints

_SMALLEST = 1e-300  # keeps logarithms finite; float64 softmax reaches it at a margin of about 690
_CLIP = 1e-30  # of Song and Mittal's released code


def log_probabilities(probabilities: Floats) -> Float64:
    """Logarithms of probabilities (n, classes), finite: logits as good as the model's own."""
    return np.asarray(np.log(np.maximum(probabilities.astype(np.float64), _SMALLEST)))


def log_loss(probabilities: Floats, labels: Ints) -> Float64:
    """Cross-entropy -ln p_y: float64 (n,) from (n, classes) and (n,). LOWER = more like a member."""
    chosen = _of_label(probabilities, labels).astype(np.float64)
    return np.asarray(-np.log(np.maximum(chosen, _SMALLEST)))


def log_confidence(logits: Floats, labels: Ints, temperature: float = 1.0) -> Float64:
    """Log softmax(logits / temperature) of the true label, without underflow.

    Args:
        logits: (n, classes), any floating type, finite; computed in float64.
        labels: int (n,).
        temperature: > 0; 2 spreads confident records apart and is the default of RMIA.

    Returns:
        float64 (n,), at most 0.

    >>> import numpy as np
    >>> round(float(log_confidence(np.array([[5.0, 1.0, -2.0]]), np.array([0]), 2.0)[0]), 6)
    -0.153178
    """
    scaled = logits.astype(np.float64) / temperature
    scaled -= scaled.max(axis=1, keepdims=True)
    chosen = _of_label(scaled, labels)  # indexing copies, so that `scaled` may be overwritten
    return np.asarray(chosen - np.log(np.exp(scaled, out=scaled).sum(axis=1)))


def lira_logit(logits: Floats, labels: Ints) -> Float64:
    """Logit-scaled confidence z_y - ln sum of exp of the other logits (Carlini et al. 2022, section IV.C).

    Equal to ln(p_y / (1 - p_y)) and free of its saturation: computed from probabilities, 1 - p_y is exactly 0 from a
    margin of about 37 in float64.

    Args:
        logits: (n, classes), any floating type, finite; computed in float64.
        labels: int (n,).

    Returns:
        float64 (n,).

    >>> import numpy as np
    >>> round(float(lira_logit(np.log([[0.7, 0.2, 0.1]]), np.array([0]))[0]), 6)
    0.847298
    """
    chosen, others = _apart(logits, labels)
    largest = others.max(axis=1)
    others -= largest[:, np.newaxis]
    return np.asarray(chosen - largest - np.log(np.exp(others, out=others).sum(axis=1)))


def hinge(logits: Floats, labels: Ints) -> Float64:
    """Margin z_y - the largest other logit: float64 (n,) from finite logits (n, classes) and labels (n,).

    The score that Aerni et al. 2024 use beside the LiRA logit, for defences that distort the loss. Above 0 exactly when
    the answer is right and no tie.

    >>> import numpy as np
    >>> hinge(np.array([[5.0, 1.0, -2.0]]), np.array([1])).tolist()
    [-4.0]
    """
    chosen, others = _apart(logits, labels)
    return np.asarray(chosen - others.max(axis=1))


def entropy(probabilities: Floats) -> Float64:
    """Entropy -sum p ln p of the answer: float64 (n,) from (n, classes). LOWER = more like a member.

    Song and Mittal 2021, "Systematic evaluation of privacy risks of machine learning models". It does not
    use the label, so a record answered wrongly and surely looks like a member; see `modified_entropy`.
    """
    p = probabilities.astype(np.float64)
    return np.asarray(-(p * np.log(np.maximum(p, _CLIP))).sum(axis=1))


def modified_entropy(probabilities: Floats, labels: Ints) -> Float64:
    """-(1 - p_y) ln p_y - sum over the other classes of p_c ln(1 - p_c): float64 (n,). LOWER = more like a member.

    Modified entropy of Song and Mittal 2021: 0 for a sure right answer, large for a sure wrong one. As in their code,
    logarithms are taken of at least 1e-30.

    >>> import numpy as np
    >>> round(float(modified_entropy(np.array([[0.7, 0.2, 0.1]]), np.array([0]))[0]), 6)
    0.162167
    """
    p = probabilities.astype(np.float64)
    chosen = _of_label(p, labels)
    terms = p * np.log(np.maximum(1 - p, _CLIP))
    others = terms.sum(axis=1) - _of_label(terms, labels)
    return np.asarray(-(1 - chosen) * np.log(np.maximum(chosen, _CLIP)) - others)


def confidence_logit(probabilities: Floats, labels: Ints) -> Float64:
    """The LiRA logit of answered probabilities (n, classes): float64 (n,). See `lira_logit`."""
    return lira_logit(log_probabilities(probabilities), labels)


@dataclass(frozen=True)
class LogConfidence:
    """`log_confidence` of answered probabilities at one temperature.

    A function that compares equal to another of the same temperature, so that references measure it only once.

    Attributes:
        temperature: > 0.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        positive(temperature=self.temperature)

    def __call__(self, probabilities: Floats, labels: Ints) -> Float64:
        """Log confidence float64 (n,), at most 0, of probabilities (n, classes) in labels (n,)."""
        return log_confidence(log_probabilities(probabilities), labels, self.temperature)


def _of_label(values: Floats, labels: Ints) -> Floats:
    """Copy of each record's value (n,) in the column of its label."""
    if values.ndim != 2 or labels.shape != values.shape[:1]:
        raise UsageError(f"{values.shape} answers and {labels.shape} labels: must be (n, classes) and (n,)")
    return np.asarray(values[np.arange(len(labels)), labels])


def _apart(logits: Floats, labels: Ints) -> tuple[Float64, Float64]:
    """Logits of the labels (n,), and all logits (n, classes) with those of the labels at -infinity, as copies."""
    chosen = _of_label(logits, labels).astype(np.float64)
    others = logits.astype(np.float64)
    others[np.arange(len(labels)), labels] = -np.inf
    return chosen, others
