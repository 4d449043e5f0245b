"""What runs with what: every recipe behind every defence, and every released model, before every attack.

    python -m privassay.experiments.contract_table [--models NAME ...] [--defenses NAME ...] [--attacks NAME ...]
    [--targets NAME ...] [--markdown]

trains tiny models and prints JSON: for each combination `runs`, `refuses: REASON` or `error: ...`, and how long it
took. `--markdown` prints docs/contract.md instead. Exit code 1 if anything ended as an error.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor

from ..harness import catalog
from ._contract_page import Backends, failures, page
from ._contract_runs import MODELS, RECORDS, Outcomes, backend, target
from ._contract_targets import TARGETS


def main(arguments: Sequence[str] | None = None) -> None:
    """Try everything and print what came of it."""
    chosen = _arguments(arguments)
    start = time.perf_counter()
    backends, released = _found(chosen)
    seconds = time.perf_counter() - start
    if chosen.markdown:
        facts = {"models": MODELS, "records": RECORDS // 2, "minutes": seconds / 60, "processes": chosen.processes}
        print(page(backends, released, facts), end="")
    else:
        found = {
            "backends": {
                recipe: {defense: dataclasses.asdict(combination) for defense, combination in row.items()}
                for recipe, row in backends.items()
            },
            "targets": released,
            "seconds": round(seconds, 1),
        }
        print(json.dumps(found, indent=1))
    failed = failures(_outcomes(backends, released))
    if failed:
        print(f"{failed} combinations failed in another way than by a reason of their own", file=sys.stderr)
        sys.exit(1)


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for option, names in (
        ("--models", list(catalog.targets("models"))),
        ("--defenses", list(catalog.targets("defenses"))),
        ("--attacks", list(catalog.targets("attacks"))),
        ("--targets", list(TARGETS)),
    ):
        parser.add_argument(option, nargs="*", default=names, choices=names, metavar="NAME", help=", ".join(names))
    parser.add_argument("--processes", type=int, default=2, help="recipes and released models tried at a time")
    parser.add_argument("--markdown", action="store_true", help="print the page of the documentation")
    return parser.parse_args(arguments)


def _found(chosen: argparse.Namespace) -> tuple[Backends, dict[str, Outcomes]]:
    """Try everything, in processes of their own that each begin afresh; where one is asked for, in this one."""
    if chosen.processes == 1:
        backends = {recipe: backend(recipe, chosen.defenses, chosen.attacks) for recipe in chosen.models}
        return backends, {name: target(name, chosen.attacks) for name in chosen.targets}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(chosen.processes, mp_context=spawn) as workers:
        tried = {recipe: workers.submit(backend, recipe, chosen.defenses, chosen.attacks) for recipe in chosen.models}
        asked = {name: workers.submit(target, name, chosen.attacks) for name in chosen.targets}
        return {name: row.result() for name, row in tried.items()}, {n: row.result() for n, row in asked.items()}


def _outcomes(backends: Backends, released: dict[str, Outcomes]) -> Iterator[str]:
    for row in backends.values():
        for combination in row.values():
            yield from combination.attacks.values()
    for outcomes in released.values():
        yield from outcomes.values()


if __name__ == "__main__":
    main()
