"""How strong the attacks with reference models are at each number of references, on several data sets.

`python -m privassay.experiments.benchmarks.budget_table [--datasets NAME ...] [--budgets 4 8 16 64] [--targets 16]
[--store FOLDER]` prints JSON, and the same as a table in Markdown: means over targets of AUC | TPR at 1 % FPR | TPR at
0.1 % FPR. A pool of (largest budget + 2) models is trained for each data set; a smaller budget takes fewer of them,
the pairs that follow the target's own. Data sets whose files are not in the cache folder are named and left out.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...attacks.membership._stacked_features import signals_of_probabilities
from ...attacks.membership.lira import lira_scores
from ...attacks.membership.rmia import rmia_scores
from ...attacks.membership.signals import LogConfidence, confidence_logit
from ...attacks.membership.stacked import scores_from_signals
from ...attacks.membership.student_t import student_t_scores
from ...defenses.none import NoDefense
from ...harness import catalog
from ...harness.cache import cache_folder
from ...harness.errors import UsageError
from ...harness.events import ignore
from ...harness.pool import CandidateSpec, Pool
from ...harness.roc import Curve, RocOrder
from ...harness.splits import paired_halves
from ...harness.store import Store
from ...harness.training import train_pool
from ...harness.types import Bools, Dataset, Float64, Ints, Split
from ...models.torch_mlp import TorchMLP
from ..digits import Digits
from ..location30 import Location30
from ..mnist import MNIST

FPRS = (0.01, 0.001)
SIGNALS = (confidence_logit, LogConfidence(2.0), signals_of_probabilities)
Rows = dict[str, list[float]]


@dataclass(frozen=True)
class Task:
    """Records, how many of them are audited, and a recipe that fits them nearly or wholly."""

    load: Callable[[], Dataset]
    audited: int
    recipe: TorchMLP


def adult() -> Dataset:
    """5000 records of UCI Adult's training file, drawn once: categories as indicators, numbers scaled to [0, 1]."""
    with gzip.open(_cached("adult/adult.data.gz"), "rt") as file:
        rows = _drawn([[part.strip() for part in row] for row in csv.reader(file) if len(row) == 15], 5000)
    numbers = rows[:, [0, 4, 10, 11, 12]].astype(np.float64)
    numbers[:, 2:4] = np.log1p(numbers[:, 2:4])  # capital gains and losses
    numbers = (numbers - numbers.min(axis=0)) / np.ptp(numbers, axis=0)
    x = np.hstack([numbers, _indicators(rows[:, [1, 3, 5, 6, 7, 8, 9, 13]])])
    return _dataset("adult", x, rows[:, 14])


def nursery() -> Dataset:
    """3000 records of UCI Nursery, drawn once, without the class of two records: categories as indicators."""
    with gzip.open(_cached("nursery/nursery.csv.gz"), "rt") as file:
        rows = [row for row in csv.reader(file) if len(row) == 9][1:]
    drawn = _drawn([row for row in rows if row[-1] != "recommend"], 3000)
    return _dataset("nursery", _indicators(drawn[:, :-1]), drawn[:, -1])


def german() -> Dataset:
    """The 1000 records of Statlog German Credit: categories as indicators, numbers scaled to [0, 1]."""
    with gzip.open(_cached("german_credit/german.data.gz"), "rt") as file:
        rows = np.array([line.split() for line in file])
    numeric = [1, 4, 7, 10, 12, 15, 17]
    numbers = rows[:, numeric].astype(np.float64)
    numbers = (numbers - numbers.min(axis=0)) / np.ptp(numbers, axis=0)
    x = np.hstack([numbers, _indicators(rows[:, np.setdiff1d(np.arange(20), numeric)])])
    return _dataset("german", x, rows[:, 20])


