"""A checked experiment: everything that can be wrong with it is found before anything is trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from . import canaries, config, policy
from .builder import Builder
from .candidate_checks import check_candidates
from .errors import UsageError
from .evaluation import NamedAttack
from .named_target import NamedTarget
from .pool import CandidateSpec
from .protocols import ClassAttack, DataDefense, Recipe, keeps_models, task_of
from .released_plan import released_plan
from .splits import paired_halves
from .store import key_of
from .trust import Trust
from .types import Dataset, Split

VERSION = 3

_NOT_KEPT = (
    "its models are not kept, so they cannot be asked about canaries; name the candidates that are to be audited under "
    "audit.candidates"
)


@dataclass(frozen=True, eq=False)
class Plan:
    """An experiment whose names, parameters, data and policy were checked.

    Attributes:
        config: the experiment file, defaults included.
        dataset: the records.
        split: who will train on what.
        specs: the candidates that this run trains, in order.
        targets: the models that somebody else trained, opened, in order; there are these or `specs`.
        attacks: the attacks, in order.
        control_attacks: what the controls check: the membership attacks, or the loss attack where there is none.
        control_forests: what the planted-leak control and the model-free baseline train.
        judge: recipe of the independent classifier that measures model inversion.
        policy: limits that judge the run, if any.
        trust: which files that can run code were read.
    """

    config: config.ExperimentConfig
    dataset: Dataset
    split: Split
    specs: tuple[CandidateSpec, ...]
    targets: tuple[NamedTarget, ...]
    attacks: tuple[NamedAttack, ...]
    control_attacks: tuple[NamedAttack, ...]
    control_forests: tuple[CandidateSpec, CandidateSpec]
    judge: Recipe
    policy: policy.Policy | None
    trust: Trust

    @property
    def run_id(self) -> str:
        """Hash of all that changes results: configuration, data, what targets are, and the version of this formula."""
        settings = self.config.model_dump(mode="json", exclude={"description", "policy", "release"})
        targets = [[t.id, t.released.source, t.released.sha256, t.likeness.digest] for t in self.targets]
        described = {"config": settings, "data": self.dataset.sha256, **({"targets": targets} if targets else {})}
        return key_of("run", VERSION, described)[:16]


def make(path: Path, overrides: Sequence[str] = (), *, trust: bool = False) -> Plan:
    """Read an experiment file and check it against the catalogue, the data and the policy.

    Args:
        path: the experiment file; what it names is looked for in its folder.
        overrides: `KEY=VALUE` settings on top of it, keys dotted.
        trust: whether files that can run code may be read.

    Raises:
        UsageError: anything wrong, in one line.
        InfrastructureError: a released model does not answer.
    """
    settings, trusted = config.load(path, overrides), Trust(trust)
    build = Builder(path)
    specs = () if settings.targets else _specs(settings, build)
    rules = None if settings.policy is None else policy.load(path.parent / settings.policy)
    judge, _ = build("models", "evaluation_classifier", settings.evaluation_classifier)
    if settings.targets:
        found = released_plan(settings, build, trusted)
        targets, dataset, split = found.targets, found.dataset, found.split
        pool = settings.pool.model_copy(update={"models": split.models - 1})
        settings = settings.model_copy(update={"pool": pool})
    else:
        targets, (dataset, split) = (), _pooled(settings, build)
        _check_task(specs, dataset, build.source)
        _check_preparation(specs, dataset, build.source)
        _check_data(specs, (dataset, split))
        _check_audit(settings, specs, dataset, build.source)
    named = (build.attack(name, section) for name, section in settings.all_attacks().items())
    attacks = tuple(n for n in named if n.id in settings.attacks or applies(n, dataset))
    _check_references(attacks, settings, build.source)
    targets = tuple(replace(target, repeats=max((n.repeats for n in attacks), default=1)) for target in targets)
    _check_primary(attacks, settings, dataset, build.source)
    membership = tuple(n for n in attacks if n.attack.family == "membership" and applies(n, dataset))
    checked = membership or (build.attack("loss", {}),)
    forests = _control_forests(build)
    check_candidates(specs, dataset, split.rows(0))  # last: it builds networks, and that takes seconds
    _check_canaries(settings, specs, (dataset, split), build.source)
    return Plan(settings, dataset, split, specs, targets, attacks, checked, forests, judge, rules, trusted)


def _specs(settings: config.ExperimentConfig, build: Builder) -> tuple[CandidateSpec, ...]:
    """Every candidate, its model and defence built once and checked to fit each other."""
    recipes = {name: build("models", name, section) for name, section in settings.models.items()}
    defenses = {name: build("defenses", name, section) for name, section in settings.defenses.items()}
    specs = tuple(
        CandidateSpec(
            model, defense, *recipes[model], *defenses[defense], f"{build.source}: candidate {model}/{defense}"
        )
        for model, defense in settings.candidate_pairs()
    )
    for spec in specs:
        reason = spec.defense.supports(spec.recipe, settings.pool.half)
        if reason is not None:
            raise UsageError(f"{spec.where}: {reason}")
    return specs


def _pooled(settings: config.ExperimentConfig, build: Builder) -> tuple[Dataset, Split]:
    """The data of a pool that this run trains, and who trains on what."""
    assert settings.data is not None
    assert settings.pool.records is not None
    dataset = build.dataset(build("datasets", "data", settings.data)[0], "data")
    try:
        split = paired_halves(dataset, settings.pool.models, settings.pool.records, settings.seed)
    except UsageError as error:
        raise UsageError(f"{build.source}: {error}") from error
    if settings.pool.canaries is None:
        return dataset, split
    return canaries.among_members(dataset, split.pool, settings.pool.canaries, settings.seed), split


def _check_task(specs: Sequence[CandidateSpec], dataset: Dataset, source: str) -> None:
    """Classifiers learn classes, regressors numbers."""
    for spec in specs:
        task = task_of(spec.recipe)
        if (task == "regression") != (dataset.grid is not None):
            target = "classes" if dataset.grid is None else "a number (it has a grid)"
            raise UsageError(
                f"{source}: candidate {spec.id}: a recipe for {task}, but the target of {dataset.name} is {target}"
            )


def _check_data(specs: Sequence[CandidateSpec], data: tuple[Dataset, Split]) -> None:
    """The data have what defences need besides records to train on."""
    dataset, split = data
    for spec in specs:
        if isinstance(spec.defense, DataDefense):
            reason = spec.defense.supports_data(len(split.auxiliary), dataset.units is not None)
            if reason is not None:
                raise UsageError(f"{spec.where}: {reason}")


def _check_preparation(specs: Sequence[CandidateSpec], dataset: Dataset, source: str) -> None:
    """A claim covers no statistics that a preparation takes of the members."""
    for spec in specs:
        if dataset.to_fit is not None and spec.defense.guarantee == "formal":
            raise UsageError(
                f"{source}: candidate {spec.id}: every model prepares columns by statistics of its own members, which "
                "its claim does not cover: declare the ranges and values of all columns under data"
            )


def _check_references(attacks: Sequence[NamedAttack], settings: config.ExperimentConfig, source: str) -> None:
    """The run leaves every attack the references it needs."""
    left, pool = settings.references, f"pool.models={settings.pool.models}"
    for named in attacks:
        if settings.targets and settings.data is None and named.repeats > 1:
            raise UsageError(f"{source}: attacks.{named.id}.repeats: a table holds one answer for each record")
        needed = named.attack.threat_model.reference_models
        if left >= needed:
            continue
        if settings.targets:
            where = "reference and pool.models, or answers of references beside the target's"
            raise UsageError(
                f"{source}: attacks.{named.id}: needs {needed} reference models, there are {left}: {where}"
            )
        raise UsageError(
            f"{source}: attacks.{named.id}: needs {needed} reference models, {pool} "
            f"leaves {left}; must be at least {needed + 2 + needed % 2}"
        )


def applies(named: NamedAttack, dataset: Dataset) -> bool:
    """Whether an attack has something to look at: some need classes."""
    return dataset.grid is None or not isinstance(named.attack, ClassAttack)


def _check_primary(
    attacks: Sequence[NamedAttack], settings: config.ExperimentConfig, dataset: Dataset, source: str
) -> None:
    """Only membership attacks are compared with each other."""
    primary = settings.primary_attack()
    for named in attacks:
        if named.id == primary and named.attack.family != "membership":
            raise UsageError(f"{source}: primary: {named.id!r} is no membership attack")
        if named.id == primary and dataset.grid is not None and isinstance(named.attack, ClassAttack):
            raise UsageError(f"{source}: primary: {named.id!r}: {named.attack.needs_classes}")


def _check_audit(
    settings: config.ExperimentConfig, specs: Sequence[CandidateSpec], dataset: Dataset, source: str
) -> None:
    """The canaries that an audit asks for can be made, and the candidates can be trained with them."""
    section, half = settings.audit, settings.pool.half
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
    """Models can be asked about canaries, the defence can train with them, and its claim's delta allows so many."""
    reason = spec.defense.supports(spec.recipe, records) if keeps_models(spec.recipe) else _NOT_KEPT
    if reason is not None:
        raise UsageError(f"{source}: audit of {spec.id}: {reason}")
    claimed = spec.defense.training_parameters().get("target_delta")
    if isinstance(claimed, float):
        try:
            canaries.check_number(section.canaries * section.models, claimed)
        except UsageError as error:
            raise UsageError(f"{source}: audit of {spec.id}: {error}") from error


def _check_canaries(
    settings: config.ExperimentConfig, specs: Sequence[CandidateSpec], data: tuple[Dataset, Split], source: str
) -> None:
    """Recipes can train on canaries that are unlike any record of the data: a network has to fit a new feature."""
    section, (dataset, split) = settings.audit, data
    if section is None or section.kind in ("mislabelled", "mislabelled_duplicates"):
        return
    rows = split.pool[~split.member[0]][: section.canaries]
    made = canaries.insert(dataset, rows, section.kind, settings.seed).dataset
    audited = [replace(spec, where=f"{source}: audit of {spec.id}") for spec in specs if section.covers(spec.id)]
    check_candidates(audited, made, np.concatenate([rows, split.rows(0)]))


def _control_forests(build: Builder) -> tuple[CandidateSpec, CandidateSpec]:
    """One that memorises whatever it is fitted to, and one that does not; the same, whatever the run's framework."""
    defense = build("defenses", "none", {})
    memorising = build("models", "planted", {"component": "sklearn_random_forest"})
    smooth = build("models", "blind", {"component": "sklearn_random_forest", "min_samples_leaf": 10})
    return CandidateSpec("planted", "none", *memorising, *defense), CandidateSpec("blind", "none", *smooth, *defense)
