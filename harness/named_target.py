"""A model that somebody else trained as an experiment names it, and what it is recognised by."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from .pool import CandidateSpec
from .protocols import Released
from .types import Dataset, Identity, sha256_of

CHECKED = 16
"""Records by whose answers a model is recognised: 32 queries of a run that are in no count but the model's own."""

_TELLING = 4
"""Of them, answers with more than one possible class, by which a model is told from one that was trained again."""


@dataclass(frozen=True)
class Likeness:
    """How a released model answered when it was opened.

    Attributes:
        digest: of a few answers, rounded; empty where they were not asked for, or differed.
        telling: whether a model that was trained again would hardly have the same digest.
        steady: whether it gave the same answers twice.
    """

    digest: str = ""
    telling: bool = False
    steady: bool = True


@dataclass(frozen=True, eq=False)
class NamedTarget:
    """A released model as an experiment names it, opened.

    Attributes:
        id: its name in the experiment.
        where: the file and the key under which it stands there; in front of errors about it.
        identity: its component.
        released: what was found.
        spec: candidate; recipe and defence are those of references that this run trains.
        trains_references: whether it does.
        likeness: what it is recognised by, where no digest covers its answers.
        without_features: whether its records have none, so that controls see labels only.
        repeats: how often it is asked about each record: as often as the attack that asks most.
    """

    id: str
    where: str
    identity: Identity
    released: Released
    spec: CandidateSpec
    trains_references: bool
    likeness: Likeness = field(default_factory=Likeness)
    without_features: bool = False
    repeats: int = 1

    @property
    def recognised(self) -> bool:
        """Whether answers of a finished run are surely its own."""
        return bool(self.released.sha256) or self.likeness.telling


def likeness_of(released: Released, dataset: Dataset) -> Likeness:
    """What `CHECKED` records from all over the data, asked about twice, tell. One whose digest is known is not asked.

    Labels tell little: models of one recipe, trained on other halves, mostly agree about sixteen records. So do
    probabilities that are all 0 or 1.
    """
    if released.sha256:
        return Likeness()
    rows = np.linspace(0, len(dataset) - 1, CHECKED).astype(np.int64)
    first, second = (released.model.predict(dataset.x[rows]) for _ in range(2))
    if not np.allclose(first, second, atol=1e-4):
        return Likeness(steady=False)
    rounded = np.round(first, 3)
    return Likeness(sha256_of(rounded), telling=bool((rounded.max(axis=1) < 1).sum() >= _TELLING))
