"""A checked experiment: everything that can be wrong with it is found before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import canaries, catalog, config, policy
from .dataset_checks import check_dataset
from .errors import UsageError
from .evaluation import NamedAttack
from .pool import CandidateSpec
from .protocols import DatasetSource, Recipe
from .splits import paired_halves
from .store import key_of
from .types import Dataset, Identity, Split

VERSION = 2


@dataclass(frozen=True, eq=False)
class Plan:
    """An experiment whose names, parameters, data and policy were checked.

    Attributes:
        config: the experiment file, defaults included.
        dataset: the records.
        split: who will train on what.
        specs: the candidates, in order.
        attacks: the attacks, in order.
        control_attacks: what the controls check: the membership attacks, or the loss attack where there is none.
        control_forests: what the planted-leak control and the model-free baseline train.
        judge: recipe of the independent classifier that measures model inversion.
        policy: limits that judge the run, if any.
    """

    config: config.ExperimentConfig
    dataset: Dataset
    split: Split
    specs: tuple[CandidateSpec, ...]
    attacks: tuple[NamedAttack, ...]
    control_attacks: tuple[NamedAttack, ...]
    control_forests: tuple[CandidateSpec, CandidateSpec]
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
    attacks = tuple(_attack(name, section, source) for name, section in settings.all_attacks().items())
    _check_references(attacks, settings, source)
    _check_primary(attacks, settings, source)
    rules = None if settings.policy is None else policy.load(path.parent / settings.policy)
    judge, _ = _build("models", "evaluation_classifier", settings.evaluation_classifier, source)
    dataset = _dataset(settings, source)
    try:
        split = paired_halves(dataset, settings.pool.models, settings.pool.records, settings.seed)
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from error
    _check_audit(settings, specs, dataset, source)
    membership = tuple(named for named in attacks if named.attack.family == "membership")
    checked = membership or (_attack("loss", {}, source),)
    return Plan(settings, dataset, split, specs, attacks, checked, _control_forests(source), judge, rules)


def _specs(settings: config.ExperimentConfig, source: str) -> tuple[CandidateSpec, ...]:
    """Every candidate, its model and defence built once and checked to fit each other."""
    recipes = {name: _build("models", name, section, source) for name, section in settings.models.items()}
    defenses = {name: _build("defenses", name, section, source) for name, section in settings.defenses.items()}
    specs = tuple(
        CandidateSpec(model, defense, *recipes[model], *defenses[defense])
        for model, defense in settings.candidate_pairs()
    )
    for spec in specs:
        reason = spec.defense.supports(spec.recipe, settings.pool.records // 2)
        if reason is not None:
            raise UsageError(f"{source}: candidate {spec.id}: {reason}")
    return specs


def _check_references(attacks: Sequence[NamedAttack], settings: config.ExperimentConfig, source: str) -> None:
    """The pool leaves every attack the references it needs: all models but the target and its complement."""
    left = settings.references
    for named in attacks:
        needed = named.attack.threat_model.reference_models
        if left < needed:
            raise UsageError(
                f"{source}: attacks.{named.id}: needs {needed} reference models, pool.models={settings.pool.models} "
                f"leaves {left}; must be at least {needed + 2 + needed % 2}"
            )


def _check_primary(attacks: Sequence[NamedAttack], settings: config.ExperimentConfig, source: str) -> None:
    """Only membership attacks are compared with each other."""
    primary = settings.primary_attack()
    for named in attacks:
        if named.id == primary and named.attack.family != "membership":
            raise UsageError(f"{source}: primary: {named.id!r} is no membership attack")


def _check_audit(
    settings: config.ExperimentConfig, specs: Sequence[CandidateSpec], dataset: Dataset, source: str
) -> None:
    """The canaries that an audit asks for can be made, and the candidates can be trained with them."""
    section, half = settings.audit, settings.pool.records // 2
    if section is None:
        return
    taken = section.canaries * canaries.copies_of(section.kind)
    if taken > half:
        raise UsageError(
            f"{source}: audit.canaries={section.canaries}: must be at most {half * section.canaries // taken} for "
            f"kind={section.kind}: they take the place of half of pool.records={settings.pool.records}"
        )
    try:
        canaries.check_kind(section.kind, dataset)
        canaries.check_number(section.canaries * section.models, section.delta)
    except UsageError as error:
        raise UsageError(f"{source}: audit: {error}") from error
    for spec in specs:
        if section.covers(spec.id):
            _check_audit_of(spec, section, half + taken, source)


def _check_audit_of(spec: CandidateSpec, section: config.AuditSection, records: int, source: str) -> None:
    """The defence can train with the canaries, and the delta that it claims allows so many."""
    reason = spec.defense.supports(spec.recipe, records)
    if reason is not None:
        raise UsageError(f"{source}: audit of {spec.id}: {reason}")
    claimed = spec.defense.training_parameters().get("target_delta")
    if isinstance(claimed, float):
        try:
            canaries.check_number(section.canaries * section.models, claimed)
        except UsageError as error:
            raise UsageError(f"{source}: audit of {spec.id}: {error}") from error


def _control_forests(source: str) -> tuple[CandidateSpec, CandidateSpec]:
    """One that memorises whatever it is fitted to, and one that does not; the same, whatever the run's framework."""
    defense = _build("defenses", "none", {}, source)
    memorising = _build("models", "planted", {"component": "sklearn_random_forest"}, source)
    smooth = _build("models", "blind", {"component": "sklearn_random_forest", "min_samples_leaf": 10}, source)
    return CandidateSpec("planted", "none", *memorising, *defense), CandidateSpec("blind", "none", *smooth, *defense)


def _attack(name: str, section: config.Component, source: str) -> NamedAttack:
    return NamedAttack(name, *_build("attacks", name, section, source))


def _build(kind: catalog.Kind, key: str, section: config.Component, source: str) -> tuple[Any, Identity]:
    """A component and its identity, from the section `key` of the experiment file."""
    name = config.component_name(key, section)
    where = f"{source}: {key}" if kind == "datasets" or key == "evaluation_classifier" else f"{source}: {kind}.{key}"
    component = catalog.build(kind, name, config.parameters(section), where)
    return component, catalog.identity(component, name)


def _dataset(settings: config.ExperimentConfig, source: str) -> Dataset:
    loader: DatasetSource = _build("datasets", "data", settings.data, source)[0]
    dataset = loader.load()
    check_dataset(dataset, f"{source}: data")
    return dataset
