"""One attack against every target of a candidate: run, kept in the store, measured, recorded.

Each target model in turn faces the attack; the other models of the pool, its complement left out, are its
references. What an attack may see is built here from its threat model and from nothing else.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .canaries import ordinary
from .errors import InfrastructureError, NotApplicable, PrivassayError
from .events import Observer, StepAdvanced, StepFinished, StepStarted
from .evidence import Artifact, AttackResult, file_sha256, write_atomically
from .inversion_metrics import Judge, auxiliary_means, inversion_metrics
from .metrics import membership_metrics, roc_curve
from .pool import Pool, PoolReferences
from .protocols import (
    Attack,
    ClassAttack,
    InversionAttack,
    InversionContext,
    KnownMembers,
    MembershipAttack,
    MembershipContext,
    SamplingAttack,
)
from .provenance import package_versions
from .seeds import derive, generator
from .stats import Resampling
from .store import Store, key_of
from .types import (
    ACCESS_LEVELS,
    Bools,
    Candidates,
    Dataset,
    Estimate,
    Float32,
    Identity,
    Ints,
    Scores,
    ScoreTable,
    Split,
    ThreatModel,
)
from .users import by_user, users_of
from .view import TargetView

STEP = "attack"
VERSION = 3
Arrays = dict[str, NDArray[np.generic]]


@dataclass(frozen=True, eq=False)
class Setting:
    """What all attacks of a run share.

    Attributes:
        dataset: the records.
        split: who trained on what, as attacks and metrics are told.
        targets: int64 (t,), models that are attacked in turn.
        fprs: false positive rates of interest.
        resampling: of every interval.
        seed: root seed.
        store: where finished attacks are kept.
        observe: is told of progress.
        phase: what the attacks are run for, in the names of progress steps; empty for the evaluation itself.
    """

    dataset: Dataset
    split: Split
    targets: Ints
    fprs: tuple[float, ...]
    resampling: Resampling
    seed: int
    store: Store
    observe: Observer
    phase: str = ""

    def step(self, named: NamedAttack, pool: Pool) -> str:
        """Name of the progress step of one attack on one candidate."""
        return f"{self.phase}{named.id} on {pool.spec.id}"

    @cached_property
    def candidates(self) -> Candidates:
        """The audit records, without membership."""
        return _records(self.dataset, self.split.pool)

    @cached_property
    def users(self) -> Ints | None:
        """Number of the user of each audit record, (n,); None where records stand for themselves."""
        return users_of(self.dataset, self.split.pool)

    @cached_property
    def ordinary(self) -> Bools:
        """Which of the subjects are no canaries, and so count in the metrics of attacks: bool (n,)."""
        counted = ordinary(self.dataset, self.split.pool)
        return counted if self.users is None else np.bincount(self.users, weights=~counted) == 0

    @property
    def subjects(self) -> Ints:
        """Whom membership results are about, in their order: rows of the data set, or ids of users."""
        if self.dataset.units is None:
            return self.split.pool
        return np.asarray(np.unique(self.dataset.units[self.split.pool]))

    @cached_property
    def auxiliary(self) -> Candidates:
        """Records that are never members."""
        return _records(self.dataset, self.split.auxiliary)


@dataclass(frozen=True, eq=False)
class NamedAttack:
    """An attack as an experiment names it.

    Attributes:
        id: its name in the experiment.
        attack: the component.
        identity: what it is.
        repeats: how often it asks for each answer, of target and references; it sees the mean, so that noise on
            answers averages out. At least 1.
    """

    id: str
    attack: Attack
    identity: Identity
    repeats: int = 1


class ArtifactWriter:
    """Files beside evidence.json: aggregates under `release/`, anything about single records under `restricted/`.

    They are written into a folder of their own first and moved into place together, so that an interrupted run leaves
    the files of an earlier one as they were.
    """

    def __init__(self, out: Path) -> None:
        """Write under `out`, which exists."""
        self._out = out
        self._staging = Path(tempfile.mkdtemp(dir=out, prefix=".writing-"))
        self.written: list[Artifact] = []

    def save(self, name: str, content: bytes, *, restricted: bool) -> None:
        """Write one file and remember its digest."""
        path = f"{'restricted' if restricted else 'release'}/{name}"
        staged = self._staging / path
        staged.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(staged, content)
        self.written.append(Artifact(path=path, sha256=file_sha256(staged), restricted=restricted))

    def publish(self) -> None:
        """Move every file to where evidence.json says it is."""
        for artifact in self.written:
            final = self._out / artifact.path
            final.parent.mkdir(parents=True, exist_ok=True)
            os.replace(self._staging / artifact.path, final)
        self.discard()

    def discard(self) -> None:
        """Drop whatever was not published."""
        shutil.rmtree(self._staging, ignore_errors=True)


def run_membership(named: NamedAttack, pool: Pool, setting: Setting) -> ScoreTable:
    """Scores of a membership attack on every target, of users where the data tell whose records they are.

    Raises:
        NotApplicable: the attack cannot run here.
    """
    attack = named.attack
    assert isinstance(attack, MembershipAttack)
    _check_access(named, pool, setting)
    n = len(setting.split.pool)

    def score(target: int) -> Arrays:
        context = _membership_context(named, pool, target, setting)
        limit = min(attack.max_records, n) if isinstance(attack, SamplingAttack) else n
        view = _view(named, pool, target, setting, budget=limit)
        scores = attack.score(view, setting.candidates, context)
        return _placed(scores, setting.split.pool, context.known, limit)

    arrays = _each_target(named, pool, setting, score)
    member = setting.split.member[setting.targets]
    scores, scored = arrays["scores"].astype(np.float64), arrays["scored"].astype(np.bool_)
    table = ScoreTable(setting.targets, scores, member, scored)
    return table if setting.users is None else by_user(table, setting.users)


def run_inversion(named: NamedAttack, pool: Pool, setting: Setting) -> Float32:
    """Reconstructions of every auxiliary class from every target: float32 (t, c, *shape).

    Raises:
        NotApplicable: the attack cannot run here.
    """
    attack = named.attack
    assert isinstance(attack, InversionAttack)
    _check_access(named, pool, setting)
    labels, _ = auxiliary_means(setting.dataset, setting.split)

    def reconstruct(target: int) -> Arrays:
        view = _view(named, pool, target, setting, budget=len(labels))
        context = InversionContext(setting.auxiliary, derive(setting.seed, "attack", named.id, target))
        result = attack.reconstruct(view, labels, context)
        if not np.array_equal(result.labels, labels) or not np.isfinite(result.samples).all():
            raise PrivassayError("the attack returned other classes than asked for, or samples that are not finite")
        return {"samples": result.samples}

    return _each_target(named, pool, setting, reconstruct)["samples"].astype(np.float32)


def evaluate(
    named: NamedAttack, pool: Pool, setting: Setting, judge: Callable[[], Judge], files: ArtifactWriter
) -> AttackResult:
    """Run one attack and measure it. Whatever goes wrong with it is recorded and stops nothing else.

    Raises:
        InfrastructureError: the disk failed.
    """
    metrics: dict[str, Estimate] = {}
    status: Literal["ok", "not_run", "error"] = "ok"
    reason = ""
    try:
        if named.attack.family == "membership":
            table = run_membership(named, pool, setting)
            metrics = membership_metrics(table.part(setting.ordinary), setting.fprs, setting.resampling)
            _save_scores(named, pool, setting, table, files)
        else:
            samples = run_inversion(named, pool, setting)
            about = (setting.dataset, setting.split)
            metrics = inversion_metrics(samples, setting.targets, about, judge(), setting.resampling)
            _save_pictures(named, pool, setting, samples, files)
    except InfrastructureError:
        raise
    except NotApplicable as error:
        status, reason, metrics = "not_run", str(error), {}
    except Exception as error:  # one failing attack must not cost the others' results
        status, reason, metrics = "error", f"{type(error).__name__}: {error}", {}
    if reason:
        setting.observe(StepFinished(setting.step(named, pool), reason))
    return AttackResult(
        id=named.id,
        component=named.identity.component,
        family=named.attack.family,
        implementation=named.attack.implementation,
        threat_model=_granted(named, setting.split),
        status=status,
        reason=reason,
        metrics=metrics,
    )


def _records(dataset: Dataset, rows: Ints) -> Candidates:
    return Candidates(rows, dataset.x[rows], dataset.y[rows])


def _granted(named: NamedAttack, split: Split) -> ThreatModel:
    """The threat model with the number of references really at hand and the queries really asked."""
    declared = named.attack.threat_model
    granted = replace(declared, query_budget=declared.query_budget * named.repeats)
    if declared.reference_models == 0:
        return granted
    return replace(granted, reference_models=len(split.references(0)))


def _check_access(named: NamedAttack, pool: Pool, setting: Setting) -> None:
    """Refuse what a target cannot be asked for.

    Raises:
        NotApplicable: it gives less than the attack needs, or it is a regressor and the attack needs classes.
    """
    if setting.dataset.grid is not None and isinstance(named.attack, ClassAttack):
        raise NotApplicable(named.attack.needs_classes)
    needed = named.attack.threat_model.access
    for target in setting.targets:
        given = pool.access(int(target))
        if ACCESS_LEVELS.index(needed) > ACCESS_LEVELS.index(given):
            raise NotApplicable(f"needs {needed}, the released model answers with {given}")


def _each_target(
    named: NamedAttack, pool: Pool, setting: Setting, work: Callable[[int], Arrays]
) -> dict[str, NDArray[np.generic]]:
    """Do `work` for every target that the store does not hold: arrays stacked over targets.

    Processes that share the store share the targets; none is attacked twice.
    """
    step, store = setting.step(named, pool), setting.store
    targets = {_key(named, pool, setting, int(target)): int(target) for target in setting.targets}
    missing = [key for key in targets if store.find(STEP, key) is None]
    setting.observe(StepStarted(step, len(targets), len(targets) - len(missing)))
    for key in store.in_turn(STEP, missing, step, setting.observe):
        if store.find(STEP, key) is None:  # else another process was first
            arrays = work(targets[key])
            with store.entry(STEP, key, f"{pool.spec.id} model {targets[key]}: {named.id}") as folder:
                np.savez(folder / "arrays.npz", **arrays)
        setting.observe(StepAdvanced(step))
    setting.observe(StepFinished(step, ""))
    rows = [_stored(store.root / STEP / key) for key in targets]
    return {name: np.stack([row[name] for row in rows]) for name in rows[0]}


def _stored(folder: Path) -> Arrays:
    with np.load(folder / "arrays.npz", allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def _key(named: NamedAttack, pool: Pool, setting: Setting, target: int) -> str:
    return key_of(
        STEP,
        VERSION,
        {
            "attack": [named.id, asdict(named.identity), named.repeats],
            "defense": asdict(pool.spec.defense_identity),
            "candidate": pool.spec.id,
            "target": pool.keys[target],
            "references": [pool.keys[k] for k in setting.split.references(target)],
            "data": setting.dataset.sha256,
            "split": setting.split.sha256,
            "seed": setting.seed,
            "packages": package_versions(),
        },
    )


def _view(named: NamedAttack, pool: Pool, target: int, setting: Setting, budget: int) -> TargetView:
    """The target as this attack may see it; `budget` items at the threat model's queries each, repeats not counted."""
    dataset, threat_model = setting.dataset, named.attack.threat_model
    return TargetView(
        pool.deployed(target, setting.candidates, named.repeats),
        threat_model,
        (dataset.shape, dataset.bounds if dataset.to_fit is None else None, dataset.n_classes),
        budget * threat_model.query_budget,
    )


