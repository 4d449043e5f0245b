"""Peak memory of a large pool: 256 models on 50,000 records, trained, kept, and attacked.

`python -m privassay.experiments.benchmarks.memory [--models 256] [--records 50000]` prints JSON. The networks are small
and see their records once: what is measured is how memory grows with models and records, which is the store's and the
attacks' business, not the network's.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...attacks.membership.lira import LiRA
from ...attacks.membership.rmia import RMIA
from ...defenses.none import NoDefense
from ...harness import catalog
from ...harness.evaluation import NamedAttack, Setting, run_membership
from ...harness.events import ignore
from ...harness.pool import CandidateSpec
from ...harness.splits import paired_halves
from ...harness.stats import Resampling
from ...harness.store import Store
from ...harness.training import train_pool
from ...harness.types import Dataset
from ...models.torch_mlp import TorchMLP


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=256)
    parser.add_argument("--records", type=int, default=50_000)
    chosen = parser.parse_args(arguments)
    start = time.perf_counter()
    report: dict[str, object] = {"models": chosen.models, "records": chosen.records, "GiB before": peak()}
    dataset = random_records(chosen.records)
    split = paired_halves(dataset, chosen.models, chosen.records, 0)
    recipe, defense = TorchMLP(hidden=(16,), epochs=1, batch_size=500), NoDefense()
    spec = CandidateSpec(
        "mlp", "none", recipe, catalog.identity(recipe, "torch_mlp"), defense, catalog.identity(defense, "none")
    )
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        pool = train_pool(spec, (dataset, split), store, 0, ignore)
        report["GiB after training"] = peak()
        setting = Setting(dataset, split, np.arange(2), (0.001,), Resampling(), 0, store, ignore)
        for name, attack in (("lira", LiRA()), ("rmia", RMIA())):
            run_membership(NamedAttack(name, attack, catalog.identity(attack, name)), pool, setting)
            report[f"GiB after {name}"] = peak()
    report["seconds"] = round(time.perf_counter() - start, 1)
    print(json.dumps(report, indent=1))


def random_records(records: int) -> Dataset:
    """Records of 20 features in 10 classes, and 100 more that are never members."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(records + 100, 20)).astype(np.float32).clip(-5, 5)
    return Dataset("random", x, rng.integers(0, 10, len(x)), 10, (-5.0, 5.0), public=True, licence="none needed")


def peak() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2)


if __name__ == "__main__":
    main()
