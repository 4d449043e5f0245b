"""The suite of membership attacks on Location-30, end to end as a whole process.

`python -m privassay.experiments.benchmarks.attack [--models 6 16 66] [--dtype float32]` prints JSON: for each pool size
the seconds of a fresh process (import, training, scoring every model as target, intervals), those of its parts, and for
each attack AUC, TPR at 1 % and 0.1 % FPR, means over targets.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from ...harness.types import ScoreTable

RECORDS, FPRS = 4010, (0.01, 0.001)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure each pool size in a process of its own and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", type=int, default=[6, 16, 66])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.inside:
        print(json.dumps(attack(chosen.models[0], chosen.dtype)))
        return
    results = [whole_process(models, chosen.dtype) for models in chosen.models]
    print(json.dumps({"load": os.getloadavg(), "dtype": chosen.dtype, "runs": results}, indent=1))


def whole_process(models: int, dtype: str) -> dict[str, object]:
    """Seconds of a fresh process that does it all, and what it found."""
    command = [sys.executable, "-m", __spec__.name, "--inside", "--models", str(models), "--dtype", dtype]
    start = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own module
    seconds = time.perf_counter() - start
    return {"models": models, "references": models - 2, "seconds": round(seconds, 2), **json.loads(done.stdout)}


def attack(models: int, dtype: str) -> dict[str, object]:
    """Train the pool, attack every model with the suite, measure with intervals."""
    marks = {"start": time.perf_counter()}
    from ...harness import catalog
    from ...harness.evaluation import NamedAttack, Setting, run_membership
    from ...harness.events import ignore
    from ...harness.metrics import membership_metrics
    from ...harness.pool import CandidateSpec
    from ...harness.splits import paired_halves
    from ...harness.stats import Resampling
    from ...harness.store import Store
    from ...harness.suite import suite_for
    from ...harness.training import train_pool

    def named(kind: catalog.Kind, name: str, **parameters: object) -> tuple[object, object]:
        component = catalog.build(kind, name, parameters, "benchmark")
        return component, catalog.identity(component, name)

    dataset = catalog.build("datasets", "location30", {}, "benchmark").load()
    split = paired_halves(dataset, models, RECORDS, 0)
    recipe = named("models", "torch_mlp", hidden=(128,), activation="tanh", epochs=60, batch_size=64, dtype=dtype)
    spec = CandidateSpec("mlp", "none", *recipe, *named("defenses", "none"))  # type: ignore[arg-type]
    marks["import and data"] = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        pool = train_pool(spec, (dataset, split), store, 0, ignore)
        marks["training"] = time.perf_counter()
        setting = Setting(dataset, split, np.arange(models), FPRS, Resampling(), 0, store, ignore)
        found: dict[str, dict[str, object]] = {}
        seconds: dict[str, float] = {}
        for name, section in suite_for(models - 2).attacks.items():
            parameters = {key: value for key, value in section.items() if key != "component"}
            begun = time.perf_counter()
            attack = NamedAttack(name, *named("attacks", str(section.get("component", name)), **parameters))  # type: ignore[arg-type]
            table = run_membership(attack, pool, setting)
            metrics = membership_metrics(table, FPRS, setting.resampling)
            seconds[name] = round(time.perf_counter() - begun, 2)
            found[name] = {
                metric: [round(part, 4) for part in (metrics[metric].value, metrics[metric].low, metrics[metric].high)]
                for metric in ("auc", "tpr_at_fpr_0.01")
            }
            found[name]["tpr_at_fpr_0.001, 2 false alarms"] = round(tail(table), 4)
        marks["attacks and intervals"] = time.perf_counter()
    names = list(marks)
    parts = {after: round(marks[after] - marks[before], 2) for before, after in pairwise(names)}
    return {"parts": parts, "attack_seconds": seconds, "found": found}


def tail(table: ScoreTable) -> float:
    """Mean TPR at 0.1 % FPR over targets: 2 false alarms among 2005, for comparison with published tables only."""
    from ...harness.stats import CrossedStatistic, Resampling

    statistic = CrossedStatistic(table, Resampling())
    n = table.scores.shape[1]
    values = statistic.per_target(np.ones((n, 1)), np.ones(n, dtype=np.bool_), [0.001])
    return float(np.nanmean(values["tpr_at_fpr_0.001"]))


if __name__ == "__main__":
    main()
