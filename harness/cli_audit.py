"""`privassay audit`: what counts prove about epsilon, and whether a stated claim follows from how training was done."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING

from .cli_audit_run import add_audit_run
from .errors import ExitCode

if TYPE_CHECKING:
    from .claim_check import ClaimCheck, StatedClaim
    from .types import AuditedEpsilon, DPMechanism, ObservedSampling, PrivacyClaim, Sampler

    Actions = argparse._SubParsersAction[argparse.ArgumentParser]

_SAMPLERS = ("poisson", "shuffled", "fixed_size")
_NEIGHBOURS = {"add_or_remove_one": "adding or removing", "zero_out_one": "zeroing out"}


def add_audit(commands: Actions) -> None:
    """Add the command `audit` with its actions."""
    audit = commands.add_parser(
        "audit",
        help="check a claim of differential privacy",
        description="Check a claim of differential privacy: by canaries (records put into the training data by coins, "
        "which are then guessed from the model's answers), by the sampler that was used, or from counts.",
        epilog="Example: privassay audit run experiments/quickstart.yaml --candidate mlp/dp_sgd. "
        "Exit codes: 0 nothing contradicts the claim, 1 the claim does not hold, 2 usage error.",
    )
    actions = audit.add_subparsers(required=True, metavar="ACTION")
    add_audit_run(actions)
    _add_claim(actions)
    _add_rates(actions)
    _add_one_run(actions)


def _add_claim(actions: Actions) -> None:
    claim = actions.add_parser(
        "claim",
        help="the epsilon that a DP-SGD run supports, and whether a stated one holds; trains nothing",
        epilog="Exit codes: 0 the stated claim holds or none is stated, 1 it does not hold, 2 usage error.",
    )
    claim.add_argument("--noise-multiplier", type=float, required=True, metavar="S", help="noise over clipping norm")
    claim.add_argument("--batch-size", type=int, required=True, metavar="B", help="expected size of a batch")
    claim.add_argument("--records", type=int, required=True, metavar="N", help="records trained on")
    length = claim.add_mutually_exclusive_group(required=True)
    length.add_argument("--epochs", type=float, metavar="E", help="passes over the records")
    length.add_argument(
        "--steps", type=int, metavar="T", help="optimiser steps; a pass includes its last, smaller batch"
    )
    claim.add_argument("--sampler", choices=_SAMPLERS, required=True, help="how batches were really drawn")
    claim.add_argument("--delta", type=float, required=True, metavar="D", help="delta of the claim, below 1 / records")
    claim.add_argument("--epsilon", type=float, metavar="E", help="stated epsilon")
    claim.add_argument("--claimed-sampler", choices=_SAMPLERS, help="what the accountant was told, if not --sampler")
    claim.add_argument("--accountant", choices=["pld", "rdp"], default="pld", help="default: pld")
    claim.add_argument("--max-grad-norm", type=float, default=1.0, metavar="C", help="clipping norm (default: 1)")
    claim.add_argument("--json", action="store_true", help="print the result as JSON on stdout")
    claim.set_defaults(command=_claim)


def _add_rates(actions: Actions) -> None:
    rates = actions.add_parser(
        "rates",
        help="bounds on epsilon from many training runs with and without a canary",
        description="A canary is in some training runs and not in others; a rule fixed beforehand says of each run "
        "whether it is in.",
    )
    rates.add_argument("--n-in", type=int, required=True, metavar="N", help="runs with the canary")
    rates.add_argument("--tp", type=int, required=True, metavar="K", help='of these, runs of which the rule says "in"')
    rates.add_argument("--n-out", type=int, required=True, metavar="N", help="runs without the canary")
    rates.add_argument("--fp", type=int, required=True, metavar="K", help='of these, runs of which the rule says "in"')
    _add_level(rates)
    rates.set_defaults(command=_rates)


def _add_one_run(actions: Actions) -> None:
    one_run = actions.add_parser("one-run", help="bounds on epsilon from many canaries of one training run")
    one_run.add_argument("--canaries", type=int, required=True, metavar="M", help="each in by its own fair coin")
    one_run.add_argument("--guesses", type=int, required=True, metavar="R", help="canaries guessed, fixed beforehand")
    one_run.add_argument("--right", type=int, required=True, metavar="V", help="right guesses")
    _add_level(one_run)
    one_run.set_defaults(command=_one_run)


def _add_level(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--delta", type=float, required=True, metavar="D", help="delta at which epsilon is stated")
    parser.add_argument("--alpha", type=float, default=0.05, metavar="A", help="1 - confidence level (default: 0.05)")
    parser.add_argument("--json", action="store_true", help="print the results as JSON on stdout")


def _claim(arguments: argparse.Namespace) -> int:
    from .accounting import dp_sgd_claim
    from .checks import non_negative, positive, require
    from .claim_check import ClaimCheck, check_claim

    non_negative(noise_multiplier=arguments.noise_multiplier)
    require(arguments.records >= 1, "records", arguments.records, ">= 1")
    require(1 <= arguments.batch_size <= arguments.records, "batch_size", arguments.batch_size, "from 1 to the records")
    if arguments.epochs is not None:
        positive(epochs=arguments.epochs)
    observed, stated = _observed(arguments), _stated(arguments)
    check = check_claim(stated, observed) if stated else ClaimCheck(dp_sgd_claim(observed, arguments.accountant), ())
    code = ExitCode.PASS if check.holds else ExitCode.FAIL
    _say_claim(stated, check)
    if not stated and arguments.delta * arguments.records >= 1:
        _say("delta: at 1 / records or more, publishing one record in full would be allowed; this claim says nothing")
    if arguments.json:
        print(json.dumps(_claim_json(stated, check, code), indent=1))
    return code


def _observed(arguments: argparse.Namespace) -> DPMechanism:
    from .types import DPMechanism

    sampling = _sampling(arguments, arguments.sampler)
    return DPMechanism(arguments.noise_multiplier, arguments.max_grad_norm, sampling, arguments.delta)


def _sampling(arguments: argparse.Namespace, sampler: Sampler) -> ObservedSampling:
    """The sampling that the numbers mean for a sampler; a shuffled pass keeps its last, smaller batch."""
    from .types import ObservedSampling

    share = arguments.batch_size / arguments.records
    in_a_pass = math.ceil(arguments.records / arguments.batch_size) if sampler == "shuffled" else 1 / share
    steps = arguments.steps if arguments.steps is not None else math.ceil(arguments.epochs * in_a_pass - 1e-9)
    return ObservedSampling(sampler, share, steps, steps / in_a_pass)


def _stated(arguments: argparse.Namespace) -> StatedClaim | None:
    """What the owner states: an epsilon, or that of a claimed sampler, or nothing."""
    from .accounting import dp_sgd_claim
    from .claim_check import StatedClaim

    if arguments.epsilon is None and arguments.claimed_sampler is None:
        return None
    sampler: Sampler = arguments.claimed_sampler or arguments.sampler
    described = _sampling(arguments, sampler)
    stated = StatedClaim(
        epsilon=0.0 if arguments.epsilon is None else arguments.epsilon,
        delta=arguments.delta,
        sampler=sampler,
        sample_rate=described.sample_rate,
        steps=_sampling(arguments, arguments.sampler).steps,
        noise_multiplier=arguments.noise_multiplier,
        max_grad_norm=arguments.max_grad_norm,
        neighbouring="add_or_remove_one" if sampler == "poisson" else "zero_out_one",
        accountant=arguments.accountant,
        records=arguments.records,
        epochs=described.epochs if sampler == "shuffled" else None,
    )
    if arguments.epsilon is None:
        return replace(stated, epsilon=dp_sgd_claim(stated.mechanism, arguments.accountant).epsilon)
    return stated


def _say_claim(stated: StatedClaim | None, check: ClaimCheck) -> None:
    if stated:
        _say(f"stated claim: epsilon {stated.epsilon:.6g} at delta {stated.delta:.6g} for the sampler {stated.sampler}")
    for line in _claim_lines(check.honest):
        _say(line)
    for finding in check.findings:
        _say(f"{finding.code}: {finding.text}")
    if stated:
        _say("the stated claim holds" if check.holds else "the stated claim does not hold")


def _claim_lines(claim: PrivacyClaim | None) -> list[str]:
    if claim is None:
        return ["honest claim: none can be made"]
    neighbours = f"neighbours differ by {_NEIGHBOURS[claim.neighbouring]} one record"
    return [
        f"honest claim: epsilon {claim.epsilon:.6g} at delta {claim.delta:.6g}; {neighbours}",
        f"  accountant {claim.accountant}: {claim.event}",
        *(f"  assumes: {assumption}" for assumption in claim.assumptions),
    ]


def _claim_json(stated: StatedClaim | None, check: ClaimCheck, code: ExitCode) -> dict[str, object]:
    return {
        "exit_code": int(code),
        "holds": check.holds if stated else None,
        "stated": asdict(stated) if stated else None,
        "honest": asdict(check.honest) if check.honest else None,
        "findings": [asdict(finding) for finding in check.findings],
    }


def _rates(arguments: argparse.Namespace) -> int:
    from . import audit
    from .checks import require

    require(arguments.n_in >= 1, "n_in", arguments.n_in, ">= 1")
    require(arguments.n_out >= 1, "n_out", arguments.n_out, ">= 1")
    counts = (arguments.tp, arguments.n_in, arguments.fp, arguments.n_out)
    perfect = (arguments.n_in, arguments.n_in, 0, arguments.n_out)
    level = {"delta": arguments.delta, "alpha": arguments.alpha}
    methods = {
        "clopper_pearson": audit.epsilon_clopper_pearson_both,
        "gdp": audit.epsilon_gdp,
        "bayesian": audit.epsilon_bayesian,
    }
    found = {name: (method(*counts, **level), method(*perfect, **level)) for name, method in methods.items()}
    return _show(found, arguments.json)


def _one_run(arguments: argparse.Namespace) -> int:
    from . import audit
    from .checks import require

    m, r, v = arguments.canaries, arguments.guesses, arguments.right
    require(m >= 1, "canaries", m, ">= 1")
    require(0 <= r <= m, "guesses", r, f"from 0 to the {m} canaries")
    require(0 <= v <= r, "right", v, f"from 0 to the {r} guesses")
    level = {"delta": arguments.delta, "alpha": arguments.alpha}
    methods = {"one_run": audit.epsilon_one_run, "one_run_fdp": audit.epsilon_one_run_fdp}
    found = {name: (method(m, r, v, **level), method(m, r, r, **level)) for name, method in methods.items()}
    return _show(found, arguments.json)


def _show(found: Mapping[str, tuple[AuditedEpsilon, AuditedEpsilon]], as_json: bool) -> int:
    """Print each result beside what the same method gives where nothing is wrong."""
    for one, most in found.values():
        bound = f"epsilon >= {one.value:.6g}"
        whole = bound if one.high is None else f"epsilon {one.value:.6g}, {one.low:.6g} to {one.high:.6g}"
        _say(
            f"{whole} at delta {one.delta:.6g} ({one.kind}, {100 * one.level:.6g} %; at most {most.low:.6g} could have "
            f"been shown): {one.method}. {one.assumes}"
        )
    if as_json:
        results = {name: {**asdict(one), "ceiling": most.low} for name, (one, most) in found.items()}
        print(json.dumps({"exit_code": int(ExitCode.PASS), **results}, indent=1))
    return ExitCode.PASS


def _say(line: str) -> None:
    print(line, file=sys.stderr)
