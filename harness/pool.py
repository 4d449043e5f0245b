"""The pool of models behind a candidate: trained once, kept in the store, read back when needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import groupby
from pathlib import Path

import numpy as np

from .events import Observer, StepAdvanced, StepFinished, StepStarted
from .protocols import Defense, Measure, Model, Recipe, Trained
from .provenance import training_packages
from .seeds import derive, generator
from .store import Store, key_of
from .types import (
    Bools,
    Candidates,
    Dataset,
    DPMechanism,
    Float32,
    Float64,
    Identity,
    Ints,
    ObservedSampling,
    Split,
    TrainingData,
    sha256_of,
)
from .view import softmax

STEP = "train"
VERSION = 1
_MODELS_IN_MEMORY = 4

BLOCK = 64
"""Models that one process trains at a time while others do other blocks; in no key."""


@dataclass(frozen=True, eq=False)
class CandidateSpec:
    """One model behind one defence, as an experiment names it."""

    model: str
    defense_name: str
    recipe: Recipe
    recipe_identity: Identity
    defense: Defense
    defense_identity: Identity

    @property
    def id(self) -> str:
        """`MODEL/DEFENSE`."""
        return f"{self.model}/{self.defense_name}"


class Pool:
    """Trained models of one candidate; model k trained on `split.rows(k)`."""

    def __init__(
        self, spec: CandidateSpec, data: tuple[Dataset, Split], entries: Mapping[str, Path], seed: int
    ) -> None:
        """Read from the store.

        Args:
            spec: the candidate.
            data: the records and who trained on what.
            entries: key and folder of each model's store entry, in order.
            seed: root seed, for the randomness of what the defence answers.
        """
        self.spec = spec
        self.keys = list(entries)
        self._dataset, split = data
        self._audited = split.pool
        self._folders = list(entries.values())
        self._seed = seed
        self._load = lru_cache(maxsize=_MODELS_IN_MEMORY)(self._load_model)
        self._measured: dict[Measure, Float32] = {}

    def model(self, k: int) -> Model:
        """Model k; the last few stay in memory."""
        return self._load(k)

    def _load_model(self, k: int) -> Model:
        folder = self._folders[k] / "model"
        return self.spec.recipe.load(folder, self._dataset.shape, self._dataset.n_classes)

    def logits(self, k: int) -> Float32:
        """Raw answers of model k on every record of the data set: float32 (records, classes), memory-mapped."""
        logits: Float32 = np.load(self._folders[k] / "logits.npy", mmap_mode="r", allow_pickle=False)
        return logits

    def released(self, k: int) -> Float64:
        """What model k answers behind its defence on the audit records: float64 (n, classes)."""
        rng = generator(self._seed, "release", self.spec.id, k)
        return self.spec.defense.release(softmax(self.logits(k)[self._audited]), rng)

    def measured(self, measure: Measure) -> Float32:
        """`measure` of every model's released answers on the audit records: float32 (models, n) or (models, n, k).

        Read model by model and kept, so that all targets and attacks share the work.
        """
        if measure not in self._measured:
            labels = self._dataset.y[self._audited]
            first = measure(self.released(0), labels)
            kept = np.empty((len(self.keys), *first.shape), dtype=np.float32)
            kept[0] = first
            for k in range(1, len(self.keys)):
                kept[k] = measure(self.released(k), labels)
            self._measured[measure] = kept
        return self._measured[measure]

    def forget(self) -> None:
        """Let go of models and signals; whatever is asked for again is read again."""
        self._measured.clear()
        self._load.cache_clear()

    def mechanism(self, k: int) -> DPMechanism | None:
        """What the training of model k did for a formal claim, as counted while it trained."""
        content = json.loads((self._folders[k] / "mechanism.json").read_text())
        if content is None:
            return None
        return DPMechanism(**{**content, "sampling": ObservedSampling(**content["sampling"])})


class RecordedModel:
    """A model of a pool whose answers on the audit records are read from the store, not computed again."""

    def __init__(self, pool: Pool, k: int, audited: Candidates) -> None:
        """Wrap model k of `pool`; `audited` are the audit records, recognised by their very array `audited.x`."""
        self._pool = pool
        self._k = k
        self._audited = audited

    def logits(self, x: Float32) -> Float32:
        """Raw scores: float32 (n, classes)."""
        if x is self._audited.x:
            return self._pool.logits(self._k)[self._audited.ids]
        return self._pool.model(self._k).logits(x)

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:
        """Gradient of the probability of `labels[i]` at `x[i]`: float32 (n, *shape)."""
        return self._pool.model(self._k).class_gradient(x, labels)

    def save(self, folder: Path) -> None:
        """Write the model."""
        self._pool.model(self._k).save(folder)


class PoolReferences:
    """References of one target: the pool's other models with their own halves. See `protocols.References`."""

    def __init__(self, pool: Pool, split: Split, references: Ints) -> None:
        """Use `references` (m,), model numbers of `pool`, with the memberships of `split`."""
        self._pool = pool
        self._references = references
        self.member: Bools = split.member[references]

    def __len__(self) -> int:
        return len(self._references)

    def probabilities(self, reference: int) -> Float64:
        """Deployed answers of one reference on all audit records: float64 (n, classes)."""
        return self._pool.released(int(self._references[reference]))

    def measured(self, measure: Measure) -> Float32:
        """`measure` of the answers of every reference: float32 (m, n) or (m, n, k)."""
        return self._pool.measured(measure)[self._references]


