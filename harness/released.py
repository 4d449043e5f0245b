"""A model that somebody else trained, as model 0 of a pool; its references beside it.

It is asked about every record once. Answers are kept in the store in batches, so a run that was stopped, or an endpoint
that was, goes on from where it stood. What an attack asks beyond that is asked live, and counted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from .errors import InfrastructureError, NotApplicable, UsageError, located
from .events import Observer, StepAdvanced, StepFinished, StepStarted
from .evidence import Origin
from .pool import CandidateSpec, Pool, PoolModel, known_records
from .protocols import Model, Released
from .recipe_check import recipe_note
from .store import Store, key_of
from .training import train_models
from .types import Access, Dataset, Float32, Float64, Identity, Ints, PrivacyClaim, Split, sha256_of
from .users import users_of
from .view import Releasing

STEP = "answers"
VERSION = 1
_CHECKED = 16
"""Records by whose answers a model is recognised: 32 queries of a run that are in no count but the model's own."""

BATCH = 64
"""Records in an entry of the store; in no key but by the records themselves."""

_HOW_IT_IS_ASKED = frozenset(
    {
        "batch_size",
        "ca_file",
        "query_budget",
        "requests_per_second",
        "retries",
        "start_seconds",
        "timeout",
        "token_variable",
    }
)
"""Parameters of targets that change no answer: a run that was stopped may go on with others."""

