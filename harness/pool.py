"""The pool of models behind a candidate, as attacks and metrics ask it: answers, gradients, claims.

Models that this run trained (`training.py`) and models that somebody else trained (`released.py`) stand side by side:
each is a `PoolModel`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Protocol

import numpy as np

from .errors import NotApplicable
from .protocols import Defense, Measure, Model, Recipe
from .seeds import generator
from .types import (
    Access,
    Bools,
    Candidates,
    Dataset,
    DPMechanism,
    Float32,
    Float64,
    Identity,
    Ints,
    PrivacyClaim,
    Split,
)
from .view import Behind, Deployed, Releasing, mean_of, softmax

_MODELS_IN_MEMORY = 4


@dataclass(frozen=True, eq=False)
class CandidateSpec:
    """One model behind one defence, as an experiment names it.

    For a released model `recipe` and `defense` are those of its references.

    Attributes:
        model: name of the model.
        defense_name: name of the defence.
        recipe: what trains the model.
        recipe_identity: its component.
        defense: what trains or answers in its place.
        defense_identity: its component.
        where: the file and the key under which it stands there, in front of errors about its training; empty where no
            file names it.
    """

    model: str
    defense_name: str
    recipe: Recipe
    recipe_identity: Identity
    defense: Defense
    defense_identity: Identity
    where: str = ""

    @property
    def id(self) -> str:
        """`MODEL/DEFENSE`."""
        return f"{self.model}/{self.defense_name}"


class PoolModel(Protocol):
    """One model of a pool."""

    @property
    def key(self) -> str:
        """What its answers depend on, as a key of the store."""

    @property
    def access(self) -> Access:
        """The most that it can be asked for."""

    @property
    def defense(self) -> Releasing:
        """What stands between `logits` and its answers."""

    def logits(self) -> Float32:
        """Raw answers on every record of the data set: float32 (records, classes), memory-mapped."""

    def load(self) -> Model:
        """The model itself."""

    def mechanism(self) -> DPMechanism | PrivacyClaim | None:
        """What its training did for a formal claim."""


class Pool:
    """Models of one candidate; model k trained on `split.rows(k)`."""

    def __init__(
        self, spec: CandidateSpec, data: tuple[Dataset, Split], models: Sequence[PoolModel], seed: int
    ) -> None:
        """Bring together.

        Args:
            spec: the candidate.
            data: the records and who trained on what.
            models: each model of the split, in order.
            seed: root seed, for the randomness of what the defence answers.
        """
        self.spec = spec
        self.keys = [model.key for model in models]
        self._dataset, split = data
        self._audited = split.pool
        self._models = models
        self._seed = seed
        self._load = lru_cache(maxsize=_MODELS_IN_MEMORY)(lambda k: models[k].load())
        self._rows = known_records(self._dataset)
        self._measured: dict[tuple[Measure, int], Float32] = {}

    def model(self, k: int) -> Model:
        """Model k; the last few stay in memory."""
        return self._load(k)

    def access(self, k: int) -> Access:
        """The most that model k can be asked for."""
        return self._models[k].access

    def defense(self, k: int) -> Releasing:
        """What stands between the logits of model k and its answers."""
        return self._models[k].defense

    def logits(self, k: int) -> Float32:
        """Raw answers of model k on every record of the data set: float32 (records, classes), memory-mapped."""
        return self._models[k].logits()

    def released(self, k: int, repeats: int = 1) -> Float64:
        """What model k answers behind its defence on the audit records, the mean of `repeats`: float64 (n, classes)."""
        return mean_of(self.rounds(k, repeats))

    def rounds(self, k: int, repeats: int) -> Iterator[Float64]:
        """What model k answers behind its defence on the audit records, `repeats` times: float64 (n, classes) each."""
        rng, answers = self._release_rng(k), softmax(self.logits(k)[self._audited])
        return (self.defense(k).release(answers, rng) for _ in range(repeats))

    def deployed(self, k: int, audited: Candidates, repeats: int) -> Deployed:
        """Model k behind its defence, each question asked `repeats` times.

        `audited` are the audit records, recognised by their very array `audited.x`.
        """
        return Behind(RecordedModel(self, k, audited), self.defense(k), repeats, self._release_rng(k))

    def _release_rng(self, k: int) -> np.random.Generator:
        return generator(self._seed, "release", self.spec.id, k)

    def measured(self, measure: Measure, repeats: int = 1) -> Float32:
        """`measure` of every model's released answers on the audit records: float32 (models, n) or (models, n, k).

        Read model by model and kept, so that all targets and attacks share the work.
        """
        if (measure, repeats) not in self._measured:
            labels = self._dataset.y[self._audited]
            first = measure(self.released(0, repeats), labels)
            kept = np.empty((len(self.keys), *first.shape), dtype=np.float32)
            kept[0] = first
            for k in range(1, len(self.keys)):
                kept[k] = measure(self.released(k, repeats), labels)
            self._measured[measure, repeats] = kept
        return self._measured[measure, repeats]

    def rows_of(self, x: Float32) -> list[int | None]:
        """Row of the data set that each record is, None where it is none of them."""
        return self._rows(x)

    def forget(self) -> None:
        """Let go of models and signals; whatever is asked for again is read again."""
        self._measured.clear()
        self._load.cache_clear()

    def mechanism(self, k: int) -> DPMechanism | PrivacyClaim | None:
        """What the training of model k did for a formal claim, as counted while it trained."""
        return self._models[k].mechanism()


def known_records(dataset: Dataset) -> Callable[[Float32], list[int | None]]:
    """A function that recognises records of the data set by their bytes: (n, *shape) -> their rows or None."""

    @cache
    def row_of() -> dict[bytes, int]:
        return {record.tobytes(): row for row, record in enumerate(dataset.x)}

    return lambda x: [row_of().get(record.tobytes()) for record in x]


class RecordedModel:
    """A model of a pool whose answers on the audit records are read from the store, not computed again.

    A model that cannot be asked again, such as one of a user's training function, still answers about every record of
    the data set, as recorded.
    """

    def __init__(self, pool: Pool, k: int, audited: Candidates) -> None:
        """Wrap model k of `pool`; `audited` are the audit records, recognised by their very array `audited.x`."""
        self._pool = pool
        self._k = k
        self._audited = audited

    def logits(self, x: Float32) -> Float32:
        """Raw scores: float32 (n, classes)."""
        if x is self._audited.x:
            return self._pool.logits(self._k)[self._audited.ids]
        try:
            return self._pool.model(self._k).logits(x)
        except NotApplicable:
            rows = [row for row in self._pool.rows_of(x) if row is not None]
            if len(rows) < len(x):
                raise
            return self._pool.logits(self._k)[rows]

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the probability of `labels[i]` at `x[i]`: float32 (n, *shape)."""
        return self._pool.model(self._k).class_gradient(x, labels)


class PoolReferences:
    """References of one target: the pool's other models with their own halves. See `protocols.References`."""

    def __init__(self, pool: Pool, split: Split, references: Ints, repeats: int = 1) -> None:
        """Use `references` (m,), model numbers of `pool`, with the memberships of `split`.

        Args:
            pool: the models.
            split: who trained on what, as the attack is told.
            references: int64 (m,).
            repeats: answers of each reference to a record, of which the mean is seen. References answer with
                probabilities even to an attack that sees only the target's labels: they are the attacker's own.
        """
        self._pool = pool
        self._references = references
        self._repeats = repeats
        self.member: Bools = split.member[references]

    def __len__(self) -> int:
        return len(self._references)

    def probabilities(self, reference: int) -> Float64:
        """Deployed answers of one reference on all audit records: float64 (n, classes)."""
        return self._pool.released(int(self._references[reference]), self._repeats)

    def measured(self, measure: Measure) -> Float32:
        """`measure` of the answers of every reference: float32 (m, n) or (m, n, k)."""
        return self._pool.measured(measure, self._repeats)[self._references]
