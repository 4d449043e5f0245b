"""Groups and single records in the report: what is shown, greyed out, and left unsaid."""

import re

import pytest
from privassay.harness import report
from privassay.tests.support import evidence_example as example


def section(folder, **changes):
    """The section of the first candidate's page, with fields of that candidate changed; empty if there is none."""
    first = example.candidates()[0].model_copy(update=changes)
    return cut(report.render(example.evidence((first,)), folder))


def cut(html):
    found = re.search(r"(?s)<section>\s*<h2>Groups and single records</h2>.*?</section>", html)
    return found[0] if found else ""


def text_of(html):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", html).replace("&nbsp;", " ")).strip()


def row_of(html, value):
    return re.search(rf'(?s)<tr[^>]*><th scope="row">{value}</th>.*?</tr>', html)[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return section(tmp_path_factory.mktemp("nothing beside it"))


def test_groups_are_rows_under_their_column_in_the_order_of_the_evidence(whole):
    names = re.findall(r'<th scope="(?:rowgroup|row)"[^>]*>(.*?)</th>', whole)
    assert names[:7] == ["class", "0", "1", "region", "north", "south", "&lt;east&gt;"]
    shown = "1 597 597 0.750 [0.720, 0.780] 9.0 % [6.3, 11.7] 1.1 % [0.7, 1.5]"
    assert text_of(row_of(whole, "1")) == shown


def test_small_groups_are_grey_and_said_to_be_too_small(whole):
    for value, small in (("north", False), ("south", True), ("&lt;east&gt;", True)):
        row = row_of(whole, value)
        assert ("too few records to judge" in row) == small
        assert ("color: var(--muted)" in row) == small
    assert "0.910" in row_of(whole, "south")
    assert row_of(whole, "&lt;east&gt;").count("\u2013") == 3  # so few that they have no metrics


def test_shares_stand_beside_untrained_models_and_noise(whole):
    shown = "at least once 28.1 % [26.7, 29.5] 8.3 % [7.3, 9.3] 7.7 %"
    assert text_of(row_of(whole, "at least once")) == shown
    assert "3.8 % [3.4, 4.2] 0.17 % [0.05, 0.29] &lt; 0.01 %" in text_of(
        row_of(whole, "by at least half of the models")
    )
    assert "Flagged by lira at a nominal false positive rate of 1 %, where at least 8 models" in text_of(whole)
    assert "target models as they are, at least 8 for each record" in whole


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.3, "Which records rank highest changes from model to model: rank correlation 0.300 [0.250, 0.350]"),
        (0.5, "The records that rank highest are partly the same from model to model: rank"),
        (0.9, "Largely the same records rank highest from model to model: rank"),
    ],
)
def test_stability_in_words(tmp_path, value, words):
    found = example.vulnerability().model_copy(update={"stability": example.estimate(value, 0.05)})
    assert words in text_of(section(tmp_path, vulnerability=found))


def test_each_part_may_be_missing(tmp_path):
    assert "north" not in (alone := section(tmp_path, groups=()))
    assert "at least once" in alone
    assert "at least once" not in (groups := section(tmp_path, vulnerability=None))
    assert "north" in groups
    assert section(tmp_path, groups=(), vulnerability=None) == ""
    short = example.vulnerability().model_copy(update={"stability": None})
    assert "Too few models trained on each record" in section(tmp_path, vulnerability=short)


def test_tables_have_names_and_scroll_by_keyboard(whole):
    assert whole.count("<table") == whole.count('tabindex="0" role="region" aria-label=') == 2
    assert 'aria-label="Groups of records: mlp/none"' in whole
    assert 'aria-label="Single records: mlp/none"' in whole


def test_only_candidates_with_rows_are_named(tmp_path):
    run = example.evidence()
    html = cut(report.render(run, tmp_path))
    assert re.findall("<h3>(.*?)</h3>", html) == ["mlp/none"]
    named = run.model_copy(update={"primary": "lira", "candidates": run.candidates[:1]})
    assert "the attack lira on each class" in cut(report.render(named, tmp_path))
