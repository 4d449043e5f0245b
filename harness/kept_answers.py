"""Answers of models that somebody else trained, in the store: asked for in large questions, kept in small blocks.

A run that was stopped, or an endpoint that was, goes on from where it stood. A later run takes the answers of a
finished one only of a model that is recognised.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping

import numpy as np

from .errors import NotApplicable, UsageError, located
from .events import Observer, StepAdvanced, StepFinished, StepStarted
from .named_target import NamedTarget
from .store import Store, key_of
from .types import Dataset, Float32, Float64, Ints, sha256_of

STEP = "answers"
ASKING = "asking"
"""Store entries of runs that have begun to ask a model that is not recognised, and are not finished."""

VERSION = 2
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


def answers_of(target: NamedTarget, dataset: Dataset, store: Store, observe: Observer) -> tuple[Float32, int]:
    """Logarithms of the answers about every record, and how many records had to be asked about for them.

    All are asked about once before any of them again.

    Returns:
        float32 (repeats, records, classes), each time it was asked, and the number of questions.

    Raises:
        InfrastructureError: the model does not answer, or the disk failed; what was answered is kept.
        UsageError: an answer is none.
    """
    blocks = [np.arange(start, min(start + BATCH, len(dataset))) for start in range(0, len(dataset), BATCH)]
    rounds, asked, session = [], 0, _session(target, store)
    for again in range(target.repeats):
        keys = [_key(target, dataset, rows, (again, session)) for rows in blocks]
        step = f"ask {target.spec.id}" + (f", time {again + 1} of {target.repeats}" if again else "")
        asked += _ask_missing(target, dataset, dict(zip(keys, blocks, strict=True)), store, (step, observe))
        parts = [np.load(store.root / STEP / key / "answers.npy", allow_pickle=False) for key in keys]
        rounds.append(np.concatenate(parts))
    return np.stack(rounds), asked


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
