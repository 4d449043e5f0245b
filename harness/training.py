"""Training of a candidate's pool: each model once, kept in the store, read back when needed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from .errors import NotApplicable, located
from .events import Observer, StepAdvanced, StepFinished, StepStarted
from .pool import CandidateSpec, Pool
from .preparation import Prepared, fit
from .protocols import Defense, Model, Trained, prepares_records
from .provenance import training_packages
from .seeds import derive
from .store import Store, key_of
from .types import (
    Access,
    Dataset,
    DPMechanism,
    Float32,
    Identity,
    Ints,
    ObservedSampling,
    PrivacyClaim,
    Split,
    TrainingData,
    sha256_of,
)

STEP = "train"
VERSION = 3

BLOCK = 64
"""Models that one process trains at a time while others do other blocks; in no key."""

_PREPARATION = "preparation.json"


def train_pool(spec: CandidateSpec, data: tuple[Dataset, Split], store: Store, seed: int, observe: Observer) -> Pool:
    """Train every model of the split and return the pool; see `train_models`.

    Raises:
        UsageError: training failed.
        InfrastructureError: the disk failed.
    """
    return Pool(spec, data, train_models(spec, data, store, seed, observe), seed)


def train_models(
    spec: CandidateSpec, data: tuple[Dataset, Split], store: Store, seed: int, observe: Observer
) -> list[StoredModel]:
    """Train the models that the store does not hold yet and return all of them; model k trains on `split.rows(k)`.

    A model's key holds its recipe, the parameters of its defence that change its weights, the code of both, the
    versions of the packages, the records, the rows it trains on, the rows that are public and its seed; not the size of
    the pool, so a pool grows without retraining, and not how the work was divided.

    Processes that share the store share the work, in blocks of `BLOCK` models; none is trained twice.

    Raises:
        UsageError: training failed; the line names the file and the candidate.
        InfrastructureError: the disk failed.
    """
    dataset, split = data
    seeds = [derive(seed, "train", k, *_stream(spec)) for k in range(split.models)]
    keys = [_key(spec, data, k, seeds[k]) for k in range(split.models)]
    missing = [k for k, key in enumerate(keys) if store.find(STEP, key) is None]
    step = f"train {spec.id}"
    observe(StepStarted(step, split.models, split.models - len(missing)))
    # a block goes by its first model's key, whatever the size of the pool, so that larger and smaller pools agree
    blocks = {keys[number * BLOCK]: list(block) for number, block in groupby(missing, lambda k: k // BLOCK)}
    for first in store.in_turn(STEP, list(blocks), step, observe):
        absent = [k for k in blocks[first] if store.find(STEP, keys[k]) is None]
        for _ in range(len(blocks[first]) - len(absent)):  # another process was first
            observe(StepAdvanced(step))
        with located(spec.where or spec.id):
            for k, trained in zip(absent, _train(spec, data, absent, [seeds[k] for k in absent]), strict=True):
                with store.entry(STEP, keys[k], f"{spec.id} model {k}") as folder:
                    _save(trained, dataset, folder)
                observe(StepAdvanced(step))
    observe(StepFinished(step, ""))
    records = (dataset.shape, dataset.n_classes)
    return [StoredModel(key, store.root / STEP / key, spec, records) for key in keys]


@dataclass(frozen=True)
class StoredModel:
    """A trained model in the store: a `PoolModel`.

    Attributes:
        key: of its entry.
        folder: of its entry.
        spec: the candidate that it belongs to.
        records: shape of one record and the number of classes.
    """

    key: str
    folder: Path
    spec: CandidateSpec
    records: tuple[tuple[int, ...], int]

    @property
    def access(self) -> Access:
        """The weights are ours, so everything can be asked for; a model without gradients says so itself."""
        return "gradients"

    @property
    def defense(self) -> Defense:
        """The defence that it was trained and answers through."""
        return self.spec.defense

    def logits(self) -> Float32:
        """Raw answers on every record of the data set: float32 (records, classes), memory-mapped."""
        logits: Float32 = np.load(self.folder / "logits.npy", mmap_mode="r", allow_pickle=False)
        return logits

    def load(self) -> Model:
        """The model as its recipe reads it back, behind the preparation that it was trained with."""
        folder, (shape, n_classes) = self.folder / "model", self.records
        if not (folder / _PREPARATION).exists():
            return self.spec.recipe.load(folder, shape, n_classes)
        prepared = Prepared.from_json(json.loads((folder / _PREPARATION).read_text()))
        return PreparedModel(self.spec.recipe.load(folder, prepared.shape, n_classes), prepared)

    def mechanism(self) -> DPMechanism | PrivacyClaim | None:
        """What its training did for a formal claim, as counted while it trained."""
        return mechanism_from(json.loads((self.folder / "mechanism.json").read_text()))


class PreparedModel:
    """A model with the preparation of records that was fitted to its own members."""

    def __init__(self, model: Model, prepared: Prepared) -> None:
        """Let `model` see what `prepared` makes of records."""
        self._model = model
        self._prepared = prepared

    def logits(self, x: Float32) -> Float32:
        """Raw scores for records as the data set has them: float32 (n, classes)."""
        return self._model.logits(self._prepared.apply(x))

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:  # noqa: ARG002 - refuses every input
        """Refuse.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("records are prepared by statistics of each model's members: no gradient reaches them")

    def save(self, folder: Path) -> None:
        """Write the model and its preparation."""
        self._model.save(folder)
        (folder / _PREPARATION).write_text(json.dumps(self._prepared.as_json()))


