"""The table of a run's candidates."""

from privassay.experiments.defense_table import main, markdown, rows
from privassay.harness import evidence as ev
from privassay.harness.canaries import CANARY, CANARY_COLUMN
from privassay.harness.types import Estimate


def rate(value):
    return Estimate(value, value - 0.01, value + 0.01, 0.95, "m", 100, "records")


def test_rows_are_those_of_the_evidence(example_run):
    found = ev.read(example_run / "evidence.json")
    group = ev.Group(
        column=CANARY_COLUMN,
        value=CANARY,
        attack="lira",
        members=60,
        outsiders=60,
        small=False,
        metrics={"tpr_at_fpr_0.01": rate(0.7)},
    )
    first = found.candidates[0].model_copy(update={"groups": (group,)})
    found = found.model_copy(update={"primary": "lira", "candidates": (first, *found.candidates[1:])})
    table = rows(found)
    assert [row["tpr"][0] for row in table] == sorted(row["tpr"][0] for row in table)
    assert {row["candidate"] for row in table} == {candidate.id for candidate in found.candidates}
    mine = next(row for row in table if row["candidate"] == first.id)
    assert mine["canaries"][0] == 0.7
    assert [row["canaries"] for row in table].count(None) == len(table) - 1
    text = markdown(table)
    assert "70.0 [69.0, 71.0]" in text
    assert len(text.splitlines()) == len(table) + 2


def test_the_command(example_run, tmp_path, capsys):
    assert main([str(example_run), "--markdown"]) == 0
    assert capsys.readouterr().out.startswith("| candidate |")
    assert main([str(tmp_path / "nothing.json")]) == 2
    assert "cannot be read" in capsys.readouterr().err
