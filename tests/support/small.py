"""A small real setting: digits, a few quickly trained models, one store for a test session."""

import numpy as np
from privassay.defenses.none import NoDefense
from privassay.defenses.output_perturbation import OutputPerturbation
from privassay.experiments.digits import Digits
from privassay.harness import catalog
from privassay.harness.evaluation import NamedAttack, Setting
from privassay.harness.events import ignore
from privassay.harness.pool import CandidateSpec
from privassay.harness.splits import paired_halves
from privassay.harness.stats import Resampling
from privassay.harness.store import Store
from privassay.harness.training import train_pool
from privassay.models.torch_mlp import TorchMLP

RECIPE = TorchMLP(hidden=(32,), epochs=30, batch_size=16)


def spec(defense_name="none"):
    defense = {"none": NoDefense(), "output_perturbation": OutputPerturbation()}[defense_name]
    return CandidateSpec(
        "mlp",
        defense_name,
        RECIPE,
        catalog.identity(RECIPE, "torch_mlp"),
        defense,
        catalog.identity(defense, defense_name),
    )


def setting(folder, models=6, records=200, seed=0):
    dataset = Digits().load()
    return Setting(
        dataset=dataset,
        split=paired_halves(dataset, models, records, seed),
        targets=np.arange(models),
        fprs=(0.1,),
        resampling=Resampling(resamples=100),
        seed=seed,
        store=Store(folder),
        observe=ignore,
    )


def pool(where, defense_name="none"):
    return train_pool(spec(defense_name), (where.dataset, where.split), where.store, where.seed, ignore)


def attack(name, **parameters):
    component = catalog.build("attacks", name, parameters, "test")
    return NamedAttack(name, component, catalog.identity(component, name))
