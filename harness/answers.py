"""Answers of a model that somebody else trained: asked for once, kept in the store, the model behind them.

It is asked about every record as often as the most curious attack asks. Answers are kept in batches, so a run that was
stopped, or an endpoint that was, goes on from where it stood. A later run takes the answers of a finished one only of a
model that is recognised: by a digest of what its answers depend on, or by answers that another model would not give.
What an attack asks beyond that is asked live, and counted.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property

import numpy as np

from .errors import InfrastructureError, NotApplicable, UsageError, located
from .events import Observer, StepAdvanced, StepFinished, StepStarted
from .pool import CandidateSpec, known_records
from .protocols import Model, Released
from .store import Store, key_of
from .types import Access, Dataset, Float32, Float64, Identity, Ints, sha256_of
from .view import Releasing, softmax

STEP = "answers"
ASKING = "asking"
"""Store entries of runs that have begun to ask a model that is not recognised, and are not finished."""

VERSION = 2
CHECKED = 16
"""Records by whose answers a model is recognised: 32 queries of a run that are in no count but the model's own."""

_TELLING = 4
"""Of them, answers with more than one possible class, by which a model is told from one that was trained again."""

BATCH = 64
"""Records in an entry of the store, whatever a question may hold; in no key but by the records themselves."""

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
        answers: float32 (repeats, records, classes), logarithms of its answers, each time it was asked.
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
        """Ask about every record that the store has no answer for, all of them once before any of them again."""
        blocks = [np.arange(start, min(start + BATCH, len(dataset))) for start in range(0, len(dataset), BATCH)]
        rounds, asked, session = [], 0, _session(target, store)
        for again in range(target.repeats):
            keys = [_key(target, dataset, rows, (again, session)) for rows in blocks]
            step = f"ask {target.spec.id}" + (f", time {again + 1} of {target.repeats}" if again else "")
            asked += _ask_missing(target, dataset, dict(zip(keys, blocks, strict=True)), store, (step, observe))
            kept = [np.load(store.root / STEP / key / "answers.npy", allow_pickle=False) for key in keys]
            rounds.append(np.concatenate(kept))
        return cls(target, np.stack(rounds), asked, target.repeats * len(dataset) - asked, dataset)

    @property
    def key(self) -> str:
        """Digest of the answers, and of what attacks that ask about other records would meet."""
        released = self.target.released
        whose = [released.source, released.sha256, self.target.likeness.digest]
        described = {"target": asdict(self.target.identity), "whose": whose, "answers": sha256_of(*self.answers)}
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
        """Logarithms of the first answers: float32 (records, classes)."""
        first: Float32 = self.answers[0]
        return first

    def rounds(self, rows: Ints, repeats: int) -> Iterator[Float64]:
        """Answers about `rows` (n,) of the data set, the first so many times: float64 (n, classes) each."""
        return (softmax(answers[rows]) for answers in self.answers[:repeats])

    @cached_property
    def live(self) -> Live:
        """The model itself, to be asked about other records."""
        return Live(self)

    def load(self) -> Model:
        """Refuse: nobody here has the model.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("a released model gives answers, nothing else of it is here")

    def mechanism(self) -> None:
        """Nothing is known about its training."""


class Live:
    """A released model: records of the data set are answered from what was recorded, others are asked about now."""

    def __init__(self, recorded: Recorded) -> None:
        """Stand for the model of `recorded`."""
        self._recorded = recorded
        self._rows_of = known_records(recorded.dataset)
        self.asked = 0

    def asks(self, x: Float32, repeats: int) -> Iterator[Float64]:
        """Answers about any records, `repeats` times: float64 (n, classes) each."""
        rows = self._rows_of(x)
        known = np.array([row is not None for row in rows], dtype=np.bool_)
        kept = self._recorded.rounds(np.array([row for row in rows if row is not None], dtype=np.int64), repeats)
        for recorded in kept:
            found = np.empty((len(x), recorded.shape[1]))
            found[known] = recorded
            if not known.all():
                found[~known] = softmax(log_probabilities(self._answered(x[~known])))
                self.asked += int((~known).sum())
            yield found

    def _answered(self, x: Float32) -> Float64:
        """Answers about other records; what ends the run says which target it was.

        Other errors are an attack's result in the evidence, which names the candidate and no file of this machine.
        """
        target = self._recorded.target
        try:
            return target.released.model.predict(x)
        except InfrastructureError as error:
            raise InfrastructureError(f"{target.where}: {error}") from error


@dataclass(frozen=True, eq=False)
class Asked:
    """A released model that is asked each question so many times: `view.Deployed`."""

    live: Live
    repeats: int

    def rounds(self, x: Float32) -> Iterator[Float64]:
        """Its answers, each time: float64 (n, classes)."""
        return self.live.asks(x, self.repeats)

    def class_gradient(self, x: Float32, labels: Ints) -> Float32:  # noqa: ARG002 - refuses every input
        """Refuse: answers have no gradients.

        Raises:
            NotApplicable: always.
        """
        raise NotApplicable("a released model gives answers, no gradients")


class _AsReleased:
    """No defence of ours before the answers of a released model."""

    def release(self, probabilities: Float64, rng: np.random.Generator) -> Float64:  # noqa: ARG002
        """The answers as they are."""
        return probabilities


def log_probabilities(probabilities: Float64) -> Float32:
    """Logarithms of answered probabilities, finite: float32 (n, classes)."""
    return np.asarray(np.log(np.maximum(probabilities, _SMALLEST)), dtype=np.float32)


def _ask_missing(
    target: NamedTarget, dataset: Dataset, blocks: Mapping[str, Ints], store: Store, progress: tuple[str, Observer]
) -> int:
    """Ask about every block of records that the store does not hold, as many in a question as go: how many records.

    Args:
        target: the model.
        dataset: the records.
        blocks: rows of the data set by the key under which their answers are kept.
        store: where.
        progress: name of the step, and who is told about it.
    """
    keys, (step, observe) = list(blocks), progress
    missing = {key for key in keys if store.find(STEP, key) is None}
    observe(StepStarted(step, len(keys), len(keys) - len(missing)))
    # Grouped by place, not by what is missing: processes that share the store see the same groups.
    at_once = max(1, target.released.batch_size // BATCH)
    groups = (keys[start : start + at_once] for start in range(0, len(keys), at_once))
    lacking = {group[0]: [key for key in group if key in missing] for group in groups if missing.intersection(group)}
    asked = 0
    for first in store.in_turn(STEP, list(lacking), step, observe):
        left = [key for key in lacking[first] if store.find(STEP, key) is None]  # else another process was first
        if left:
            parts = [blocks[key] for key in left]
            answers = log_probabilities(_asked(target, dataset.x[np.concatenate(parts)]))
            asked += len(answers)
            for key, part in zip(left, np.split(answers, np.cumsum([len(rows) for rows in parts])[:-1]), strict=True):
                with store.entry(STEP, key, f"{target.spec.id}: answers") as folder:
                    np.save(folder / "answers.npy", part, allow_pickle=False)
        for _ in lacking[first]:
            observe(StepAdvanced(step))
    observe(StepFinished(step, ""))
    return asked


def _asked(target: NamedTarget, x: Float32) -> Float64:
    """Answers about records of the data set, which the model has to give."""
    with located(target.where):
        try:
            return target.released.model.predict(x)
        except NotApplicable as error:
            kept = f"answers are kept in batches of {BATCH}, the same command goes on from there"
            raise UsageError(f"{target.released.source}: {error}; {kept}") from error


def _key(target: NamedTarget, dataset: Dataset, rows: Ints, when: tuple[int, str]) -> str:
    """Where answers about `rows` lie; `when`: the round in which they were given, from 0, and the session."""
    about = {
        "records": sha256_of(dataset.x[rows]),
        "columns": "" if dataset.columns is None else dataset.columns.digest(dataset.x[rows]),
        "when": when,
    }
    return key_of(STEP, VERSION, {**_described(target), **about})


def _described(target: NamedTarget) -> dict[str, object]:
    """What answers of a model depend on, as far as that is known."""
    asked = {name: value for name, value in target.identity.parameters.items() if name not in _HOW_IT_IS_ASKED}
    return {
        "target": [target.identity.component, asked, target.identity.code_sha256],
        "source": [target.released.source, target.released.sha256, target.likeness.digest],
    }


def _session(target: NamedTarget, store: Store) -> str:
    """What tells the answers that a run asks for from those of a finished one; empty where the model is recognised.

    A run that was stopped has left it, so the next goes on with the answers that it had. Processes that share the store
    share it.
    """
    if target.recognised:
        return ""
    key = key_of(ASKING, VERSION, _described(target))
    with store.locked(ASKING, key):
        if store.find(ASKING, key) is None:
            with store.entry(ASKING, key, f"{target.spec.id}: asked by a run that is not finished") as folder:
                (folder / "session.txt").write_text(secrets.token_hex(8))
        return (store.root / ASKING / key / "session.txt").read_text()


def finish(target: NamedTarget, store: Store) -> None:
    """Say that a run is finished: a later one asks a model again that is not recognised.

    Raises:
        InfrastructureError: the disk refused.
    """
    if not target.recognised:
        store.remove(ASKING, key_of(ASKING, VERSION, _described(target)), time.time())
