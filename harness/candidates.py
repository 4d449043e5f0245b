"""Everything measured about one candidate, and candidates compared with one another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from .accounting import claim_of
from .canaries import ordinary
from .canary_audit import audit_candidate
from .comparison import paired_accuracy, paired_differences
from .config import AuditSection
from .errors import InfrastructureError, NotApplicable, PrivassayError
from .evaluation import ArtifactWriter, NamedAttack, Setting, evaluate, run_membership
from .events import StepFinished, ignore
from .evidence import AUDIT, METRIC_PREFIX, Audit, Candidate, Comparison, Unmeasured
from .exposure import exposure, judging_attack, unresolved
from .inversion_metrics import Judge
from .metrics import crossed_r2, explained, regression_metrics, utility_metrics
from .pool import Pool
from .released import ReleasedPool
from .strongest import strongest
from .types import Estimate, Float64, PrivacyClaim, ScoreTable, Selection
from .users import about_users


@dataclass(frozen=True, eq=False)
class Measured:
    """One candidate's record with what comparisons need.

    Attributes:
        candidate: as it enters the evidence.
        tables: scores of each membership attack that gave a result, by its name, canaries left out.
        worth: float64 (t, n), what each target's answer to each audit record is worth: 1 for the right label, 0 for a
            wrong one; where the target is a number, how much of it the answer explains (`metrics.explained`; the
            variance is that of ordinary records).
    """

    candidate: Candidate
    tables: Mapping[str, ScoreTable]
    worth: Float64


@dataclass(frozen=True, eq=False)
class Bench:
    """What all candidates of a run are measured with.

    Attributes:
        attacks: every attack, in order.
        setting: the run's setting.
        judge: trains the independent classifier that measures model inversion, once.
        primary: the attack that counts as the result, if one was named.
        selection: how the strongest attack answers for having been chosen.
        audit: canaries for some candidates, if any.
        files: takes what stands beside the evidence.
    """

    attacks: Sequence[NamedAttack]
    setting: Setting
    judge: Callable[[], Judge]
    primary: str | None
    selection: Selection
    audit: AuditSection | None
    files: ArtifactWriter

    def measure(self, pool: Pool) -> Measured:
        """Audit a candidate's claim, attack every target of its pool, and measure."""
        setting, spec = self.setting, pool.spec
        audits, unaudited = self._audited(pool)
        results = tuple(evaluate(named, pool, setting, self.judge, self.files) for named in self.attacks)
        finished = {result.id for result in results if result.status == "ok" and result.family == "membership"}
        quiet = replace(setting, observe=ignore)  # the scores are read back from the store
        tables = {n.id: run_membership(n, pool, quiet) for n in self.attacks if n.id in finished}
        worth = _worth(pool, setting)
        origin = pool.origin() if isinstance(pool, ReleasedPool) else None
        counted = {name: table.part(setting.ordinary) for name, table in tables.items()}
        by = judging_attack(self.attacks, self.primary, tables)
        exposed = exposure(by, tables, setting)
        if exposed.rows is not None:
            self.files.save(f"vulnerability/{spec.id}.npz", exposed.rows, restricted=True)
        best = strongest(counted, setting.fprs, setting.resampling, self.selection)
        candidate = Candidate(
            id=spec.id,
            model=spec.model,
            defense=spec.defense_name,
            guarantee="none" if origin is not None else spec.defense.guarantee,  # that one is its references' defence
            claim=_claim(pool, setting.split.models),
            utility=_utility(worth, setting),
            attacks=results,
            strongest=best,
            groups=exposed.groups,
            vulnerability=exposed.vulnerability,
            audits=audits,
            unmeasured=(*unresolved(results, counted, setting), *exposed.unmeasured, *unaudited),
            origin=origin,
        )
        pool.forget()
        return Measured(candidate, counted, worth)

    def _audited(self, pool: Pool) -> tuple[tuple[Audit, ...], tuple[Unmeasured, ...]]:
        """Audits of a candidate where the run has some for it; one that fails must not cost the run its results.

        Raises:
            InfrastructureError: the disk failed.
        """
        if self.audit is None or not self.audit.covers(pool.spec.id):
            return (), ()
        try:
            return audit_candidate(pool, self.setting, self.audit), ()
        except InfrastructureError:
            raise
        except PrivassayError as error:
            reason = str(error)
        except Exception as error:  # whatever a recipe's code does to canaries
            reason = f"{type(error).__name__}: {error}"
        self.setting.observe(StepFinished(f"audit of {pool.spec.id}", reason))
        return (), (Unmeasured(what=AUDIT, reason=reason),)

    def compared(self, measured: Sequence[Measured]) -> tuple[Candidate, ...]:
        """Every candidate with its differences from the baseline of its model: the first one without a defence."""
        found = tuple(self._beside(own, baseline_of(own, measured)) for own in measured)
        return found if self.setting.users is None else tuple(about_users(candidate) for candidate in found)

    def _beside(self, own: Measured, baseline: Measured | None) -> Candidate:
        if baseline is None:
            return own.candidate
        setting = self.setting
        found = _utility_difference(own.worth, baseline.worth, setting)
        shared = [name for name in own.tables if name in baseline.tables]
        for name in [self.primary] if self.primary in shared else shared:
            found |= _differences(name, own, baseline, setting)
        comparisons = tuple(
            Comparison(baseline=baseline.candidate.id, metric=metric, difference=difference)
            for metric, difference in found.items()
        )
        return own.candidate.model_copy(update={"comparisons": comparisons})


