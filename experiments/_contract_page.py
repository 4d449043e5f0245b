"""The contract table as a page: three matrices, what they do not say, and the reasons in full."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from ._contract_runs import ERROR, REFUSES, RUNS, Combination, Outcomes

Backends = Mapping[str, Mapping[str, Combination]]

_HEAD = """\
# What runs with what

Every recipe of the catalogue behind every defence, and every way to a model that somebody else trained, before every
attack. Each combination is tried: {models} tiny models are trained, each on {records} records (digits 0 to 3; for
regressors diabetes), and one of them is attacked. A cell says `runs`, or the number of the reason why not, which stands
[below](#reasons) in the words of the program. What comes of an attack does not depend on the defence, but for the
[exceptions](#exceptions).

This page is what the command prints:

```sh
.venv/bin/python -m privassay.experiments.contract_table --markdown    # JSON without it
```

It took {minutes:.1f} minutes with {processes} processes. Its exit code is 1 if anything failed in another way than by a
reason of its own.
"""

_EXCEPTIONS = """\
## Exceptions

Combinations of recipe, defence and attack whose outcome is another one than the tables say: the defence's reason where
the defence refuses the recipe, else that of the recipe and the attack.
"""


def page(backends: Backends, targets: Mapping[str, Outcomes], facts: Mapping[str, float]) -> str:
    """Markdown of everything that was found.

    Args:
        backends: by recipe, by defence.
        targets: outcomes of each attack, by released model.
        facts: `models`, `records`, `minutes` and `processes`, for the text at the top.
    """
    training = {
        defense: {recipe: combinations[defense].training for recipe, combinations in backends.items()}
        for defense in next(iter(backends.values()), {})
    }
    ours = _transposed({recipe: usual(combinations) for recipe, combinations in backends.items()})
    theirs = _transposed(targets)
    reasons = _reasons((training, ours, theirs), exceptions(backends))
    parts = [_HEAD.format(**facts)]
    for title, rows, corner in (
        ("Recipes and defences", training, "defence"),
        ("Recipes and attacks", ours, "attack"),
        ("Released models and attacks", theirs, "attack"),
    ):
        if rows:
            parts += [f"## {title}\n", f"{_matrix(rows, corner, reasons)}\n"]
    parts += [_EXCEPTIONS, "\n".join(_lines(exceptions(backends), reasons)) + "\n"]
    parts += ["## Reasons\n", "\n".join(f"{number}. {reason}" for reason, number in reasons.items()) + "\n"]
    return "\n".join(parts)


def usual(combinations: Mapping[str, Combination]) -> Outcomes:
    """Outcome of each attack on one recipe behind most of the defences that train it."""
    trained = [found for found in combinations.values() if found.training == RUNS]
    asked = next(iter(combinations.values())).attacks
    if not trained:
        return dict(asked)
    return {attack: Counter(found.attacks[attack] for found in trained).most_common(1)[0][0] for attack in asked}


def exceptions(backends: Backends) -> dict[tuple[str, str, str], str]:
    """Outcomes by (recipe, defence, attack) that do not follow from the matrices."""
    found = {}
    for recipe, combinations in backends.items():
        expected = usual(combinations)
        for defense, combination in combinations.items():
            for attack, outcome in combination.attacks.items():
                if combination.training == RUNS and outcome != expected[attack]:
                    found[recipe, defense, attack] = outcome
    return found


def reason_of(outcome: str) -> str:
    """An outcome without its first word; errors keep theirs."""
    return outcome.removeprefix(REFUSES)


def failures(outcomes: Iterator[str]) -> int:
    """How many outcomes are neither `runs` nor a refusal."""
    return sum(outcome.startswith(ERROR) for outcome in outcomes)


def _transposed(rows: Mapping[str, Outcomes]) -> dict[str, Outcomes]:
    columns = next(iter(rows.values()), {})
    return {column: {row: outcomes[column] for row, outcomes in rows.items()} for column in columns}


def _reasons(matrices: Sequence[Mapping[str, Outcomes]], others: Mapping[tuple[str, str, str], str]) -> dict[str, int]:
    """Number of each reason, in the order in which a reader meets them."""
    met = [outcome for rows in matrices for row in rows.values() for outcome in row.values()]
    distinct = dict.fromkeys(outcome for outcome in [*met, *others.values()] if outcome != RUNS)
    return {reason_of(outcome): number for number, outcome in enumerate(distinct, start=1)}


def _matrix(rows: Mapping[str, Outcomes], corner: str, reasons: Mapping[str, int]) -> str:
    columns = list(next(iter(rows.values())))
    lines = [f"| {corner} | {' | '.join(columns)} |", "|---|" + "---|" * len(columns)]
    lines += [f"| {name} | {' | '.join(_cell(row[c], reasons) for c in columns)} |" for name, row in rows.items()]
    return "\n".join(lines)


def _cell(outcome: str, reasons: Mapping[str, int]) -> str:
    return RUNS if outcome == RUNS else str(reasons[reason_of(outcome)])


def _lines(others: Mapping[tuple[str, str, str], str], reasons: Mapping[str, int]) -> Iterator[str]:
    for (recipe, defense, attack), outcome in others.items():
        yield f"- {recipe} behind {defense}, {attack}: {_cell(outcome, reasons)}"
    if not others:
        yield "There are none."
