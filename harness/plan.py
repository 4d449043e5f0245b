"""A checked experiment: everything that can be wrong with it is found before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalog, config, policy
from .controls import PlantedLeak
from .dataset_checks import check_dataset
from .errors import UsageError
from .evaluation import NamedAttack
from .pool import CandidateSpec
from .protocols import Recipe
from .splits import paired_halves
from .store import key_of
from .types import Dataset, Identity, Split

VERSION = 1


@dataclass(frozen=True, eq=False)
class Plan:
    """An experiment whose names, parameters, data and policy were checked.

    Attributes:
        config: the experiment file, defaults included.
        dataset: the records.
        split: who will train on what.
        specs: the candidates, in order.
        attacks: the attacks, in order.
        planted: what the planted-leak control trains and runs.
        judge: recipe of the independent classifier that measures model inversion.
        policy: limits that judge the run, if any.
    """

    config: config.ExperimentConfig
    dataset: Dataset
    split: Split
    specs: tuple[CandidateSpec, ...]
    attacks: tuple[NamedAttack, ...]
    planted: PlantedLeak
    judge: Recipe
    policy: policy.Policy | None

    @property
    def run_id(self) -> str:
        """Hash of all that changes results: configuration, data and the version of this formula."""
        settings = self.config.model_dump(mode="json", exclude={"description", "policy", "release"})
        return key_of("run", VERSION, {"config": settings, "data": self.dataset.sha256})[:16]


def make(path: Path, overrides: Sequence[str] = ()) -> Plan:
    """Read an experiment file and check it against the catalogue, the data and the policy.

    Args:
        path: the experiment file.
        overrides: `KEY=VALUE` settings on top of it, keys dotted.

    Raises:
        UsageError: anything wrong, in one line.
    """
    settings = config.load(path, overrides)
    source = str(path)
    specs = _specs(settings, source)
    attacks = tuple(_attack(name, section, source) for name, section in settings.attacks.items())
    rules = None if settings.policy is None else policy.load(path.parent / settings.policy)
    judge, _ = _build("models", "evaluation_classifier", settings.evaluation_classifier, source)
    dataset = _dataset(settings, source)
    split = paired_halves(dataset, settings.pool.models, settings.pool.records, settings.seed)
    return Plan(settings, dataset, split, specs, attacks, _planted(specs[0], source), judge, rules)


def _specs(settings: config.ExperimentConfig, source: str) -> tuple[CandidateSpec, ...]:
    """Every candidate, its model and defence built once and checked to fit each other."""
    recipes = {name: _build("models", name, section, source) for name, section in settings.models.items()}
    defenses = {name: _build("defenses", name, section, source) for name, section in settings.defenses.items()}
    specs = tuple(
        CandidateSpec(model, defense, *recipes[model], *defenses[defense])
        for model, defense in settings.candidate_pairs()
    )
    for spec in specs:
        reason = spec.defense.supports(spec.recipe)
        if reason is not None:
            raise UsageError(f"{source}: candidate {spec.id}: {reason}")
    return specs


def _planted(spec: CandidateSpec, source: str) -> PlantedLeak:
    """The first candidate's recipe, undefended, under the two attacks that must see what it memorised."""
    undefended = CandidateSpec(
        f"planted-{spec.model}",
        "none",
        spec.recipe,
        spec.recipe_identity,
        *_build("defenses", "none", {}, source),
    )
    return PlantedLeak(undefended, tuple(_attack(name, {}, source) for name in ("loss", "lira")))


def _attack(name: str, section: config.Component, source: str) -> NamedAttack:
    return NamedAttack(name, *_build("attacks", name, section, source))


def _build(kind: catalog.Kind, key: str, section: config.Component, source: str) -> tuple[Any, Identity]:
    """A component and its identity, from the section `key` of the experiment file."""
    name = config.component_name(key, section)
    where = f"{source}: {key}" if kind == "datasets" or key == "evaluation_classifier" else f"{source}: {kind}.{key}"
    component = catalog.build(kind, name, config.parameters(section), where)
    return component, catalog.identity(component, name)


def _dataset(settings: config.ExperimentConfig, source: str) -> Dataset:
    loader, _ = _build("datasets", "data", settings.data, source)
    dataset: Dataset = loader.load()
    check_dataset(dataset, f"{source}: data")
    return dataset