def _stream(spec: CandidateSpec) -> tuple[str, ...]:
    """Tells candidates apart in seeds, where training is private.

    Two candidates with the same noise would give it away together: the difference of their steps holds none.
    """
    parameters = dict(spec.defense.training_parameters())
    if not parameters:
        return ()
    recipe = [spec.recipe_identity.component, spec.recipe_identity.parameters]
    return (key_of("stream", 2, {"recipe": recipe, "defense": [spec.defense_identity.component, parameters]}),)


def _train(
    spec: CandidateSpec, data: tuple[Dataset, Split], models: Sequence[int], seeds: Sequence[int]
) -> Iterator[Trained]:
    """Train `models` (numbers) with their seeds, in order, as the defence yields them."""
    dataset, split = data
    rows = [split.rows(k) for k in models]
    training = TrainingData(
        x=dataset.x,
        y=dataset.y,
        n_classes=dataset.n_classes,
        bounds=dataset.bounds,
        public=split.auxiliary,
        units=dataset.units,
        grid=dataset.grid,
        columns=dataset.columns,
    )
    if dataset.to_fit is None or prepares_records(spec.recipe):
        yield from spec.defense.train(spec.recipe, training, rows, seeds) if models else ()
        return
    for own, seed in zip(rows, seeds, strict=True):
        prepared = fit(dataset.to_fit, dataset.x, own, dataset.bounds)
        fitted = replace(training, x=prepared.apply(dataset.x), bounds=prepared.bounds, columns=None)
        for trained in spec.defense.train(spec.recipe, fitted, [own], [seed]):
            yield Trained(PreparedModel(trained.model, prepared), trained.mechanism)


def _key(spec: CandidateSpec, data: tuple[Dataset, Split], model: int, seed: int) -> str:
    dataset, split = data
    return key_of(
        STEP,
        VERSION,
        {
            "recipe": asdict(spec.recipe_identity),
            "defense": _training_identity(spec),
            "data": dataset.sha256,
            "rows": sha256_of(split.rows(model)),
            "public": sha256_of(split.auxiliary),
            "seed": seed,
            "packages": training_packages(spec.recipe.framework),
        },
    )


def _training_identity(spec: CandidateSpec) -> object:
    """What a defence adds to plain training; None for a defence that trains plainly."""
    parameters = dict(spec.defense.training_parameters())
    identity: Identity = spec.defense_identity
    return [identity.component, parameters, identity.code_sha256] if parameters else None


def _save(trained: Trained, dataset: Dataset, folder: Path) -> None:
    (folder / "model").mkdir()
    trained.model.save(folder / "model")
    np.save(folder / "logits.npy", trained.model.logits(dataset.x).astype(np.float32), allow_pickle=False)
    (folder / "mechanism.json").write_text(json.dumps(_as_json(trained.mechanism)))


def _as_json(mechanism: DPMechanism | PrivacyClaim | None) -> dict[str, Any] | None:
    if mechanism is None:
        return None
    return {"kind": "claim" if isinstance(mechanism, PrivacyClaim) else "dp_sgd", **asdict(mechanism)}


def mechanism_from(content: Mapping[str, Any] | None) -> DPMechanism | PrivacyClaim | None:
    """What was written as `mechanism.json`."""
    if content is None:
        return None
    fields = {name: value for name, value in content.items() if name != "kind"}
    if content["kind"] == "claim":
        return PrivacyClaim(**{**fields, "assumptions": tuple(fields["assumptions"])})
    return DPMechanism(**{**fields, "sampling": ObservedSampling(**fields["sampling"])})
