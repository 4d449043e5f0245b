"""The policy file: how much leakage the owner of the risk accepts, written down before the results are known.

    apiVersion: privassay/policy/v1
    name: release
    appetite: {owner: risk@example.org, release_context: public-api, review_by: 2027-05-01}
    rules:
    - {id: mia-auc, metric: "mia/*/auc", max: 0.60}
    - {id: mia-ppv, metric: "mia/*/ppv_at_fpr_0.01", prior: 0.1, max: 0.3}
    - {id: accuracy, metric: utility/heldout_accuracy, min: 0.80}
    - {id: claim, claim: required, max_epsilon: 10, max_delta: 1e-4}

A metric rule names metrics as evidence does (`FAMILY/ATTACK/METRIC`, `utility/METRIC`); `*`, `?` and `[...]`
stand for characters other than `/`. How rules are applied: `gate.py`.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    StringConstraints,
    Tag,
    field_validator,
    model_validator,
)

from .yamlfile import parse_yaml, read_bytes, validate

Text = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,79}$")]


# Metrics that are shares: a limit of 60 instead of 0.60 would never bind.
_SHARE = re.compile(r"ppv_at_fpr_.*|auc|bayes_security|(tpr|realised_fpr)_at_fpr_.*|tnr_at_fnr_.*|.*_accuracy")


PPV = "ppv_at_fpr_"
"""Metrics of this name are not measured but worked out, at the prior of a rule: the chance that a flagged record is a
member."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Appetite(_Part):
    """Who accepts the risk, for which use, until when. Free text for readers; nothing is decided by it."""

    owner: Text | None = None
    release_context: Text | None = None
    review_by: Text | None = None


class MetricRule(_Part):
    """A limit, exactly one of `max` and `min`, on every metric that `metric` matches.

    `prior` belongs to `ppv_at_fpr_F`: the share of members among those whom an attacker would suspect.
    """

    id: Name
    metric: Text
    max: float | None = None
    min: float | None = None
    prior: float | None = Field(default=None, gt=0, lt=1)

    @model_validator(mode="after")
    def _prior_where_it_counts(self) -> MetricRule:
        about_ppv = self.metric.rpartition("/")[2].startswith(PPV)
        if about_ppv != (self.prior is not None):
            wrong = "needs a prior" if about_ppv else f"has a prior, which only {PPV}F needs"
            raise ValueError(f"rule {self.id!r} {wrong}")
        return self

    @model_validator(mode="after")
    def _limit_within_range(self) -> MetricRule:
        metric, limit = self.metric.rpartition("/")[2], self.max if self.min is None else self.min
        if limit is not None and _SHARE.fullmatch(metric) and not 0 <= limit <= 1:
            raise ValueError(f"rule {self.id!r}: limit {limit:g}: {metric} lies between 0 and 1 (0.03 is 3 %)")
        return self

    @model_validator(mode="after")
    def _one_limit(self) -> MetricRule:
        if (self.max is None) == (self.min is None):
            found = "neither max nor min" if self.max is None else "both max and min"
            raise ValueError(f"rule {self.id!r} has {found}: must have exactly one of them")
        return self

    @property
    def limit(self) -> float:
        """The one of `max` and `min` that is given."""
        return next(limit for limit in (self.max, self.min) if limit is not None)


class ClaimRule(_Part):
    """The defence must carry a formal (epsilon, delta) claim, no larger than stated here."""

    id: Name
    claim: Literal["required"]
    max_epsilon: float | None = Field(default=None, gt=0)
    max_delta: float | None = Field(default=None, ge=0, lt=1)


Rule = MetricRule | ClaimRule


def _kind(raw: object) -> str:
    """Which kind of rule was meant, so that a mistake is reported against the right keys."""
    keys = set(raw) if isinstance(raw, dict) else set()
    is_claim = "metric" not in keys and keys & {"claim", "max_epsilon", "max_delta"}
    return "claim rule" if is_claim else "metric rule"


_TaggedRule = Annotated[
    Annotated[MetricRule, Tag("metric rule")] | Annotated[ClaimRule, Tag("claim rule")], Discriminator(_kind)
]


class _PolicyFile(_Part):
    apiVersion: Literal["privassay/policy/v1"]
    name: Name
    appetite: Appetite | None = None
    rules: tuple[_TaggedRule, ...] = Field(min_length=1)

    @field_validator("rules")
    @classmethod
    def _distinct_ids(cls, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
        ids = [rule.id for rule in rules]
        twice = [rule_id for rule_id in ids if ids.count(rule_id) > 1]
        if twice:
            raise ValueError(f"two rules have the id {twice[0]!r}: ids must be distinct")
        return rules


@dataclass(frozen=True)
class Policy:
    """A policy as loaded.

    Attributes:
        name: its name.
        appetite: who accepts the risk; None where the file does not say.
        rules: at least one, ids distinct.
        sha256: digest of the file's bytes, logged with every verdict.
        source: the file, for messages.
    """

    name: str
    appetite: Appetite | None
    rules: tuple[Rule, ...]
    sha256: str
    source: str


def load(path: Path) -> Policy:
    """Read a policy file.

    Raises:
        UsageError: the file cannot be read or breaks a rule of this format; one line.
    """
    content = read_bytes(path)
    file = validate(_PolicyFile, parse_yaml(content, path), source=path)
    return Policy(file.name, file.appetite, file.rules, hashlib.sha256(content).hexdigest(), str(path))
