"""Time and memory of the membership attacks with reference models, on random signals of many records.

    OMP_NUM_THREADS=1 python -m privassay.experiments.benchmarks.attack_functions

prints JSON: for each function the processor seconds of the fastest of `--repeat` runs, and the most memory in MiB that
one run held at once beyond its input, its result included (as numpy reports it to tracemalloc, in a run of its own).
"""

from __future__ import annotations

import argparse
import json
import platform
import time
import tracemalloc
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ...attacks.membership.attack_r import attack_r_scores
from ...attacks.membership.base import base_scores
from ...attacks.membership.calibration import difficulty_scores
from ...attacks.membership.lira import lira_scores
from ...attacks.membership.rmia import rmia_calibrated, rmia_scores, tuned_a
from ...attacks.membership.signals import entropy, hinge, lira_logit, log_confidence, modified_entropy
from ...attacks.membership.stacked import stacked_scores
from ...attacks.membership.student_t import student_t_scores

POPULATION = 10_000
CLASSES = 100
FEW_CLASSES = 3  # the stacked attack takes all logits of all references: beside 256 of them 100 classes are 5 GB
Work = Mapping[str, Callable[[], object]]


def reference_attacks(records: int, references: int, dtype: str, rng: np.random.Generator) -> Work:
    """Every attack with reference models, on one set of signals below 0 (so that their exp are probabilities)."""
    first = rng.uniform(size=(references // 2, records)) < 0.5
    member = np.stack([first, ~first], axis=1).reshape(-1, records)

    def drawn(n: int) -> Any:
        signals = rng.standard_normal((len(member) + 1, n), dtype=np.float32)
        np.abs(signals, out=signals)
        return np.negative(signals, out=signals).astype(dtype, copy=False)

    signals, population = drawn(records), np.exp(drawn(POPULATION))
    p = np.exp(signals)
    normal, probable = (signals[0], signals[1:], member), (p[0], p[1:], member)
    z = population[0], population[1:]
    return {
        "lira_scores online pooled": lambda: lira_scores(*normal),
        "lira_scores online per_record": lambda: lira_scores(*normal, variance="per_record"),
        "lira_scores online per_record median": lambda: lira_scores(*normal, variance="per_record", center="median"),
        "lira_scores offline pooled": lambda: lira_scores(*normal, online=False),
        "student_t_scores": lambda: student_t_scores(*normal),
        "difficulty_scores": lambda: difficulty_scores(*normal),
        "base_scores online": lambda: base_scores(*normal),
        "base_scores offline": lambda: base_scores(*normal, online=False),
        "attack_r_scores": lambda: attack_r_scores(*normal),
        "rmia_scores online": lambda: rmia_scores(*probable),
        "rmia_scores offline": lambda: rmia_scores(*probable, online=False),
        f"rmia_calibrated, {POPULATION} population records": lambda: rmia_calibrated(*probable, *z),
        "tuned_a": lambda: tuned_a(*probable[1:]),
    }


def stacked_attack(records: int, references: int, dtype: str, rng: np.random.Generator) -> Work:
    """The stacked attack, from logits to scores."""
    first = rng.uniform(size=(references // 2, records)) < 0.5
    member = np.stack([first, ~first], axis=1).reshape(-1, records)
    logits = rng.standard_normal((len(member) + 1, records, FEW_CLASSES), dtype=np.float32).astype(dtype, copy=False)
    labels = rng.integers(FEW_CLASSES, size=records)
    return {f"stacked_scores, {FEW_CLASSES} classes": lambda: stacked_scores(logits[0], logits[1:], member, labels)}


def signal_functions(records: int, dtype: str, rng: np.random.Generator) -> Work:
    """Every signal on the answers of one model."""
    logits = rng.standard_normal((records, CLASSES), dtype=np.float32).astype(dtype, copy=False)
    labels = rng.integers(CLASSES, size=records)
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return {
        f"lira_logit, {CLASSES} classes": lambda: lira_logit(logits, labels),
        f"hinge, {CLASSES} classes": lambda: hinge(logits, labels),
        f"log_confidence, {CLASSES} classes": lambda: log_confidence(logits, labels, 2.0),
        f"entropy, {CLASSES} classes": lambda: entropy(probabilities),
        f"modified_entropy, {CLASSES} classes": lambda: modified_entropy(probabilities, labels),
    }


def measured(work: Callable[[], object], repeat: int) -> dict[str, float]:
    """Processor seconds of the fastest run, and peak memory of another one in MiB."""
    work()  # imports and the first touch of memory are no part of the attack
    seconds = []
    for _ in range(repeat):
        start = time.process_time()
        work()
        seconds.append(time.process_time() - start)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"seconds": round(min(seconds), 3), "peak_mib": round(peak / 2**20, 1)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure everything and print it."""
    parser = argparse.ArgumentParser(description="Time and memory of the attacks with reference models.")
    parser.add_argument("--records", type=int, default=50_000)
    parser.add_argument("--references", type=int, default=256, help="an even number")
    parser.add_argument("--dtype", choices=["float32", "float64"], default="float32")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args(arguments)
    rng = np.random.default_rng(0)
    work = {
        **reference_attacks(options.records, options.references, options.dtype, rng),
        **stacked_attack(options.records, options.references, options.dtype, rng),
        **signal_functions(options.records, options.dtype, rng),
    }
    results = {name: measured(function, options.repeat) for name, function in work.items()}
    about = {"processor": platform.machine(), "numpy": np.__version__, **vars(options)}
    print(json.dumps({"about": about, "results": results}, indent=2))


if __name__ == "__main__":
    main()