_SMALLEST = 1e-30  # keeps the logarithm of an answered probability finite
_OTHER_SIZE = 0.1
"""Share by which training sets of target and references may differ before the evidence says so."""


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
        fingerprint: digest of some answers where no other digest covers them; empty where one does, or where the model
            answers the same question differently.
        without_features: whether its records have none, so that controls see labels only.
    """

    id: str
    where: str
    identity: Identity
    released: Released
    spec: CandidateSpec
    trains_references: bool
    fingerprint: str = ""
    without_features: bool = False


def fingerprint(released: Released, dataset: Dataset) -> str:
    """Digest of the answers to `_CHECKED` records from all over the data, asked twice; empty where the two differ.

    By it the answers that an earlier run kept are told from those of a model that has changed since. A model whose
    digest is known is not asked.
    """
    if released.sha256:
        return ""
    rows = np.linspace(0, len(dataset) - 1, _CHECKED).astype(np.int64)
    first, second = (released.model.predict(dataset.x[rows]) for _ in range(2))
    return sha256_of(np.round(first, 3)) if np.allclose(first, second, atol=1e-4) else ""


def released_pool(
    target: NamedTarget, data: tuple[Dataset, Split], store: Store, seed: int, observe: Observer
) -> ReleasedPool:
    """Ask the released model about every record that the store has no answer for, train or read its references.

    Raises:
        InfrastructureError: the model does not answer, or the disk failed; what was answered is kept.
        UsageError: an answer is none.
    """
    dataset, split = data
    recorded = Recorded.of(target, dataset, store, observe)
    models: list[PoolModel] = [recorded]
    if target.trains_references:
        others = replace(split, member=split.member[1:], released=False)
        models += train_models(replace(target.spec, defense_name="references"), (dataset, others), store, seed, observe)
    else:
        models += [
            Given(target, log_probabilities(reference.probabilities)) for reference in target.released.references
        ]
    return ReleasedPool(target.spec, data, models, seed, recorded)


class ReleasedPool(Pool):
    """A pool whose model 0 is a released one."""

    def __init__(
        self,
        spec: CandidateSpec,
        data: tuple[Dataset, Split],
        models: Sequence[PoolModel],
        seed: int,
        recorded: Recorded,
    ) -> None:
        """Bring together; `recorded` is the first of `models`."""
        super().__init__(spec, data, models, seed)
        self._recorded = recorded
        self._split = data[1]

    def origin(self) -> Origin:
        """Where the released model came from and how it was asked, up to now."""
        recorded, released = self._recorded, self._recorded.target.released
        return Origin(
            component=recorded.target.identity.component,
            source=released.source,
            sha256=released.sha256,
            answers=released.model.answers,
            references=_references_words(recorded.target, self._split),
            queries=recorded.asked + recorded.live.asked,
            kept_answers=recorded.kept,
            notes=(*released.notes, *_notes(recorded, self._split), *self._recipe_notes()),
        )

    def _recipe_notes(self) -> Iterator[str]:
        """How often the released model and its references are right, and what that says of their recipe."""
        wanted = self._dataset.y[self._audited]
        right = [self.released(k).argmax(axis=1) == wanted for k in range(len(self.keys))]
        users = users_of(self._dataset, self._audited)
        if note := recipe_note(right, self._split.member, users):
            yield note


@dataclass(frozen=True, eq=False)
class Given:
    """Answers that came with a released model, its own reference models': a `PoolModel`."""

    target: NamedTarget
    answers: Float32

    @property
    def key(self) -> str:
        """Digest of the answers."""
        return sha256_of(self.answers)

    @property
    def access(self) -> Access:
        """Answers only."""
        return "probabilities"

    @property
    def defense(self) -> Releasing:
        """None: the answers are what was released."""
        return _AsReleased()

    def logits(self) -> Float32:
        """Logarithms of the answers: float32 (records, classes)."""
        return self.answers

    def load(self) -> Model:
        """Refuse: there is no model, only its answers.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("only recorded answers are there, no model that could be asked")

    def mechanism(self) -> None:
        """Nothing is known about its training."""


@dataclass(eq=False)
class Recorded:
    """The released model with its answers on every record: a `PoolModel`.

    Attributes:
        target: the model.
        answers: float32 (records, classes), logarithms of its answers.
        asked: queries that this run made for them.
        kept: answers that an earlier run had kept.
        dataset: the records.
    """

    target: NamedTarget
    answers: Float32
    asked: int
    kept: int
    dataset: Dataset = field(repr=False)

    @classmethod
    def of(cls, target: NamedTarget, dataset: Dataset, store: Store, observe: Observer) -> Recorded:
        """Ask about every record that the store has no answer for."""
        batches = [np.arange(start, min(start + BATCH, len(dataset))) for start in range(0, len(dataset), BATCH)]
        keys = [_key(target, dataset, rows) for rows in batches]
        rows_of = dict(zip(keys, batches, strict=True))
        missing = [key for key in keys if store.find(STEP, key) is None]
        step, asked = f"ask {target.spec.id}", 0
        observe(StepStarted(step, len(keys), len(keys) - len(missing)))
        for key in store.in_turn(STEP, missing, step, observe):
            if store.find(STEP, key) is None:  # else another process was first
                answers = _asked(target, dataset.x[rows_of[key]])
                with store.entry(STEP, key, f"{target.spec.id}: answers") as folder:
                    np.save(folder / "answers.npy", log_probabilities(answers), allow_pickle=False)
                asked += len(answers)
            observe(StepAdvanced(step))
        observe(StepFinished(step, ""))
        parts = [np.load(store.root / STEP / key / "answers.npy", allow_pickle=False) for key in keys]
        return cls(target, np.concatenate(parts), asked, len(dataset) - asked, dataset)

    @property
    def key(self) -> str:
        """Digest of the answers, and of what attacks that ask about other records would meet."""
        released = self.target.released
        whose = [released.source, released.sha256, self.target.fingerprint]
        described = {"target": asdict(self.target.identity), "whose": whose, "answers": sha256_of(self.answers)}
        return key_of(STEP, VERSION, described)

    @property
    def access(self) -> Access:
        """Labels or probabilities."""
        return self.target.released.model.answers

    @property
    def defense(self) -> Releasing:
        """None: whatever defends it stands before its answers already."""
        return _AsReleased()

    def logits(self) -> Float32:
        """Logarithms of the answers: float32 (records, classes)."""
        return self.answers

    @cached_property
    def live(self) -> Live:
        """The model itself, to be asked about other records."""
        return Live(self.target, self.dataset, self.answers)

    def load(self) -> Model:
        """The model itself."""
        return self.live

    def mechanism(self) -> PrivacyClaim | None:
        """Nothing is known about its training."""
        return None


class Live:
    """A released model: records of the data set are answered from what was recorded, others are asked about now."""

    def __init__(self, target: NamedTarget, dataset: Dataset, answers: Float32) -> None:
        """Wrap the model of `target`, whose answers on the records of `dataset` are `answers` (records, classes)."""
        self._target = target
        self._answers = answers
        self._rows_of = known_records(dataset)
        self.asked = 0

    def logits(self, x: Float32) -> Float32:
        """Logarithms of the answers: float32 (n, classes)."""
        rows = self._rows_of(x)
        found = np.empty((len(x), self._answers.shape[1]), dtype=np.float32)
        known = np.array([row is not None for row in rows])
        found[known] = self._answers[[row for row in rows if row is not None]]
        if not known.all():
            found[~known] = log_probabilities(self._answered(x[~known]))
            self.asked += int((~known).sum())
        return found

    def _answered(self, x: Float32) -> Float64:
        """Answers about other records; what ends the run says which target it was.

        Other errors are an attack's result in the evidence, which names the candidate and no file of this machine.
        """
        try:
            return self._target.released.model.predict(x)
        except InfrastructureError as error:
            raise InfrastructureError(f"{self._target.where}: {error}") from error

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:  # noqa: ARG002 - refuses every input
        """Refuse: answers have no gradients.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("a released model gives answers, no gradients")

    def save(self, folder: Path) -> None:
        """Write nothing: the model is its owner's."""