def _membership_context(named: NamedAttack, pool: Pool, target: int, setting: Setting) -> MembershipContext:
    threat_model = named.attack.threat_model
    split, seed = setting.split, setting.seed
    references = None
    if threat_model.reference_models:
        chosen = split.references(target)
        if len(chosen) < threat_model.reference_models:
            raise NotApplicable(
                f"needs {threat_model.reference_models} reference models, the pool of {split.models} leaves "
                f"{len(chosen)}"
            )
        references = PoolReferences(pool, split, chosen, named.repeats)
    known = None
    if threat_model.knows_members:
        told = _told(setting, target)
        known = KnownMembers(split.pool[told], split.member[target][told])
    return MembershipContext(setting.auxiliary, references, known, derive(seed, "attack", named.id, target))


def _told(setting: Setting, target: int) -> Ints:
    """Half of the audit records, by position, whole users where the data tell them apart."""
    rng, n = generator(setting.seed, "known", target), len(setting.split.pool)
    if setting.users is None:
        return np.sort(rng.permutation(n)[: n // 2])
    count = len(setting.subjects)
    return np.flatnonzero(np.isin(setting.users, rng.permutation(count)[: count // 2]))


def _placed(scores: Scores, pool: Ints, known: KnownMembers | None, limit: int) -> Arrays:
    """Scores by audit record, checked: `limit` of the records the attack was not told about, finite, none twice."""
    asked = pool if known is None else np.setdiff1d(pool, known.ids)
    expected = asked if limit >= len(asked) else np.intersect1d(asked, scores.ids)
    if not np.array_equal(np.sort(scores.ids), expected) or len(expected) != min(limit, len(asked)):
        raise PrivassayError(
            f"the attack must score {min(limit, len(asked))} of {len(asked)} candidates, each once, and none whose "
            "membership it was told"
        )
    if not np.isfinite(scores.values).all():
        raise PrivassayError("the attack returned scores that are not finite")
    values = np.zeros(len(pool))
    values[np.searchsorted(pool, scores.ids)] = scores.values
    return {"scores": values, "scored": np.isin(pool, scores.ids)}


def _save_scores(named: NamedAttack, pool: Pool, setting: Setting, table: ScoreTable, files: ArtifactWriter) -> None:
    curve = json.dumps(roc_curve(table.part(setting.ordinary), setting.resampling)).encode()
    files.save(f"curves/{pool.spec.id}/{named.id}.json", curve, restricted=False)
    scores = npz(records=setting.subjects, **{name: getattr(table, name) for name in table.__dataclass_fields__})
    files.save(f"scores/{pool.spec.id}/{named.id}.npz", scores, restricted=True)


def _save_pictures(named: NamedAttack, pool: Pool, setting: Setting, samples: Float32, files: ArtifactWriter) -> None:
    """The first target's reconstructions beside the auxiliary means; shown only where the data are public."""
    labels, baseline = auxiliary_means(setting.dataset, setting.split)
    content = npz(
        labels=labels,
        reconstruction=samples[0],
        baseline=baseline,
        bounds=np.asarray(setting.dataset.bounds),
    )
    files.save(f"pictures/{pool.spec.id}/{named.id}.npz", content, restricted=not setting.dataset.public)


def npz(**arrays: NDArray[np.generic]) -> bytes:
    """Arrays by name as the bytes of an .npz file."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()