def baseline_of(own: Measured, measured: Sequence[Measured]) -> Measured | None:
    """What a candidate is compared with: the same model without a defence; None where that is missing or itself."""
    plain = (other for other in measured if other.candidate.model == own.candidate.model and _undefended(other))
    baseline = next(plain, None)
    return None if baseline is own else baseline


def _undefended(measured: Measured) -> bool:
    return measured.candidate.guarantee == "none"


def _differences(name: str, own: Measured, baseline: Measured, setting: Setting) -> dict[str, Estimate]:
    try:
        found = paired_differences(own.tables[name], baseline.tables[name], setting.fprs, setting.resampling)
    except NotApplicable:
        return {}
    return {f"{METRIC_PREFIX['membership']}/{name}/{metric}": difference for metric, difference in found.items()}


def _claim(pool: Pool, models: int) -> PrivacyClaim | None:
    """The weakest claim among the pool's models, each recomputed from what its training did."""
    if isinstance(pool, ReleasedPool):
        return None
    mechanisms = {pool.mechanism(k) for k in range(models)}
    if None in mechanisms:
        return None
    claims = [claim_of(mechanism) for mechanism in mechanisms if mechanism is not None]
    return max(claims, key=lambda claim: claim.epsilon)


def _worth(pool: Pool, setting: Setting) -> Float64:
    """See `Measured`."""
    wanted, grid = setting.dataset.y[setting.split.pool], setting.dataset.grid
    answers = (pool.released(int(k)) for k in setting.targets)
    if grid is None:
        return np.array([answer.argmax(axis=1) == wanted for answer in answers], dtype=np.float64)
    counted = ordinary(setting.dataset, setting.split.pool)
    return np.stack([explained(answer, wanted, grid, counted) for answer in answers])


def _utility(worth: Float64, setting: Setting) -> dict[str, Estimate]:
    """How good the deployed models are, canaries left out."""
    counted = ordinary(setting.dataset, setting.split.pool)
    about = setting.split.member[setting.targets][:, counted], setting.targets, setting.resampling
    if setting.dataset.grid is None:
        return utility_metrics(worth[:, counted] == 1, *about)
    return regression_metrics(worth[:, counted], *about)


def _utility_difference(worth: Float64, baseline: Float64, setting: Setting) -> dict[str, Estimate]:
    """How much better than the baseline on records that the target did not train on."""
    outside = ~setting.split.member[setting.targets] & ordinary(setting.dataset, setting.split.pool)
    about = outside, setting.targets, setting.resampling
    if setting.dataset.grid is None:
        return {"utility/heldout_accuracy": paired_accuracy((worth == 1, baseline == 1), *about)}
    return {"utility/heldout_r2": crossed_r2(worth - baseline, *about)}