class _AsReleased:
    """No defence of ours before the answers of a released model."""

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002
        """The answers as they are."""
        return probabilities


def log_probabilities(probabilities: Float64) -> Float32:
    """Logarithms of answered probabilities, finite: float32 (n, classes)."""
    return np.asarray(np.log(np.maximum(probabilities, _SMALLEST)), dtype=np.float32)


def _asked(target: NamedTarget, x: Float32) -> Float64:
    """Answers about records of the data set, which the model has to give."""
    with located(target.where):
        try:
            return target.released.model.predict(x)
        except NotApplicable as error:
            kept = f"answers are kept in batches of {BATCH}, the same command goes on from there"
            raise UsageError(f"{target.released.source}: {error}; {kept}") from error


def _key(target: NamedTarget, dataset: Dataset, rows: Ints) -> str:
    asked = {name: value for name, value in target.identity.parameters.items() if name not in _HOW_IT_IS_ASKED}
    return key_of(
        STEP,
        VERSION,
        {
            "target": [target.identity.component, asked, target.identity.code_sha256],
            "source": [target.released.source, target.released.sha256, target.fingerprint],
            "records": sha256_of(dataset.x[rows]),
            "columns": "" if dataset.columns is None else dataset.columns.digest(dataset.x[rows]),
        },
    )


def _references_words(target: NamedTarget, split: Split) -> str:
    count = split.models - 1
    if not count:
        return "none"
    if not target.trains_references:
        return f"{count} whose answers came with the model"
    spec = target.spec
    return f"{count} trained by this run: {spec.recipe_identity.component} behind {spec.defense_identity.component}"


def _notes(recorded: Recorded, split: Split) -> Iterator[str]:
    """Lines about what was asked, where they are needed."""
    target = recorded.target
    yield from _size_note(target, split)
    if recorded.kept and not target.released.sha256:
        sure = f"it gives the same answers as then to {_CHECKED} records" if target.fingerprint else "nothing tells"
        yield (
            f"{recorded.kept} answers are those of an earlier run, and whether the model is still the same, {sure}: "
            "remove the store in the output folder to ask again"
        )
    if target.without_features:
        yield "the records have no features here, so the model-free baseline has compared labels only"


def _size_note(target: NamedTarget, split: Split) -> Iterator[str]:
    """A line where references train on another number of records than the target did."""
    members = int(split.member[0].sum())
    trained_on = target.released.training_records or members
    sizes = split.member[1:].sum(axis=1)
    if len(sizes) and abs(sizes.mean() - trained_on) > _OTHER_SIZE * trained_on:
        yield (
            f"references train on {sizes.mean():.0f} records, the released model on {trained_on}: they imitate it less "
            "well, so a low result says less"
        )
