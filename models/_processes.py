"""Pools of scikit-learn models on processes: in order, a bounded look-ahead, nothing left behind.

Processes, not threads: scikit-learn holds Python's lock for a good part of a fit. They are joblib's (loky), which run a
script's main module only once, whether it is guarded or not. `joblib.Parallel` itself is not used: as a generator it
runs ahead of a slow consumer without bound, and it warns when the consumer leaves early.
"""

from __future__ import annotations

import os
import pickle
import signal
import tempfile
import threading
import time
import warnings
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import resource_tracker
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from ..harness.types import Float64, Ints, TrainingData
from ._workers import cores

START_UP = 2.0
"""Seconds until processes have started and imported scikit-learn, about; measured on 2 cores."""

ModelT_co = TypeVar("ModelT_co", covariant=True)
ModelT = TypeVar("ModelT")


class Recipe(Protocol[ModelT_co]):
    """What is needed of a recipe."""

    def untrained(self, seed: int) -> object:
        """The estimator before fitting."""

    def fit(self, data: TrainingData, rows: Ints, seed: int) -> ModelT_co:
        """Train one model on `rows` of `data`."""


@dataclass(frozen=True)
class StoredData:
    """Training data in a folder, which every process maps into its memory instead of getting a copy."""

    folder: Path
    n_classes: int
    bounds: tuple[float, float]
    grid: Float64 | None = None

    @classmethod
    def write(cls, data: TrainingData, folder: Path) -> StoredData:
        """Write the arrays of `data`."""
        np.save(folder / "x.npy", data.x, allow_pickle=False)
        np.save(folder / "y.npy", data.y, allow_pickle=False)
        return cls(folder, data.n_classes, data.bounds, data.grid)

    def read(self) -> TrainingData:
        """The same data, read-only."""
        x = np.load(self.folder / "x.npy", mmap_mode="r", allow_pickle=False)
        y = np.load(self.folder / "y.npy", mmap_mode="r", allow_pickle=False)
        return TrainingData(x, y, self.n_classes, self.bounds, grid=self.grid)


def fit_in_order(
    recipe: Recipe[ModelT], data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]
) -> Iterator[ModelT]:
    """Yield `recipe.fit(data, rows[i], seeds[i])` for each i, in order.

    The first is fitted here. The time it took tells whether the others are worth processes of their own; that changes
    no model.
    """
    tasks = list(zip(rows, seeds, strict=True))
    if not tasks:
        return
    recipe.untrained(tasks[0][1])  # imports scikit-learn, which is no part of a fit
    start = time.thread_time()  # not the clock: a busy machine would make every job look large
    first = recipe.fit(data, *tasks[0])
    seconds = time.thread_time() - start
    yield first
    rest = tasks[1:]
    workers = min(cores(), len(rest))
    if worth_processes(seconds, len(rest), workers):
        yield from on_processes(recipe, data, rest, workers)
    else:
        yield from (recipe.fit(data, *task) for task in rest)


def worth_processes(seconds: float, models: int, workers: int) -> bool:
    """Whether `models` fits of so many seconds end sooner on `workers` processes than here, their start included."""
    return workers > 1 and seconds * models * (1 - 1 / workers) > START_UP


def on_processes(
    recipe: Recipe[ModelT], data: TrainingData, tasks: Sequence[tuple[Ints, int]], workers: int
) -> Iterator[ModelT]:
    """Yield the model of each task (rows, seed), in order, fitted on `workers` processes.

    At most 2 x `workers` models are fitted ahead. The processes and their copy of the data are gone when the last model
    is taken, when the consumer leaves, and when anything fails. What scikit-learn warns of there is not heard.
    """
    from joblib.externals.loky import ProcessPoolExecutor

    with tempfile.TemporaryDirectory(prefix="privassay-") as name:
        folder = Path(name)
        stored = StoredData.write(data, folder)
        executor = ProcessPoolExecutor(workers, initializer=_end_with, initargs=(os.getpid(),))
        waiting = enumerate(tasks)

        def submitted(count: int) -> Iterator[Future[Path]]:
            for k, task in islice(waiting, count):
                yield executor.submit(_fit_into, folder / f"{k}.pickle", recipe, stored, *task)

        running: deque[Future[Path]] = deque()
        try:
            with _interrupts_kept_from_children():  # all workers start with the first submission
                running.extend(submitted(2 * workers))
            while running:
                path = running.popleft().result()
                running.extend(submitted(1))
                yield _taken(path)
        finally:
            taken_over(running)
            executor.shutdown(wait=True, kill_workers=True)


def taken_over(submitted: Sequence[Future[Any]], seconds: float = 5.0) -> bool:
    """Wait until loky has taken up every submission, at most so many `seconds`; whether it has.

    Shut down before that, its managing thread dies of a KeyError, with a traceback and a semaphore left behind.
    """
    end = time.monotonic() + seconds
    while not (done := all(future.running() or future.done() for future in submitted)) and time.monotonic() < end:
        time.sleep(0.001)
    return done


def _fit_into(path: Path, recipe: Recipe[ModelT_co], stored: StoredData, rows: Ints, seed: int) -> Path:
    """Fit one model, in a worker, and leave it in a file; the caller's filters of warnings do not reach here.

    A file, because a forest may be 50 MB, which took three times as long through a pipe on a busy machine, and because
    models fitted ahead then fill no memory.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = recipe.fit(stored.read(), rows, seed)
    with path.open("wb") as file:
        pickle.dump(model, file, protocol=pickle.HIGHEST_PROTOCOL)
    return path


def _taken(path: Path) -> Any:
    """Read what a worker of ours left and remove it; the folder is this run's own and nobody else may write to it."""
    with path.open("rb") as file:
        model = pickle.load(file)  # noqa: S301
    path.unlink()
    return model


@contextmanager
def _interrupts_kept_from_children() -> Iterator[None]:
    """Ctrl-C reaches all processes of a terminal; the parent alone shall answer it, and end the others."""
    resource_tracker.ensure_running()  # started inside the block, it would let interrupts through again
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _end_with(parent: int) -> None:
    """In a worker: end within a second of the process that asked for it, which may be killed before it can say so."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