TASKS = {
    "location30": Task(Location30().load, 4010, TorchMLP((128,), "tanh", epochs=60, batch_size=64)),
    "digits": Task(Digits().load, 1200, TorchMLP()),
    "mnist": Task(MNIST(records=2500).load, 2000, TorchMLP((128,), epochs=40, learning_rate=0.05)),
    "adult": Task(adult, 4000, TorchMLP((64,), epochs=40, batch_size=64)),
    "nursery": Task(nursery, 2000, TorchMLP((64,), epochs=40)),
    "german": Task(german, 800, TorchMLP((64,), epochs=40)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--datasets", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--budgets", nargs="+", type=int, default=[4, 8, 16, 64], help="even numbers of references")
    parser.add_argument("--targets", type=int, default=16)
    parser.add_argument("--store", type=Path, help="where trained models are kept; a temporary folder when not given")
    chosen = parser.parse_args(arguments)
    if any(budget < 4 or budget % 2 for budget in chosen.budgets):
        parser.error("--budgets: even numbers, at least 4")
    found: dict[str, dict[int, Rows]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.datasets:
            try:
                pool, split = trained(name, max(chosen.budgets) + 2, Store(chosen.store or Path(folder)))
            except UsageError as error:
                print(f"{name} left out: {error}", file=sys.stderr)
                continue
            targets = np.unique(np.linspace(0, split.models - 1, chosen.targets).astype(np.int64))
            found[name] = {budget: measured(pool, split, targets, budget) for budget in chosen.budgets}
    print(json.dumps(found, indent=1))
    print(markdown(found))


def trained(name: str, models: int, store: Store) -> tuple[Pool, Split]:
    """The pool of a data set's models and who trained on what."""
    task, defense = TASKS[name], NoDefense()
    dataset = task.load()
    split = paired_halves(dataset, models, task.audited, 0)
    identities = catalog.identity(task.recipe, "torch_mlp"), catalog.identity(defense, "none")
    spec = CandidateSpec("mlp", "none", task.recipe, identities[0], defense, identities[1])
    return train_pool(spec, (dataset, split), store, 0, ignore), split


def measured(pool: Pool, split: Split, targets: Ints, budget: int) -> Rows:
    """By attack: mean over targets of AUC and of TPR at each FPR."""
    results: dict[str, list[list[float]]] = {}
    for target in targets:
        pairs = (target // 2 + 1 + np.arange(budget // 2)) % (split.models // 2)
        references = np.sort(np.concatenate([2 * pairs, 2 * pairs + 1]))
        for attack, scores in _scored(pool, split, int(target), references).items():
            results.setdefault(attack, []).append(_performance(scores, split.member[target]))
    return {attack: np.mean(values, axis=0).round(4).tolist() for attack, values in results.items()}


def _scored(pool: Pool, split: Split, target: int, references: Ints) -> dict[str, Float64]:
    """Scores of one target by attack."""
    member = split.member[references]
    logit, confidence, signals = (pool.measured(signal) for signal in SIGNALS)
    tempered = np.exp(confidence, dtype=np.float64)
    return {
        "lira": lira_scores(logit[target], logit[references], member),
        "student_t": student_t_scores(logit[target], logit[references], member),
        "rmia": rmia_scores(tempered[target], tempered[references], member),
        "stacked": scores_from_signals(signals[target], signals[references], member, seed=0),
    }


def _performance(scores: Float64, member: Bools) -> list[float]:
    """AUC and TPR at each of `FPRS`."""
    everyone = np.ones(len(scores))
    curve = Curve.of(RocOrder.of(scores, member, everyone.astype(np.bool_)), everyone[:, np.newaxis])
    return [float(curve.auc()[0]), *(float(curve.tpr_at(fpr)[0]) for fpr in FPRS)]


def markdown(found: dict[str, dict[int, Rows]]) -> str:
    """One row a data set and attack, one column a budget."""
    budgets = sorted({budget for rows in found.values() for budget in rows})
    lines = [
        f"| data | attack | {' | '.join(f'{budget} references' for budget in budgets)} |",
        "|---|---|" + "---|" * len(budgets),
    ]
    for name, by_budget in found.items():
        for attack in ("lira", "student_t", "rmia", "stacked"):
            cells = (" / ".join(f"{value:.3f}" for value in by_budget[budget][attack]) for budget in budgets)
            lines.append(f"| {name} | {attack} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cached(name: str) -> Path:
    path = cache_folder() / name
    if not path.is_file():
        raise UsageError(f"{path}: no such file")
    return path


def _drawn(rows: list[list[str]], records: int) -> NDArray[np.str_]:
    kept = np.random.default_rng(0).permutation(len(rows))[:records]
    return np.array([rows[k] for k in kept])


def _indicators(columns: NDArray[np.str_]) -> Float64:
    """One column of 0 and 1 for each value of each column."""
    parts = [column[:, np.newaxis] == np.unique(column) for column in columns.T]
    return np.hstack(parts).astype(np.float64)


def _dataset(name: str, x: Float64, labels: NDArray[np.str_]) -> Dataset:
    classes, y = np.unique(labels, return_inverse=True)
    return Dataset(name, x.astype(np.float32), y.astype(np.int64), len(classes), (0.0, 1.0), False, "CC BY 4.0")


if __name__ == "__main__":
    main()