def train_pool(spec: CandidateSpec, data: tuple[Dataset, Split], store: Store, seed: int, observe: Observer) -> Pool:
    """Train the models that the store does not hold yet and return the pool.

    A model's key holds its recipe, the parameters of its defence that change its weights, the code of both, the
    versions of the packages, the records, the rows it trains on and its seed; not the size of the pool, so a pool grows
    without retraining, and not how the work was divided.

    Processes that share the store share the work, in blocks of `BLOCK` models; none is trained twice.

    Raises:
        InfrastructureError: the disk failed.
    """
    dataset, split = data
    seeds = [derive(seed, "train", k, *_stream(spec)) for k in range(split.models)]
    keys = [_key(spec, dataset, split.rows(k), seeds[k]) for k in range(split.models)]
    missing = [k for k, key in enumerate(keys) if store.find(STEP, key) is None]
    step = f"train {spec.id}"
    observe(StepStarted(step, split.models, split.models - len(missing)))
    # a block goes by its first model's key, whatever the size of the pool, so that larger and smaller pools agree
    blocks = {keys[number * BLOCK]: list(block) for number, block in groupby(missing, lambda k: k // BLOCK)}
    for first in store.in_turn(STEP, list(blocks), step, observe):
        absent = [k for k in blocks[first] if store.find(STEP, keys[k]) is None]
        for _ in range(len(blocks[first]) - len(absent)):  # another process was first
            observe(StepAdvanced(step))
        for k, trained in zip(absent, _train(spec, data, absent, [seeds[k] for k in absent]), strict=True):
            with store.entry(STEP, keys[k], f"{spec.id} model {k}") as folder:
                _save(trained, dataset, folder)
            observe(StepAdvanced(step))
    observe(StepFinished(step, ""))
    return Pool(spec, data, {key: store.root / STEP / key for key in keys}, seed)


def _stream(spec: CandidateSpec) -> tuple[str, ...]:
    """Tells candidates apart in seeds, where training is private.

    Two candidates with the same noise would give it away together: the difference of their steps holds none.
    """
    parameters = dict(spec.defense.training_parameters())
    if not parameters:
        return ()
    return (key_of("stream", 1, {"recipe": spec.recipe_identity.parameters, "defense": parameters}),)


def _train(
    spec: CandidateSpec, data: tuple[Dataset, Split], models: Sequence[int], seeds: Sequence[int]
) -> Iterator[Trained]:
    """Train `models` (numbers) with their seeds, in order, as the defence yields them."""
    dataset, split = data
    training = TrainingData(dataset.x, dataset.y, dataset.n_classes, dataset.bounds)
    yield from spec.defense.train(spec.recipe, training, [split.rows(k) for k in models], seeds) if models else ()


def _key(spec: CandidateSpec, dataset: Dataset, rows: Ints, seed: int) -> str:
    return key_of(
        STEP,
        VERSION,
        {
            "recipe": asdict(spec.recipe_identity),
            "defense": _training_identity(spec),
            "data": dataset.sha256,
            "rows": sha256_of(rows),
            "seed": seed,
            "packages": training_packages(spec.recipe.framework),
        },
    )


def _training_identity(spec: CandidateSpec) -> object:
    """What a defence adds to plain training; None for a defence that trains plainly."""
    parameters = dict(spec.defense.training_parameters())
    return [spec.defense_identity.component, parameters, spec.defense_identity.code_sha256] if parameters else None


def _save(trained: Trained, dataset: Dataset, folder: Path) -> None:
    (folder / "model").mkdir()
    trained.model.save(folder / "model")
    np.save(folder / "logits.npy", trained.model.logits(dataset.x).astype(np.float32), allow_pickle=False)
    mechanism = None if trained.mechanism is None else asdict(trained.mechanism)
    (folder / "mechanism.json").write_text(json.dumps(mechanism))
