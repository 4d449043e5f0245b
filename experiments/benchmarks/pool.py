"""Training a pool of models: ours beside the plain loop, one-thread processes, Opacus and the machine's limit.

`python -m privassay.experiments.benchmarks.pool [--recipes NAME ...] [--models M ...] [--epochs N]` prints JSON. All
of it is measured in one process run, seconds per model as the median of repetitions that take turns, so that a busy
moment hits every method. Times of few epochs are scaled to the recipe's own number.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from ...defenses import _dpsgd_torch
from ...defenses.dp_sgd import DPSGD
from ...harness.types import Ints, TrainingData
from ...models import _torch
from ...models._workers import Halt
from ...models.torch_cnn import TorchCNN
from ...models.torch_mlp import TorchMLP

REPETITIONS = 3


@dataclass(frozen=True)
class Task:
    """A recipe with the shape of its data; `flop` of one model over `epochs`, without gradients by the records."""

    recipe: TorchMLP | TorchCNN
    shape: tuple[int, ...]
    classes: int
    records: int

    def data(self) -> TrainingData:
        """Random records of that shape: speed does not depend on what they say."""
        rng = np.random.default_rng(0)
        x = (rng.random((2 * self.records, *self.shape)) < 0.2).astype(np.float32)
        return TrainingData(x, rng.integers(0, self.classes, 2 * self.records), self.classes, (0.0, 1.0))


TASKS = {
    "mlp_446_128_30": Task(
        TorchMLP(hidden=(128,), activation="tanh", epochs=60, batch_size=64), shape=(446,), classes=30, records=2005
    ),
    "mlp_600_256_128_100": Task(
        TorchMLP(hidden=(256, 128), epochs=30, batch_size=256, learning_rate=0.05), (600,), 100, 5000
    ),
    "cnn_28x28": Task(TorchCNN(epochs=10, batch_size=64), (28, 28), 10, 2000),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipes", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--models", nargs="+", type=int, default=[8, 16, 64], help="pool sizes for the flatness row")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of each timed run, scaled to the recipe's")
    parser.add_argument("--no-private", action="store_true", help="leave out DP-SGD")
    chosen = parser.parse_args(arguments)
    result: dict[str, object] = {"machine": machine(), "seconds_per_model": {}}
    for name in chosen.recipes:
        result["seconds_per_model"][name] = measure(TASKS[name], chosen.models, chosen.epochs)  # type: ignore[index]
    if not chosen.no_private:
        result["dp_sgd"] = measure_private(TASKS["mlp_446_128_30"])
    result["machine after"] = machine()
    print(json.dumps(result, indent=1))


def machine() -> dict[str, object]:
    """Load and the rate of square matrix products (2048), GFLOP/s."""
    rates = {
        f"{dtype}, {threads} threads".replace("torch.", ""): round(gemm_rate(dtype, threads))
        for dtype in (torch.float32, torch.bfloat16)
        for threads in (1, 2)
    }
    return {"load": [round(load, 2) for load in os.getloadavg()], "gemm_gflops": rates}


def gemm_rate(dtype: torch.dtype, threads: int, size: int = 2048) -> float:
    """GFLOP/s of a square product, median of five."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    left, right = torch.randn(size, size).to(dtype), torch.randn(size, size).to(dtype)
    out = torch.empty(size, size, dtype=dtype)
    times = [timed(lambda: torch.mm(left, right, out=out)) for _ in range(6)][1:]
    torch.set_num_threads(before)
    return 2 * size**3 / statistics.median(times) / 1e9


