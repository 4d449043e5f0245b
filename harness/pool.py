"""The pool of models behind a candidate: trained once, kept in the store, read back when needed."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from .events import Observer, StepAdvanced, StepFinished, StepStarted
from .protocols import Defense, Model, Recipe, Trained
from .provenance import package_versions
from .seeds import derive, generator
from .store import Store, key_of
from .types import (
    Bools,
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
_MODELS_IN_MEMORY = 16


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

    def __init__(self, spec: CandidateSpec, dataset: Dataset, keys: list[str], folders: list[Path]) -> None:
        """Read from `folders`, one finished store entry a model."""
        self.spec = spec
        self.keys = keys
        self._dataset = dataset
        self._folders = folders
        self._load = lru_cache(maxsize=_MODELS_IN_MEMORY)(self._load_model)

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

    def released(self, k: int, rows: Ints, seed: int) -> Float64:
        """What model k answers behind its defence for `rows`: float64 (rows, classes)."""
        rng = generator(seed, "release", self.spec.id, k)
        return self.spec.defense.release(softmax(self.logits(k)[rows]), rng)

    def mechanism(self, k: int) -> DPMechanism | None:
        """What the training of model k did for a formal claim, as counted while it trained."""
        content = json.loads((self._folders[k] / "mechanism.json").read_text())
        if content is None:
            return None
        return DPMechanism(**{**content, "sampling": ObservedSampling(**content["sampling"])})


class PoolReferences:
    """References of one target: the pool's other models with their own halves. See `protocols.References`."""

    def __init__(self, pool: Pool, split: Split, references: Ints, seed: int) -> None:
        """Use `references` (m,), model numbers of `pool`, on the audit records of `split`."""
        self._pool = pool
        self._rows = split.pool
        self._references = references
        self._seed = seed
        self.member: Bools = split.member[references]

    def __len__(self) -> int:
        return len(self._references)

    def probabilities(self, reference: int) -> Float64:
        """Deployed answers of one reference on all audit records: float64 (n, classes)."""
        return self._pool.released(int(self._references[reference]), self._rows, self._seed)


def train_pool(spec: CandidateSpec, data: tuple[Dataset, Split], store: Store, seed: int, observe: Observer) -> Pool:
    """Train the models that the store does not hold yet and return the pool.

    A model's key holds its recipe, the parameters of its defence that change its weights, the code of both, the
    versions of the packages, the records, the rows it trains on and its seed; not the size of the pool, so a pool grows
    without retraining.
    """
    dataset, split = data
    seeds = [derive(seed, "train", k) for k in range(split.models)]
    keys = [_key(spec, dataset, split.rows(k), seeds[k]) for k in range(split.models)]
    found = [store.find(STEP, key) for key in keys]
    missing = [k for k, folder in enumerate(found) if folder is None]
    step = f"train {spec.id}"
    observe(StepStarted(step, split.models, split.models - len(missing)))
    training = TrainingData(dataset.x, dataset.y, dataset.n_classes, dataset.bounds)
    trained = spec.defense.train(spec.recipe, training, [split.rows(k) for k in missing], [seeds[k] for k in missing])
    for k, result in zip(missing, trained, strict=True):
        with store.entry(STEP, keys[k]) as folder:
            _save(result, dataset, folder)
        observe(StepAdvanced(step))
    observe(StepFinished(step, ""))
    return Pool(spec, dataset, keys, [store.root / STEP / key for key in keys])


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
            "packages": package_versions(),
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
