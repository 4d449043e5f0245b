"""What is printed at the end: every candidate, every verdict, nothing lost in a narrow window."""

import io

import pytest
from privassay.harness import evidence, terminal
from privassay.harness.events import StepAdvanced, StepFinished, StepStarted
from privassay.tests.support import evidence_example as example
from rich.console import Console


def shown(renderable, width):
    text = io.StringIO()
    Console(file=text, width=width).print(renderable)
    return text.getvalue()


@pytest.mark.parametrize("width", [80, 140])
def test_table_names_every_candidate_and_verdict(example_run, width):
    found = evidence.read(example_run / "evidence.json")
    text = "".join(shown(terminal.verdict_table(found), width).split())
    for candidate in found.candidates:
        assert candidate.model in text
        estimate = candidate.utility["heldout_accuracy"]
        assert f"{estimate.value:.3f}" in text
        if candidate.claim:
            assert f"{candidate.claim.epsilon:.2f}" in text
    for verdict in {terminal.overall(v for v in found.verdicts if v.candidate == c.id) for c in found.candidates}:
        assert verdict.value in text


def many():
    """26 candidates with names and attacks as long as real ones, without inversion."""
    found = [example.trained("none", "none", 0.85, 0.1)]
    for i in range(25):
        one = example.trained(f"convex_output_perturbation_{i}", "heuristic", 0.8, 0.2)
        attack = one.attacks[0].model_copy(update={"id": "stacked_averaging"})
        changes = {"id": f"logistic_regression/{one.defense}", "model": "logistic_regression", "attacks": (attack,)}
        found.append(one.model_copy(update=changes))
    settings = {"name": "x", "attacks": {"stacked_averaging": {"repeats": 16}}}
    return example.evidence(tuple(found), experiment=settings)


@pytest.mark.parametrize("width", [80, 120])
def test_in_a_narrow_window_no_name_or_number_is_broken(width):
    run = many()
    lines = shown(terminal.verdict_table(run), width).splitlines()
    assert max(map(len, lines)) <= width
    starts = [i for c in run.candidates for i, line in enumerate(lines) if line.startswith(c.id + " ")]
    assert len(starts) == len(run.candidates)
    for start, end in zip(starts[1:], [*starts[2:], len(lines)], strict=True):
        assert end - start <= 5
        words = " ".join(" ".join(lines[start:end]).split())
        assert "stacked_averaging (mean of 16 answers)" in words
        assert "0.800 0.700 0.200 no claim [0.796, 0.804]" in words
    assert "lift" not in " ".join(lines)


def test_in_a_wide_window_a_candidate_has_one_row():
    text = shown(terminal.verdict_table(many()), 170)
    assert "\n logistic_regression/ " in text
    assert "stacked_averaging (mean of 16 answers)" in text


def test_a_lift_is_shown_in_a_narrow_window():
    text = shown(terminal.verdict_table(example.evidence()), 80)
    assert "inversion" in text
    assert "[-0.030, 0.070]" in text


def test_a_released_model_has_no_claim_that_anybody_knows_of():
    run = example.evidence((example.released(), example.candidates()[0]), verdicts=())
    text = shown(terminal.verdict_table(run), 140)
    assert "not known" in text
    assert text.count("no claim") == 1


def test_averaged_answers_are_said_beside_the_attack():
    run = example.evidence(experiment={"name": "x", "attacks": {"lira": {"repeats": 16}}})
    text = shown(terminal.verdict_table(run), 200)
    assert "mean of 16" in text
    assert "mean of" not in shown(terminal.verdict_table(example.evidence()), 200)


def test_attacks_without_a_result_are_named(example_run):
    found = evidence.read(example_run / "evidence.json")
    lines = "\n".join(terminal.control_lines(found))
    missing = [a for c in found.candidates for a in c.attacks if a.status != "ok"]
    assert missing
    assert all(f"{a.id}: {a.status}" in lines for a in missing)
    assert all(f"control {c.id}: {c.status}" in lines for c in found.controls)


def test_markup_in_names_is_text():
    text = io.StringIO()
    with terminal.progress(Console(file=text, width=100)) as observe:
        observe(StepStarted("[red]x[/red]", 2, 1))
        observe(StepAdvanced("[red]x[/red]"))
        observe(StepFinished("[red]x[/red]", "because [bold]"))
    assert "[red]x[/red]: because [bold]" in text.getvalue()
