"""The command line. Heavy modules are imported by the command that needs them, so that `--help` is instant."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from .cli_audit import add_audit
from .cli_compare import add_compare
from .errors import ExitCode, PrivassayError

DEFAULT_TRACKING_URI = "sqlite:///mlflow.db"
INTERRUPTED = 130
"""128 + SIGINT, as shells have it."""

TERMINATED = 143
"""128 + SIGTERM."""

CLOSED_PIPE = 141
"""128 + SIGPIPE: the reader of our output went away."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code; every error is one line on stderr."""
    arguments = _parser().parse_args(argv)
    _quiet_third_parties()
    with contextlib.suppress(ValueError):  # not the main thread: signals are the caller's business
        signal.signal(signal.SIGTERM, _terminate)
    try:
        return int(arguments.command(arguments))
    except SystemExit as error:  # whatever ended the program, it was not a verdict
        what = f"code that the experiment names ended the program (sys.exit({error.code!r}))"
        return _complain(f"{what}: guard a script with `if __name__ == '__main__':`", ExitCode.USAGE)
    except PrivassayError as error:
        return _complain(str(error), error.exit_code)
    except _Terminated:
        return _complain("terminated; what was finished is kept, the same command goes on from there", TERMINATED)
    except KeyboardInterrupt:
        return _complain("interrupted; what was finished is kept, the same command goes on from there", INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
        return CLOSED_PIPE
    except Exception as error:
        if os.environ.get("PRIVASSAY_DEBUG"):
            raise
        kind = type(error).__name__
        return _complain(f"internal error: {kind}: {error} (PRIVASSAY_DEBUG=1 shows where)", ExitCode.ERROR)


class _Terminated(KeyboardInterrupt):
    """A build server cancelled the job: leave as after Ctrl-C, with workers stopped and temporary files removed."""


def _terminate(_signal: int, _frame: object) -> None:
    raise _Terminated


def _complain(message: str, code: int) -> int:
    with contextlib.suppress(OSError):  # a full disk behind stderr must not turn the code into Python's own 1
        print(f"privassay: {' '.join(message.split())}", file=sys.stderr)
    return code


def _quiet_third_parties() -> None:
    """Keep libraries' chatter out of the way of our own one-line messages."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    warnings.filterwarnings("ignore", module=r"(art|keras|mlflow|opacus|sklearn|tensorflow.*|torch)(\..*)?")


def _run(arguments: argparse.Namespace) -> int:
    from . import gate, pipeline, plan, terminal, tracking

    overrides = list(arguments.set)
    if arguments.seed is not None:
        overrides.append(f"seed={arguments.seed}")
    screen = terminal.console()
    with contextlib.redirect_stdout(sys.stderr):  # a user's code may print, and stdout is ours
        planned = plan.make(arguments.experiment, overrides, trust=arguments.trust)
        with terminal.progress(screen) as observe:
            evidence = pipeline.run(planned, arguments.out, observe)
    screen.print(terminal.verdict_table(evidence))
    for line in (*terminal.record_lines(evidence), *terminal.control_lines(evidence), *terminal.audit_lines(evidence)):
        screen.print(line, soft_wrap=True)
    verdicts = pipeline.release_verdicts(planned, evidence)
    codes = [gate.exit_code(verdicts) if planned.policy else gate.exit_code_without_policy(evidence)]
    screen.print(f"report:   {arguments.out / 'report.html'}")
    screen.print(f"evidence: {arguments.out / 'evidence.json'}")
    try:
        tracked = tracking.log_run(arguments.out, arguments.tracking_uri)
        screen.print(f"MLflow:   {tracked.tracking_uri} (run {tracked.parent_run_id})")
    except PrivassayError as error:
        codes.append(ExitCode(_complain(str(error), error.exit_code)))
    code = gate.strongest(codes)
    if arguments.json:
        _print_json({"run_id": evidence.run_id, "exit_code": int(code), "out": str(arguments.out)}, evidence.verdicts)
    return ExitCode.PASS if arguments.report_only else code


def _gate(arguments: argparse.Namespace) -> int:
    from . import evidence, gate, junit, policy, terminal

    found = evidence.read(evidence.evidence_path(arguments.evidence))
    rules = policy.load(arguments.policy)
    verdicts = gate.judge(found, rules, arguments.candidate)
    if arguments.junit:
        evidence.write_atomically(arguments.junit, junit.to_junit(verdicts, rules.name))
    screen = terminal.console()
    for line in terminal.verdict_lines(verdicts):
        screen.print(line, soft_wrap=True)
    code = gate.exit_code(verdicts)
    screen.print(f"{gate.overall(verdicts).value}: policy {rules.name} on run {found.run_id}", soft_wrap=True)
    if arguments.json:
        _print_json({"run_id": found.run_id, "exit_code": int(code), "policy_sha256": rules.sha256}, verdicts)
    return code


def _report(arguments: argparse.Namespace) -> int:
    from . import evidence, report

    source = evidence.evidence_path(arguments.evidence)
    out = arguments.out or source.with_name("report.html")
    report.write(source, out)
    print(out, file=sys.stderr)
    return ExitCode.PASS


def _log(arguments: argparse.Namespace) -> int:
    from . import tracking

    tracked = tracking.log_run(arguments.folder, arguments.tracking_uri)
    print(f"{tracked.tracking_uri} run {tracked.parent_run_id}", file=sys.stderr)
    return ExitCode.PASS


def _list(arguments: argparse.Namespace) -> int:
    from . import catalog

    everything: dict[str, dict[str, str]] = {kind: catalog.targets(kind) for kind in catalog.KINDS}
    everything["experiments"] = catalog.experiments()
    found = {kind: everything[kind] for kind in ([arguments.kind] if arguments.kind else everything)}
    if arguments.json:
        print(json.dumps(found, indent=1))
        return ExitCode.PASS
    for kind, components in found.items():
        print(f"{kind}:")
        for name, target in components.items():
            print(f"  {name:<30} {target}")
    return ExitCode.PASS


def _doctor(_: argparse.Namespace) -> int:
    from . import doctor

    checks = doctor.diagnose()
    for check in checks:
        print(f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}")
    return ExitCode.PASS if all(check.ok for check in checks) else ExitCode.ERROR


def _store_ls(arguments: argparse.Namespace) -> int:
    from . import store_admin

    root = store_admin.find_root(arguments.folder)
    if arguments.json:
        print(json.dumps(store_admin.listing(root), indent=1))
        return ExitCode.PASS
    for line in store_admin.listing_lines(root):
        print(line)
    return ExitCode.PASS


def _store_prune(arguments: argparse.Namespace) -> int:
    from . import store_admin
    from .store import Store

    store = Store(store_admin.find_root(arguments.folder))
    work, done = (store_admin.predict, "would free") if arguments.dry_run else (store_admin.prune, "freed")
    freed = work(store, arguments.unused_for)
    print(
        f"{done} {store_admin.human(freed.bytes)} in {store.root}: {freed.entries} entries, "
        f"{freed.abandoned} abandoned temporary folders; {freed.kept} entries stay",
        file=sys.stderr,
    )
    if arguments.json:
        print(json.dumps({"store": str(store.root), "dry_run": arguments.dry_run, **asdict(freed)}, indent=1))
    return ExitCode.PASS


def _days(text: str) -> float:
    days = float(text)
    if not 0 <= days < float("inf"):
        raise argparse.ArgumentTypeError("must be 0 or more")
    return days


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("must not be empty")
    return Path(text)


def _print_json(head: dict[str, object], verdicts: Sequence[object]) -> None:
    from pydantic import BaseModel

    rows = [verdict.model_dump(mode="json") for verdict in verdicts if isinstance(verdict, BaseModel)]
    print(json.dumps({**head, "verdicts": rows}, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="privassay",
        description="Attack a model's privacy, measure what leaked, gate the release.",
        epilog="Exit codes: 0 pass, 1 policy violated, 2 usage or configuration error, 3 inconclusive, "
        "4 an attack or the infrastructure failed.",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_run(commands)
    _add_gate(commands)

    report = commands.add_parser("report", help="write report.html again from evidence")
    _add_evidence(report)
    report.add_argument("--out", type=_path, metavar="FILE", help="default: report.html beside the evidence")
    report.set_defaults(command=_report)

    log = commands.add_parser("log", help="log a finished run to MLflow")
    log.add_argument("folder", type=Path, metavar="DIR", help="output folder of a run")
    _add_tracking_uri(log)
    log.set_defaults(command=_log)

    listing = commands.add_parser("list", help="what can be named in an experiment")
    kinds = ["attacks", "defenses", "models", "datasets", "targets", "experiments"]
    listing.add_argument("kind", nargs="?", choices=kinds)
    listing.add_argument("--json", action="store_true", help="print JSON")
    listing.set_defaults(command=_list)

    add_audit(commands)
    add_compare(commands)
    _add_store(commands)
    doctor = commands.add_parser("doctor", help="check this machine and environment")
    doctor.set_defaults(command=_doctor)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser("run", help="run an experiment: train, attack, measure, judge, report")
    run.add_argument("experiment", type=Path, metavar="EXPERIMENT.yaml")
    run.add_argument("--out", type=_path, default=Path("out"), metavar="DIR", help="output folder (default: out)")
    run.add_argument("--set", action="append", default=[], metavar="A.B=C", help="override a setting; repeatable")
    run.add_argument("--seed", type=int, metavar="N", help="root seed, instead of the experiment's")
    _add_tracking_uri(run)
    run.add_argument(
        "--trust", action="store_true", help="read files that can run code (pickles); the evidence names them"
    )
    run.add_argument("--report-only", action="store_true", help="exit 0 whatever the verdict, which stays as it is")
    run.add_argument("--json", action="store_true", help="print the verdicts as JSON on stdout")
    run.set_defaults(command=_run)


def _add_gate(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    gate = commands.add_parser("gate", help="judge evidence by a policy; the exit code is the verdict")
    _add_evidence(gate)
    gate.add_argument("--policy", type=Path, required=True, metavar="POLICY.yaml")
    gate.add_argument(
        "--candidate",
        action="append",
        metavar="MODEL/DEFENSE",
        help="judge only this one; repeatable (default: all)",
    )
    gate.add_argument("--junit", type=_path, metavar="FILE", help="write JUnit XML")
    gate.add_argument("--json", action="store_true", help="print the verdicts as JSON on stdout")
    gate.set_defaults(command=_gate)


def _add_store(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    store = commands.add_parser("store", help="look into the store of models and attacks, or free its space")
    actions = store.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("ls", help="what is in it, by step and candidate")
    prune = actions.add_parser(
        "prune", help="remove what was not used for long, and what killed runs left half-written"
    )
    for action in (listing, prune):
        action.add_argument("folder", type=_path, metavar="DIR", help="output folder of a run, or a store folder")
        action.add_argument("--json", action="store_true", help="print JSON on stdout")
    prune.add_argument("--unused-for", type=_days, default=30, metavar="DAYS", help="default: 30; 0: everything")
    prune.add_argument("--dry-run", action="store_true", help="remove nothing, say what would go")
    listing.set_defaults(command=_store_ls)
    prune.set_defaults(command=_store_prune)


def _add_evidence(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("evidence", type=Path, metavar="DIR|evidence.json", help="output folder of a run, or its file")


def _add_tracking_uri(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--tracking-uri", default=DEFAULT_TRACKING_URI, metavar="URI", help=f"default: {DEFAULT_TRACKING_URI}"
    )


if __name__ == "__main__":
    sys.exit(main())
