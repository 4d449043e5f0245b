"""An experiment file, read and checked: unknown keys, wrong types and unknown components are one-line errors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, field_validator, model_validator

from .errors import UsageError
from .suite import Suite, suite_for
from .types import STRONGEST, Selection
from .yamlfile import parse_value, read_yaml, validate

_LEAST_BEYOND = 2  # resamples beyond each end of an interval: with fewer it ends at the most extreme one
_ROUNDING = 1e-9


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class PoolSection(_Section):
    """The pool of models behind every candidate."""

    models: int = Field(default=16, ge=0, le=4096)
    """Models for each candidate, in complementary pairs; with `targets`, reference models for each of them."""
    targets: int | None = Field(default=None, ge=1)
    """How many of them are attacked in turn; all when absent."""
    records: int | None = Field(default=None, ge=2)
    """Audit records; each model trains on half of them. The rest of the data is auxiliary. With `targets` it may be
    absent: all records are asked about whose membership the data tell."""

    canaries: int | None = Field(default=None, ge=2)
    """How many of the audit records get a wrong label, for a worst case beside the average one: they are members of
    half of the models like any other record (Aerni, Zhang and Tramer 2024, arXiv:2404.17399). They stand in a group of
    their own and count in nothing else, accuracies included."""

    @property
    def half(self) -> int:
        """Records that each model trains on."""
        return (self.records or 0) // 2


class MetricsSection(_Section):
    """What is measured and how sure one wants to be."""

    fprs: tuple[float, ...] = (0.01, 0.001)
    level: float = Field(default=0.95, gt=0.5, lt=1)
    resamples: int = Field(default=1000, ge=100, le=100_000)
    strongest: Selection = "bonferroni"
    """How the strongest of the membership attacks answers for having been chosen; see `strongest.py`."""

    @field_validator("fprs")
    @classmethod
    def _fractions(cls, fprs: tuple[float, ...]) -> tuple[float, ...]:
        if not fprs or any(not 0 < fpr < 1 for fpr in fprs) or len(set(fprs)) < len(fprs):
            raise ValueError("must be distinct fractions between 0 and 1 (0.01 is 1 %)")
        return fprs

    @model_validator(mode="after")
    def _enough_resamples(self) -> Self:
        tail = (1 - self.level) / 2
        if self.resamples * tail < _LEAST_BEYOND - _ROUNDING:
            least = math.ceil(_LEAST_BEYOND / tail - _ROUNDING)
            raise ValueError(f"resamples={self.resamples}: must be at least {least} for level={self.level:g}")
        return self


CanaryKind = Literal["mislabelled", "mislabelled_duplicates", "out_of_distribution", "blank", "own_feature"]


class AuditSection(_Section):
    """Audit of what candidates claim, by canaries: records that are put into the training data by fair coins."""

    candidates: tuple[str, ...] | None = Field(default=None, min_length=1)
    """`MODEL/DEFENSE` of the candidates to audit; all when absent, and `load` then names them."""
    canaries: int = Field(default=300, ge=2)
    """How many canaries, each with a coin of its own."""
    kind: CanaryKind = "mislabelled"
    guesses: int | None = Field(default=None, ge=2)
    """Guesses about coins in each training run, half of them "in" and half "out"; a fifth of the canaries if absent."""
    models: int = Field(default=1, ge=1, le=4096)
    """Training runs with canaries, each with coins of its own."""
    delta: float = Field(default=1e-5, gt=0, lt=1)
    """Delta at which epsilon is stated where a candidate claims nothing; else the claim's."""

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.made % 2 or self.made > self.canaries:
            raise ValueError(f"guesses={self.made}: must be even and at most canaries={self.canaries}")
        return self

    @property
    def made(self) -> int:
        """Guesses that each run makes.

        A fifth of the canaries is near the best number for Gaussian noise of epsilon 1 to 8, and at most a tenth below
        it, for 300 and 1000 canaries (means of 200 simulated audits at delta 1e-5).
        """
        return max(2, 2 * round(self.canaries / 10)) if self.guesses is None else self.guesses

    @property
    def sharing(self) -> int:
        """Number of candidates that the section names, 1 where it names none: their bounds share alpha."""
        return 1 if self.candidates is None else len(set(self.candidates))

    def covers(self, candidate: str) -> bool:
        """Whether a candidate is to be audited."""
        return self.candidates is None or candidate in self.candidates


def _empty_for_null(section: object) -> object:
    return {} if section is None else section


