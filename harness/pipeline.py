"""One run: a checked plan becomes evidence.json and everything derived from it.

train each candidate's pool -> utility, attacks -> controls -> evidence.json -> verdicts -> report.html, junit.xml
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np

from . import gate, junit, provenance, report
from .candidates import Bench
from .controls import run_controls
from .errors import UsageError
from .evaluation import ArtifactWriter, Setting
from .events import Observer
from .evidence import Candidate, Evidence, RuleVerdict, SuiteRecord, evidence_path, read, write, write_atomically
from .inversion_metrics import train_judge
from .kept_answers import finish
from .plan import Plan
from .pool import Pool
from .released import ReleasedPool, released_pool
from .stats import Resampling
from .store import Store
from .training import train_pool


def run(plan: Plan, out: Path, observe: Observer) -> Evidence:
    """Do everything and write `out/evidence.json`, `out/report.html` and `out/junit.xml`, together, at the end.

    Finished models and attacks are kept in `out/store`: the same run again repeats nothing that is there.

    Raises:
        UsageError: `out` cannot be written, or the policy names a metric that this run does not have.
        InfrastructureError: the disk failed.
    """
    setting = _setting(plan, Store(out / "store"), observe)
    files = ArtifactWriter(out)
    try:
        evidence = _measure(plan, setting, files)
        try:
            judged = _judged(evidence, plan)
        except UsageError:
            _write_outputs(evidence, files, out)  # a policy that does not fit must not cost the results
            raise
        _write_outputs(judged, files, out)
        for target in plan.targets:
            finish(target, setting.store)
    finally:
        files.discard()
    return judged


def _measure(plan: Plan, setting: Setting, files: ArtifactWriter) -> Evidence:
    """Everything but the verdicts."""
    settings, data = plan.config, (plan.dataset, plan.split)
    judge = cache(lambda: train_judge(plan.judge, plan.dataset, settings.seed, settings.metrics.level))
    bench = Bench(
        attacks=plan.attacks,
        setting=setting,
        judge=judge,
        primary=settings.primary_attack(),
        selection=settings.metrics.strongest,
        audit=settings.audit,
        files=files,
    )
    store, observe = setting.store, setting.observe
    pools: list[Pool] = [train_pool(spec, data, store, settings.seed, observe) for spec in plan.specs]
    pools += [released_pool(target, data, store, settings.seed, observe) for target in plan.targets]
    candidates = bench.compared([bench.measure(pool) for pool in pools])
    controls = run_controls(pools[0], plan.control_forests, setting, plan.control_attacks, settings.primary_attack())
    return Evidence(
        schema_version="1",
        run_id=plan.run_id,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        experiment=settings.model_dump(mode="json"),
        provenance=provenance.collect(plan.dataset, plan.split, settings.seed, plan.trust),
        candidates=tuple(_asked(candidate, pool) for candidate, pool in zip(candidates, pools, strict=True)),
        controls=controls,
        primary=settings.primary_attack(),
        suite=_suite_record(plan),
        policy_sha256=None,
        verdicts=(),
        artifacts=tuple(files.written),
    )


def _asked(candidate: Candidate, pool: Pool) -> Candidate:
    """The candidate with how often a released model was asked in all, by the controls too."""
    return candidate.model_copy(update={"origin": pool.origin()}) if isinstance(pool, ReleasedPool) else candidate


def _suite_record(plan: Plan) -> SuiteRecord | None:
    chosen = plan.config.chosen_suite()
    if chosen is None:
        return None
    return SuiteRecord(
        name=str(plan.config.suite),
        reference_models=plan.config.references,
        attacks=tuple(name for name in chosen.attacks if name in {named.id for named in plan.attacks}),
        reason=chosen.reason,
    )


def _judged(evidence: Evidence, plan: Plan) -> Evidence:
    """The evidence with the verdicts of the plan's policy; without one only those of contradicted claims."""
    if plan.policy is None:
        return evidence.model_copy(update={"verdicts": gate.contradictions(evidence.candidates)})
    verdicts = gate.judge(evidence, plan.policy, None)
    return evidence.model_copy(update={"policy_sha256": plan.policy.sha256, "verdicts": verdicts})


def release_verdicts(plan: Plan, evidence: Evidence) -> tuple[RuleVerdict, ...]:
    """The verdicts that decide the run's exit code: those of the release candidate, or all when none is named."""
    release = plan.config.release
    return tuple(v for v in evidence.verdicts if release in (None, v.candidate))


def _write_outputs(evidence: Evidence, files: ArtifactWriter, out: Path) -> None:
    _remove_stale(evidence, out)
    files.publish()
    write(evidence, evidence_path(out))
    report.write(out, out / "report.html")
    write_atomically(out / "junit.xml", junit.to_junit(evidence.verdicts, str(evidence.experiment["name"])))


def _remove_stale(evidence: Evidence, out: Path) -> None:
    """Remove the files that the evidence in `out` lists and the new evidence does not; nothing else is touched."""
    try:
        earlier = read(evidence_path(out)).artifacts
    except UsageError:
        return
    current = {artifact.path for artifact in evidence.artifacts}
    for artifact in earlier:
        path = out / artifact.path
        if artifact.path not in current and path.resolve().is_relative_to(out.resolve()):
            path.unlink(missing_ok=True)


def _setting(plan: Plan, store: Store, observe: Observer) -> Setting:
    settings = plan.config
    return Setting(
        dataset=plan.dataset,
        split=plan.split,
        targets=np.arange(1 if plan.targets else settings.pool.targets or settings.pool.models),
        fprs=settings.metrics.fprs,
        resampling=Resampling(settings.metrics.level, settings.metrics.resamples, settings.seed),
        seed=settings.seed,
        store=store,
        observe=observe,
    )
