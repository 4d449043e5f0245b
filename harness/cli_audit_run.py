"""`privassay audit run`: canaries for candidates of an experiment, with the store of `privassay run`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .errors import ExitCode, UsageError, located

if TYPE_CHECKING:
    from .evaluation import Setting
    from .events import Observer
    from .evidence import Audit
    from .plan import Plan
    from .store import Store

    Audited = list[tuple[str, tuple[Audit, ...]]]


# Those of `config.CanaryKind`, which is not imported so that `--help` answers at once; a test compares the two.
_KINDS = ("mislabelled", "mislabelled_duplicates", "out_of_distribution", "blank", "own_feature")


def add_audit_run(actions: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the action `run` to `privassay audit`."""
    run = actions.add_parser("run", help="train with canaries and say what that proves about epsilon")
    run.add_argument("experiment", type=Path, metavar="EXPERIMENT.yaml")
    run.add_argument(
        "--candidate", action="append", required=True, metavar="MODEL/DEFENSE", help="whom to audit; repeatable"
    )
    run.add_argument("--canaries", type=int, metavar="N", help="instead of the experiment's (default: 300)")
    run.add_argument("--kind", choices=_KINDS, help="what to insert (default: mislabelled)")
    run.add_argument("--guesses", type=int, metavar="R", help="default: a fifth of the canaries")
    run.add_argument("--models", type=int, metavar="N", help="training runs with canaries (default: 1)")
    run.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="folder of the store (default: out)")
    run.add_argument("--set", action="append", default=[], metavar="A.B=C", help="override a setting; repeatable")
    run.add_argument("--json", action="store_true", help="print the audits as JSON on stdout")
    run.set_defaults(command=_run)


def run_audit(plan: Plan, names: Sequence[str], out: Path, observe: Observer) -> Audited:
    """Audit candidates of an experiment by its `audit` section.

    Their pools and the models with canaries are kept in `out/store`, or found there.

    Args:
        plan: the experiment, which has such a section.
        names: `MODEL/DEFENSE` of each candidate, in the order of the result.
        out: output folder of the experiment.
        observe: is told of progress.

    Raises:
        UsageError: a candidate is not in the plan, or the claim of one allows fewer canaries.
        InfrastructureError: the disk failed.
    """
    from .canary_audit import audit_candidate
    from .store import Store
    from .training import train_pool

    assert plan.config.audit is not None
    specs = {spec.id: spec for spec in plan.specs}
    for name in names:
        if name not in specs:
            raise UsageError(f"{name!r} is not a candidate ({', '.join(specs)})")
    setting = _setting(plan, Store(out / "store"), observe)
    audited = []
    for name in names:
        pool = train_pool(specs[name], (plan.dataset, plan.split), setting.store, setting.seed, observe)
        with located(f"audit of {name}"):
            audited.append((name, audit_candidate(pool, setting, plan.config.audit)))
    return audited


def _setting(plan: Plan, store: Store, observe: Observer) -> Setting:
    """What an audit needs of the run's setting; nothing is attacked."""
    from .evaluation import Setting
    from .stats import Resampling

    settings = plan.config
    return Setting(
        dataset=plan.dataset,
        split=plan.split,
        targets=plan.split.references(0)[:0],
        fprs=(),
        resampling=Resampling(settings.metrics.level, settings.metrics.resamples, settings.seed),
        seed=settings.seed,
        store=store,
        observe=observe,
    )


def _run(arguments: argparse.Namespace) -> int:
    from . import audit_words, plan, terminal

    planned = plan.make(arguments.experiment, [*arguments.set, *_overrides(arguments)])
    screen = terminal.console()
    with terminal.progress(screen) as observe:
        audited = run_audit(planned, arguments.candidate, arguments.out, observe)
    for name, audits in audited:
        for audit in audits:
            screen.print(f"{name}  {audit_words.audit_sentence(audit)}", soft_wrap=True, markup=False, highlight=False)
    refuted = any(audit.contradicts for _, audits in audited for audit in audits)
    code = ExitCode.FAIL if refuted else ExitCode.PASS
    if arguments.json:
        found = {name: [audit.model_dump(mode="json") for audit in audits] for name, audits in audited}
        print(json.dumps({"run_id": planned.run_id, "exit_code": int(code), "audits": found}, indent=1))
    return code


def _overrides(arguments: argparse.Namespace) -> list[str]:
    """Options as settings of the `audit` section, which need not be in the file."""
    given = {name: getattr(arguments, name) for name in ("canaries", "kind", "guesses", "models")}
    settings = {name: value for name, value in given.items() if value is not None}
    candidates = list(dict.fromkeys(arguments.candidate))
    return [f"audit.{name}={json.dumps(value)}" for name, value in {"candidates": candidates, **settings}.items()]