Component = Annotated[dict[str, Any], BeforeValidator(_empty_for_null)]
"""A component's name under `component` (default: the section's own key) and its parameters; `name:` alone is `{}`."""

RELEASED = "released"
"""Stands where a defence's name stands, for a model that somebody else trained."""

_MOST_REPEATS = 1000
DEFAULT_PRIMARY = "stacked"
"""Component of the attack that is the primary one where the experiment names none."""
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,79}$"
Name = Annotated[str, StringConstraints(pattern=_NAME)]


class ExperimentConfig(_Section):
    """One experiment: data, models, defences, attacks, and optionally the policy that judges them."""

    name: Name
    description: str = ""
    seed: int = Field(default=0, ge=0, lt=2**32)
    data: Component | None = None
    """The records; absent where a released model brings them."""
    pool: PoolSection = PoolSection()
    models: dict[Name, Component] = {}
    defenses: dict[Name, Component] = {}
    targets: dict[Name, Component] = {}
    """Models that somebody else trained, instead of candidates that this run trains."""
    reference: str | None = None
    """`MODEL/DEFENSE` of this file, by which references of the `targets` are trained; none when absent."""
    candidates: tuple[str, ...] | None = Field(default=None, min_length=1)
    """`MODEL/DEFENSE` pairs; every combination when absent."""
    attacks: dict[Name, Component] = {}
    suite: Literal["auto"] | None = None
    """`auto`: besides `attacks`, the membership attacks that the number of reference models is worth."""
    primary: Name | None = None
    """The membership attack that counts as the result; when absent, the first whose component is `stacked`."""
    metrics: MetricsSection = MetricsSection()
    evaluation_classifier: Component = {"component": "sklearn_random_forest"}
    """Independent judge of model inversion: trained on all records, never attacked."""
    audit: AuditSection | None = None
    """Canaries that test what candidates claim; none when absent."""
    policy: str | None = Field(default=None, min_length=1)
    """Policy file that judges the run, relative to the experiment file."""
    release: str | None = None
    """The candidate whose verdict is the run's exit code; all of them when absent."""

    @property
    def references(self) -> int:
        """Reference models for each target: of a pool, all but itself and its complement."""
        return self.pool.models if self.targets else self.pool.models - 2

    def chosen_suite(self) -> Suite | None:
        """The suite that the experiment asks for."""
        return None if self.suite is None else suite_for(self.references)

    def all_attacks(self) -> dict[str, Component]:
        """Sections of every attack: the suite's, then the experiment's own, which win where a name is in both."""
        suite = self.chosen_suite()
        return {**({} if suite is None else {n: dict(s) for n, s in suite.attacks.items()}), **self.attacks}

    def primary_attack(self) -> str | None:
        """Name of the primary attack, if there is one."""
        stacked = (k for k, section in self.all_attacks().items() if component_name(k, section) == DEFAULT_PRIMARY)
        return self.primary or next(stacked, None)

    def candidate_pairs(self) -> list[tuple[str, str]]:
        """(model, defence) of every candidate, in order."""
        if self.targets:
            return [(name, RELEASED) for name in self.targets]
        if self.candidates is None:
            return [(model, defense) for model in self.models for defense in self.defenses]
        return [(name.split("/")[0], name.split("/")[1]) for name in self.candidates]


def component_name(key: str, section: Component) -> str:
    """The catalogue name of a component section."""
    return str(section.get("component", key))


def parameters(section: Component) -> dict[str, object]:
    """The parameters of a component section."""
    return {name: value for name, value in section.items() if name != "component"}


def split_repeats(section: Component, source: str) -> tuple[Component, int]:
    """An attack's section without `repeats`, and how often the attack asks for each answer: 1 if it does not say.

    Raises:
        UsageError: it is no whole number of 1 to 1000.
    """
    repeats = section.get("repeats", 1)
    if type(repeats) is not int or not 1 <= repeats <= _MOST_REPEATS:
        raise UsageError(f"{source}: repeats={repeats!r}: must be a whole number from 1 to {_MOST_REPEATS}")
    return {name: value for name, value in section.items() if name != "repeats"}, repeats


def load(path: Path, overrides: Sequence[str] = ()) -> ExperimentConfig:
    """Read an experiment file, with `a.b=c` overrides applied on top.

    Raises:
        UsageError: anything wrong, in one line.
    """
    content = read_yaml(path)
    for override in overrides:
        _apply(content, override)
    config = validate(ExperimentConfig, content, str(path))
    _check_kind(config, str(path))
    _check_names(config, str(path))
    return _with_audited_named(config)


