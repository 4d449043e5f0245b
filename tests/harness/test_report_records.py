"""Groups and single records in the report: what is shown, greyed out, and left unsaid."""

import re

import pytest
from privassay.harness import evidence as ev
from privassay.harness import record_words, report
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
    assert "By lira, the primary attack." in text_of(cut(report.render(named, tmp_path)))


def test_an_attack_that_stands_in_for_the_primary_one_is_named_with_the_reason(tmp_path):
    run, fixed = example.evidence(), "an attack that was fixed in advance:"
    assert f"By lira, {fixed} no primary attack was named." in text_of(cut(report.render(run, tmp_path)))
    named = run.model_copy(update={"primary": "stacked"})
    words = f"lira, {fixed} the primary attack, stacked, gave no result here"
    assert f"By {words}." in text_of(cut(report.render(named, tmp_path)))
    assert f"mlp/none: groups and single records by {words}" in list(record_words.record_sentences(named))
    primary = run.model_copy(update={"primary": "lira"})
    assert not any("groups and single" in line for line in record_words.record_sentences(primary))


def test_groups_alone_name_their_attack_and_older_evidence_means_the_primary_one(tmp_path):
    first = example.candidates()[0].model_copy(update={"vulnerability": None})
    assert record_words.exposed_by(first, "stacked") == "stacked, the primary attack"
    rows = tuple(group.model_copy(update={"attack": "loss"}) for group in first.groups)
    assert record_words.exposed_by(first.model_copy(update={"groups": rows}), "loss") == "loss, the primary attack"
    assert record_words.exposed_by(first.model_copy(update={"groups": ()}), "loss") == ""


GAPS = (
    ev.Unmeasured(what="tpr_at_fpr_0.001", reason="needs 10,000 non-members, there are 600"),
    ev.Unmeasured(what="groups by <ward>", reason="17 of 180 users have several values of it"),
    ev.Unmeasured(what="single records", reason="needs 2 target models"),
    ev.Unmeasured(what="audit", reason="the recipe fails"),
)


def test_what_was_not_measured_stands_with_its_reason_where_it_would_have_been(tmp_path):
    first = example.candidates()[0]
    first = first.model_copy(update={"groups": (), "vulnerability": None, "audits": (), "unmeasured": GAPS})
    html = report.render(example.evidence((first,)), tmp_path)
    own = text_of(cut(html))
    assert "mlp/none: groups by &lt;ward&gt; not measured: 17 of 180 users have several values of it." in own
    assert "mlp/none: single records not measured: needs 2 target models." in own
    assert "audit" not in own
    assert "TPR" not in own
    parts = {re.search("<h2>(.*?)</h2>", part)[1]: text_of(part) for part in html.split("<section>")[1:]}
    assert "audit not measured: the recipe fails." in parts["Audits of epsilon"]
    rate = "TPR at 0.1 % FPR not measured: needs 10,000 non-members, there are 600."
    assert [name for name, words in parts.items() if rate in words] == ["Every attack"]


def test_what_all_candidates_lack_is_one_line_at_the_terminal():
    first, second = (c.model_copy(update={"unmeasured": GAPS[:1]}) for c in example.candidates()[:2])
    second = second.model_copy(update={"unmeasured": GAPS[:2]})
    lines = list(record_words.exposure_sentences(example.evidence((first, second))))
    assert "all candidates: TPR at 0.1\u00a0% FPR not measured: needs 10,000 non-members, there are 600" in lines
    gap = "groups by <ward> not measured: 17 of 180 users have several values of it"
    assert f"{second.id}: {gap}" in lines
