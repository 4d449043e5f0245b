"""The part of a plan about models that somebody else trained: opened, checked, with the records to ask about."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import config
from .builder import Builder
from .candidate_checks import check_candidates
from .errors import NotApplicable, UsageError, located
from .named_target import NamedTarget, likeness_of
from .pool import CandidateSpec
from .protocols import RecordedReference, Released, TargetWithData, task_of
from .splits import released_split, subset, torn_users, with_references
from .trust import Trust
from .types import Dataset, Identity, Ints, Split

Sources = Mapping[str, tuple[Any, Identity]]


@dataclass(frozen=True, eq=False)
class ReleasedPlan:
    """Released models and what they are asked about.

    Attributes:
        targets: each model, opened, in order.
        dataset: the records that somebody is asked about.
        split: who trained on them.
    """

    targets: tuple[NamedTarget, ...]
    dataset: Dataset
    split: Split


def released_plan(settings: config.ExperimentConfig, build: Builder, trust: Trust) -> ReleasedPlan:
    """Open every released model of an experiment, and choose the records.

    Raises:
        UsageError: anything wrong, in one line.
        InfrastructureError: a model does not answer; the line names the file and the model.
    """
    sources = {name: build("targets", name, section) for name, section in settings.targets.items()}
    whole = build.dataset(*_loader(settings, sources, build))
    if whole.grid is not None:
        raise UsageError(
            f"{build.source}: data: the target is a number; released models are audited as classifiers only"
        )
    spec = _references(settings, build)
    _check_references(spec, settings, whole)
    opened = {name: _opened(name, source, whole, trust, build) for name, (source, _) in sources.items()}
    given = next(iter(opened.values())).references
    if given and (settings.reference is not None or len(opened) > 1):
        raise UsageError(f"{build.source}: targets: answers of references came with one: it must stand alone")
    trained = 0 if settings.reference is None else settings.pool.models
    try:
        rows, split = released_split(whole, trained, settings.pool.records, settings.seed)
    except UsageError as error:
        raise UsageError(f"{build.source}: {error}") from error
    if given:
        split, notes = _with_given(given, subset(whole, rows), rows, split)
        parts = _parts(given, rows)
        opened = {n: replace(r, references=parts, notes=(*r.notes, *notes)) for n, r in opened.items()}
    named = [
        _named(name, released, sources[name][1], (spec, settings, whole, build)) for name, released in opened.items()
    ]
    return ReleasedPlan(tuple(named), subset(whole, rows), split)


def _check_references(spec: CandidateSpec, settings: config.ExperimentConfig, dataset: Dataset) -> None:
    """References can be trained: found before the released model is asked anything."""
    if settings.reference is None:
        return
    told = dataset.released_member
    records = settings.pool.half or (0 if told is None else int((told >= 0).sum()) // 2)
    reason = spec.defense.supports(spec.recipe, records)
    if reason is None and task_of(spec.recipe) == "regression":
        reason = "a recipe for regression, but released models are audited as classifiers"
    if reason is not None:
        raise UsageError(f"{spec.where}: {reason}")
    check_candidates([spec], dataset, np.arange(len(dataset)))


def _loader(settings: config.ExperimentConfig, sources: Sources, build: Builder) -> tuple[Any, str]:
    """What loads the records, and the key that it stands under."""
    bringing = [name for name, (source, _) in sources.items() if isinstance(source, TargetWithData)]
    if settings.data is not None:
        if bringing:
            raise UsageError(f"{build.source}: data: targets.{bringing[0]} brings its own records; remove one of them")
        return build("datasets", "data", settings.data)[0], "data"
    if not bringing:
        raise UsageError(f"{build.source}: data: missing: the records to ask about, with a column for membership")
    if len(sources) > 1:
        raise UsageError(f"{build.source}: targets.{bringing[0]} brings its own records: it must stand alone")
    return sources[bringing[0]][0], f"targets.{bringing[0]}"


def _opened(name: str, source: Any, dataset: Dataset, trust: Trust, build: Builder) -> Released:
    with located(_where(name, build)):
        released: Released = source.open(dataset, trust)
    return released


def _where(name: str, build: Builder) -> str:
    """Where a released model is named, for errors."""
    return f"{build.source}: targets.{name}"


def _named(
    name: str,
    released: Released,
    identity: Identity,
    about: tuple[CandidateSpec, config.ExperimentConfig, Dataset, Builder],
) -> NamedTarget:
    """The target with a digest of some of its answers; `about`: references, settings, all records, the file."""
    spec, settings, dataset, build = about
    where = _where(name, build)
    try:
        with located(where):
            seen = likeness_of(released, dataset)
    except NotApplicable as error:
        raise UsageError(f"{where}: {error}") from error
    return NamedTarget(
        id=name,
        where=where,
        identity=identity,
        released=released,
        spec=replace(spec, model=name),
        trains_references=settings.reference is not None,
        likeness=seen,
        without_features=settings.data is None,
    )


def _with_given(
    given: tuple[RecordedReference, ...], part: Dataset, rows: Ints, split: Split
) -> tuple[Split, tuple[str, ...]]:
    """The split with references that came with the model, and what a reader must know of them.

    Args:
        given: the references.
        part: the records that somebody is asked about, the `rows` of all.
        rows: int64 (n,).
        split: of the released model alone, on `part`.
    """
    asked = len(split.pool)
    users = (np.arange(len(part)) if part.units is None else part.units)[split.pool]
    split, left_out = with_references(split, np.stack([r.member[rows][split.pool] for r in given]), users)
    notes = []
    if left_out:
        notes.append(
            f"{left_out} of {asked} records are left out: fewer than two references trained on them, or without them "
            "(with pairs of references on complementary halves there are none)"
        )
    torn = 0 if part.units is None else int((torn_users(split.member[1:], part.units[split.pool]) > 0).sum())
    if torn:
        notes.append(
            f"{torn} of {len(given)} references trained on some records of a user and not on others, as the released "
            "model did not: results about users say less"
        )
    return split, tuple(notes)


def _parts(given: tuple[RecordedReference, ...], rows: Ints) -> tuple[RecordedReference, ...]:
    return tuple(RecordedReference(r.name, r.probabilities[rows], r.member[rows]) for r in given)


def _references(settings: config.ExperimentConfig, build: Builder) -> CandidateSpec:
    """What references are trained by; a forest, which nothing trains, where the experiment names none."""
    if settings.reference is None:
        recipe = build("models", "reference", {"component": "sklearn_random_forest"})
        return CandidateSpec("", config.RELEASED, *recipe, *build("defenses", "none", {}))
    model, _, defense = settings.reference.partition("/")
    return CandidateSpec(
        "",
        config.RELEASED,
        *build("models", model, settings.models[model]),
        *build("defenses", defense, settings.defenses[defense]),
        f"{build.source}: reference {settings.reference}",
    )