def _with_audited_named(config: ExperimentConfig) -> ExperimentConfig:
    """The experiment with every candidate of its audit by name, since bounds answer for their number."""
    if config.audit is None or config.audit.candidates is not None:
        return config
    known = tuple("/".join(pair) for pair in config.candidate_pairs())
    return config.model_copy(update={"audit": config.audit.model_copy(update={"candidates": known})})


def _apply(content: dict[str, Any], override: str) -> None:
    """Set one dotted key to a YAML value."""
    dotted, equals, text = override.partition("=")
    keys = dotted.split(".")
    if not equals or not all(keys):
        raise UsageError(f"--set {override!r}: must be KEY=VALUE, e.g. pool.models=8")
    section = content
    for key in keys[:-1]:
        inner = section.setdefault(key, {})
        if not isinstance(inner, dict):
            raise UsageError(f"--set {override!r}: {key} is not a section")
        section = inner
    section[keys[-1]] = parse_value(text, f"--set {override!r}")


def _check_kind(config: ExperimentConfig, source: str) -> None:
    """The file names candidates that this run trains, or models that somebody else trained; not both."""
    if config.targets:
        for section in ("candidates", "audit"):
            if getattr(config, section) is not None:
                raise UsageError(f"{source}: {section}: not with targets: this run does not train them")
        for key in ("targets", "canaries"):
            if getattr(config.pool, key) is not None:
                raise UsageError(f"{source}: pool.{key}: not with targets: this run does not train them")
        _check_reference(config, source)
        return
    if config.reference is not None:
        raise UsageError(f"{source}: reference: only with targets; the models of a pool are each other's references")
    for section in ("data", "models", "defenses"):
        if not getattr(config, section):
            raise UsageError(f"{source}: {section}: missing (or name targets: models that somebody else trained)")
    if config.pool.records is None:
        raise UsageError(f"{source}: pool.records: missing: how many records are asked about, e.g. 1200")
    if config.pool.canaries is not None and config.pool.canaries > config.pool.half:
        raise UsageError(f"{source}: pool.canaries={config.pool.canaries}: must be at most half of the audit records")


def _check_reference(config: ExperimentConfig, source: str) -> None:
    if config.reference is None:
        if config.models or config.defenses:
            raise UsageError(
                f"{source}: reference: missing: which MODEL/DEFENSE of this file references are trained by"
            )
        return
    model, slash, defense = config.reference.partition("/")
    if not slash or model not in config.models or defense not in config.defenses:
        raise UsageError(
            f"{source}: reference: {config.reference!r} is not MODEL/DEFENSE of this file "
            f"(models: {', '.join(config.models)}; defenses: {', '.join(config.defenses)})"
        )


def _check_names(config: ExperimentConfig, source: str) -> None:
    for candidate in config.candidates or ():
        model, slash, defense = candidate.partition("/")
        if not slash or model not in config.models or defense not in config.defenses:
            raise UsageError(
                f"{source}: candidates: {candidate!r} is not MODEL/DEFENSE of this file "
                f"(models: {', '.join(config.models)}; defenses: {', '.join(config.defenses)})"
            )
    if config.candidates is not None and len(set(config.candidates)) < len(config.candidates):
        raise UsageError(f"{source}: candidates: each may be named once")
    known = ["/".join(pair) for pair in config.candidate_pairs()]
    if config.release is not None and config.release not in known:
        raise UsageError(f"{source}: release: {config.release!r} is not a candidate ({', '.join(known)})")
    for candidate in (config.audit and config.audit.candidates) or ():
        if candidate not in known:
            raise UsageError(f"{source}: audit.candidates: {candidate!r} is not a candidate ({', '.join(known)})")
    if not config.all_attacks():
        raise UsageError(f"{source}: attacks: none; name some, or set suite: auto")
    if STRONGEST in config.all_attacks():
        raise UsageError(f"{source}: attacks.{STRONGEST}: no attack may have this name, reports use it")
    if config.primary is not None and config.primary not in config.all_attacks():
        raise UsageError(f"{source}: primary: {config.primary!r} is not an attack ({', '.join(config.all_attacks())})")
    if config.pool.targets is not None and config.pool.targets > config.pool.models:
        raise UsageError(
            f"{source}: pool.targets={config.pool.targets}: must be at most pool.models={config.pool.models}"
        )
