"""Every pair of recipe and defence, and every released model, before every attack: what runs, and what refuses why.

Models and data are as small as they may be: what is asked is whether, not how well.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..harness import catalog
from ..harness.accounting import claim_of
from ..harness.errors import NotApplicable, PrivassayError, UsageError
from ..harness.evaluation import NamedAttack, Setting, run_inversion, run_membership
from ..harness.events import ignore
from ..harness.pool import CandidateSpec, Pool
from ..harness.protocols import task_of
from ..harness.splits import paired_halves
from ..harness.stats import Resampling
from ..harness.store import Store
from ..harness.training import train_pool
from ..harness.types import Dataset, Identity, Split
from ._contract_targets import USER_CODE, opened
from ._contract_user_code import records
from .diabetes import Diabetes

Parameters = Mapping[str, Any]
Outcomes = dict[str, str]

RUNS = "runs"
REFUSES = "refuses: "
ERROR = "error: "

MODELS, RECORDS = 6, 120
_BOOSTED = {"max_iter": 5, "min_samples_leaf": 5}
RECIPES: Mapping[str, Parameters] = {
    "keras_cnn": {"channels": [4], "epochs": 5},
    "keras_mlp": {"hidden": [16], "epochs": 5},
    "keras_module": {"build": f"{USER_CODE}:keras_network", "epochs": 5},
    "python": {"train": f"{USER_CODE}:train"},
    "sklearn_estimator": {"build": f"{USER_CODE}:pipeline"},
    "sklearn_hist_gradient_boosting": _BOOSTED,
    "sklearn_mlp": {"hidden_layer_sizes": [16], "max_iter": 30},
    "sklearn_random_forest": {"n_estimators": 10},
    "sklearn_svm": {"cv": 2},
    "torch_cnn": {"channels": [4], "epochs": 20},
    "torch_mlp": {"hidden": [16], "epochs": 5},
    "torch_module": {"build": f"{USER_CODE}:torch_network", "epochs": 5},
}
DEFENSES: Mapping[str, Parameters] = {
    "bolt_on": {"target_epsilon": 1000.0, "target_delta": 1e-3},
    "convex_output_perturbation": {"target_epsilon": 1000.0, "target_delta": 1e-3},
    "dp_sgd": {
        "target_epsilon": None,
        "noise_multiplier": 0.5,
        "epochs": 10,
        "learning_rate": 0.5,
        "target_delta": 1e-3,
    },
    "k_anonymity": {"k": 2},
    "objective_perturbation": {"target_epsilon": 1000.0},
    "pate": {"target_epsilon": 1000.0, "target_delta": 1e-3, "teachers": 2, "queries": 120},
}
ATTACKS: Mapping[str, Parameters] = {
    "art_black_box": {"attack_model_type": "dt"},
    "art_black_box_knows_members": {"attack_model_type": "dt"},
    "art_boundary": {"max_records": 20, "queries": 60},
    "art_miface": {"max_iter": 3},
}
"""Parameters of components whose own are too slow, or whose noise would leave a model of so few records one answer."""


@dataclass(frozen=True)
class Combination:
    """One recipe behind one defence.

    Attributes:
        training: what came of training the pool.
        attacks: what came of each attack, by name; where nothing was trained, the reason for that.
    """

    training: str
    attacks: Outcomes


def backend(recipe: str, defenses: Sequence[str], attacks: Sequence[str]) -> dict[str, Combination]:
    """One recipe behind each defence."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        made, _ = _component("models", recipe, RECIPES, store.root)
        data = records() if task_of(made) == "classification" else Diabetes().load()
        together = data, paired_halves(data, MODELS, RECORDS, 0)
        for defense in defenses:
            pool, training = _trained(recipe, defense, together, store)
            attacked = dict.fromkeys(attacks, training)
            if pool is not None:
                attacked = _attacked(pool, together, store, attacks)
            found[defense] = Combination(training, attacked)
    return found


def target(name: str, attacks: Sequence[str]) -> Outcomes:
    """One of `TARGETS` before each attack."""
    with tempfile.TemporaryDirectory() as text:
        folder, outcomes = Path(text), dict[str, str]()

        def attacked() -> None:
            with opened(name, folder) as (pool, data, split):
                outcomes.update(_attacked(pool, (data, split), Store(folder / "store"), attacks))

        outcome = outcome_of(attacked)
        return outcomes if outcome == RUNS else dict.fromkeys(attacks, outcome)


def outcome_of(work: Callable[[], object]) -> str:
    """What came of it: `runs`, `refuses: REASON` where it refuses in a line of its own, else `error: ...`."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tiny models do not converge, and are not meant to
        try:
            work()
        except (NotApplicable, UsageError) as error:
            return f"{REFUSES}{error}"
        except Exception as error:  # whatever else happens is a defect, and belongs into the table
            kind = "" if isinstance(error, PrivassayError) else f"{type(error).__name__}: "
            return f"{ERROR}{kind}{' '.join(str(error).split())}"
    return RUNS


def _trained(recipe: str, defense: str, data: tuple[Dataset, Split], store: Store) -> tuple[Pool | None, str]:
    """The pool, None where there is none, and what came of training it."""
    pools: list[Pool] = []

    def train() -> None:
        model = _component("models", recipe, RECIPES, store.root)
        spec = CandidateSpec(recipe, defense, *model, *_component("defenses", defense, DEFENSES, store.root))
        reason = spec.defense.supports(spec.recipe, RECORDS // 2)
        if reason is not None:
            raise NotApplicable(reason)
        pool = train_pool(spec, data, store, 0, ignore)
        mechanism = pool.mechanism(0)
        if (mechanism is None) == (spec.defense.guarantee == "formal"):
            raise AssertionError(f"guarantee {spec.defense.guarantee}, but mechanism {mechanism}")
        if mechanism is not None:
            claim_of(mechanism)
        pools.append(pool)

    outcome = outcome_of(train)
    return (pools[0] if pools else None), outcome


def _attacked(pool: Pool, data: tuple[Dataset, Split], store: Store, attacks: Sequence[str]) -> Outcomes:
    """What came of each attack on model 0."""
    setting = Setting(
        dataset=data[0],
        split=data[1],
        targets=np.arange(1),
        fprs=(0.1,),
        resampling=Resampling(resamples=100),
        seed=0,
        store=store,
        observe=ignore,
    )

    def attack(name: str) -> object:
        named = NamedAttack(name, *_component("attacks", name, ATTACKS, store.root))
        run = run_membership if named.attack.family == "membership" else run_inversion
        return run(named, pool, setting)

    return {name: outcome_of(lambda name=name: attack(name)) for name in attacks}  # type: ignore[misc]


def _component(
    kind: catalog.Kind, name: str, parameters: Mapping[str, Parameters], folder: Path
) -> tuple[Any, Identity]:
    made = catalog.build(kind, name, parameters.get(name, {}), "contract", folder)
    return made, catalog.identity(made, name)