def timed(work: Callable[[], object]) -> float:
    """Wall-clock seconds of a call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure(task: Task, pools: Sequence[int], epochs: int) -> dict[str, float]:
    """Seconds per model of every way to train the recipe plainly, at its own number of epochs."""
    data, recipe = task.data(), dataclasses.replace(task.recipe, epochs=epochs)
    scale = task.recipe.epochs / epochs
    methods: dict[str, tuple[int, Callable[[], object]]] = {
        "plain loop, 1 thread": (2, lambda: plain(recipe, data, halves(task, 2), 1)),
        "plain loop, 2 threads": (1, lambda: plain(recipe, data, halves(task, 1), 2)),
        "two one-thread processes": (4, lambda: two_processes(recipe, data, halves(task, 4))),
    }
    for models in pools:
        methods[f"pool of {models}, float32"] = (models, pool_of(recipe, data, halves(task, models)))
    if isinstance(recipe, TorchMLP):
        low = dataclasses.replace(recipe, dtype="bfloat16")
        for models in pools:
            methods[f"pool of {models}, bfloat16"] = (models, pool_of(low, data, halves(task, models)))
    return medians(methods, scale)


def medians(methods: dict[str, tuple[int, Callable[[], object]]], scale: float) -> dict[str, float]:
    """Median seconds per model over repetitions in which all methods take turns, after one round to warm up."""
    times: dict[str, list[float]] = {name: [] for name in methods}
    for repetition in range(REPETITIONS + 1):
        for name, (models, work) in methods.items():
            seconds = timed(work) / models * scale
            if repetition:
                times[name].append(seconds)
    return {name: round(statistics.median(values), 4) for name, values in times.items()}


def halves(task: Task, models: int) -> list[Ints]:
    """Random halves of the records."""
    rng = np.random.default_rng(1)
    return [np.sort(rng.permutation(2 * task.records)[: task.records]) for _ in range(models)]


def pool_of(recipe: TorchMLP | TorchCNN, data: TrainingData, rows: list[Ints]) -> Callable[[], object]:
    """Our trainer."""
    return lambda: list(recipe.fit_pool(data, rows, range(len(rows))))


def plain(recipe: TorchMLP | TorchCNN, data: TrainingData, rows: list[Ints], threads: int) -> None:
    """The plain loop of torch on tensors in memory: autograd, `torch.optim`, no DataLoader."""
    for seed, own in enumerate(rows):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        module = recipe.untrained(data.shape, data.n_classes, seed)
        loop = _torch.plain_loop(recipe, seed, Halt())
        loop(module, torch.from_numpy(data.x[own]), torch.from_numpy(data.y[own]))
        torch.set_num_threads(before)


def two_processes(recipe: TorchMLP | TorchCNN, data: TrainingData, rows: list[Ints]) -> None:
    """Two forked processes, one thread each, half of the models each; forking itself costs milliseconds."""
    context = multiprocessing.get_context("fork")
    parts = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    workers = [context.Process(target=plain, args=(recipe, data, part, 1)) for part in parts]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def measure_private(task: Task) -> dict[str, float]:
    """Seconds per model and epoch of DP-SGD: our pool of 16, and Opacus one model at a time."""
    assert isinstance(task.recipe, TorchMLP)
    data, recipe = task.data(), dataclasses.replace(task.recipe, epochs=1)
    settings = DPSGD(None, noise_multiplier=1.0, max_grad_norm=1.0, target_delta=1e-4)
    rows = halves(task, 16)
    methods: dict[str, tuple[int, Callable[[], object]]] = {
        "pool of 16": (16, lambda: list(settings.train(recipe, data, rows, range(16)))),
        "Opacus, hooks": (1, lambda: _dpsgd_torch.train(recipe, data, rows[0], 0, settings)),
        "Opacus, ghost": (1, lambda: opacus_ghost(recipe, data, rows[0], settings)),
    }
    return medians(methods, 1.0)


def opacus_ghost(recipe: TorchMLP, data: TrainingData, rows: Ints, settings: DPSGD) -> None:
    """One model by Opacus's ghost clipping, batches drawn from tensors in memory as in our own halves."""
    from opacus.grad_sample.grad_sample_module_fast_gradient_clipping import GradSampleModuleFastGradientClipping
    from opacus.optimizers.optimizer_fast_gradient_clipping import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    with _torch.one_thread():
        bound, rate = settings.max_grad_norm, recipe.batch_size / len(rows)
        module = GradSampleModuleFastGradientClipping(
            recipe.untrained(data.shape, data.n_classes, 0), max_grad_norm=bound, use_ghost_clipping=True
        )
        optimizer = DPOptimizerFastGradientClipping(
            recipe.optimizer_for(module),
            noise_multiplier=1.0,
            max_grad_norm=bound,
            expected_batch_size=rate * len(rows),
        )
        criterion = DPLossFastGradientClipping(module, optimizer, torch.nn.CrossEntropyLoss())
        x, y = torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows])
        generator = torch.Generator().manual_seed(0)
        for batch in _dpsgd_torch.poisson_batches(len(rows), rate, round(recipe.epochs / rate), generator):
            optimizer.zero_grad()
            criterion(module(x[batch]), y[batch]).backward()
            optimizer.step()


if __name__ == "__main__":
    main()
