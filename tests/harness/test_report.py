"""The report shows what the evidence says, survives bad files and hostile names, and promises nothing."""

import base64
import json
import re
from dataclasses import replace

import numpy as np
import pytest
from privassay.harness import evidence as ev
from privassay.harness import report, report_figures, wording
from privassay.harness.errors import InfrastructureError, UsageError
from privassay.harness.types import Estimate, Verdict
from privassay.tests.support import evidence_example as example

FORBIDDEN = re.compile(r"compliant|certified|anonymous|guarantee|proves|\bsafe\b", re.IGNORECASE)


def page(folder):
    return report.render(ev.read(folder / "evidence.json"), folder)


def page_of(run, folder):
    return report.render(run, folder)


@pytest.fixture(scope="module")
def unchanged(_example_run_once):
    """The example's page, rendered once."""
    return page(_example_run_once)


def text_of(html):
    """Visible text, white space joined."""
    body = re.sub(r"(?s)<(style|head)>.*?</\1>", " ", html)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body).replace("&nbsp;", " "))


def change(folder, **fields):
    """Rewrite the evidence with other fields."""
    run = ev.read(folder / "evidence.json").model_copy(update=fields)
    ev.write(run, folder / "evidence.json")
    return run


def test_sections_stand_in_the_agreed_order(unchanged):
    html = unchanged
    titles = """Verdicts|The strongest attack|Candidates|Privacy against utility|ROC curves|Model inversion
        |Every attack|Coverage|Assumptions and limits|Provenance|Glossary"""
    order = ["<h1>FAIL</h1>", *(f">{title.strip()}" for title in titles.split("|"))]
    places = [html.index(mark) for mark in order]
    assert places == sorted(places)


def test_nothing_outside_the_file_is_referenced(unchanged):
    html = unchanged
    assert "http:" not in html
    assert "https:" not in html
    assert "<script" not in html
    assert all(src.startswith("data:image/png;base64,") for src in re.findall(r'src="([^"]*)"', html))
    assert all(href.startswith("#") for href in re.findall(r'href="([^"]*)"', html))
    assert len(html.encode()) < 1_500_000


def test_no_promise_is_made_in_report_or_summary(example_run, unchanged):
    run = ev.read(example_run / "evidence.json")
    assert run.provenance.packages["safetensors"]  # a name that only contains a forbidden word is fine
    for shown in (unchanged, report.summary_markdown(run)):
        assert FORBIDDEN.findall(shown) == []
        assert "vidence for the attacks listed" in shown
        assert "not legal advice" in shown


def test_same_evidence_gives_the_same_bytes(example_run, unchanged):
    assert page(example_run) == unchanged


def test_strongest_attack_in_plain_words(unchanged):
    text = text_of(unchanged)
    rate = example.candidates()[0].attacks[0].metrics["tpr_at_fpr_0.01"]
    value, low, high = (round(1000 * r) for r in (rate.value, rate.low, rate.high))
    assert (
        f"Of 1000 training members, an attacker with probability access correctly flags {value} "
        f"(interval {low} to {high}), and wrongly flags 11.2 of 1000 outsiders (interval 8.1 to 14.3)."
    ) in text
    assert "14 reference models; query budget 1" in text
    assert "not wholly above what guessing" not in text.split("mlp/dp_sgd")[0]


def test_every_status_and_threat_model_is_shown(unchanged):
    text = text_of(unchanged)
    assert "error ValueError: attack model saw one class only" in text
    assert "not run the model has no input gradients" in text
    assert text.count("knows members") >= 3
    assert "Attribute inference NOT TESTED" in text
    assert "Membership inference TESTED lira (3 of 3 candidates)" in text
    assert "art_black_box (2 of 3 candidates)" in text
    assert "AML.T0024.000" in text


def test_names_from_the_user_are_escaped(example_run):
    evil = '<script>alert("x")'
    run = ev.read(example_run / "evidence.json")
    first = run.candidates[0]
    attack = first.attacks[0].model_copy(update={"id": evil})
    broken = example.failed(first.attacks[1], "error", evil)
    hostile = first.model_copy(update={"id": evil, "model": "$\\frac", "attacks": (attack, broken)})
    shown = ev.Evidence.model_validate(
        {**run.model_dump(), "candidates": [hostile], "experiment": {"name": evil},
         "verdicts": [example.verdict(hostile, Verdict.FAIL).model_copy(update={"reason": evil})]}
    )  # fmt: skip
    html = report.render(shown, example_run)
    assert "<script" not in html
    assert html.count("&lt;script&gt;") > 5
    assert "<script" not in report.summary_markdown(shown)


def test_a_changed_file_is_named_and_not_used(example_run, unchanged):
    path = "release/curves/mlp/none/lira.json"
    (example_run / path).write_text((example_run / path).read_text().replace("0.001", "0.002"))
    after = text_of(page(example_run))
    assert "lira: curve not drawn (digest differs from the evidence: not used)" in after
    assert f"{path} digest differs from the evidence: not used" in after
    assert "digest differs" not in unchanged


@pytest.mark.parametrize("path", ["release/curves/mlp/dp_sgd/loss.json", "release/pictures/mlp/none/art_miface.npz"])
def test_a_missing_file_is_a_line_not_a_crash(example_run, path):
    (example_run / path).unlink()
    assert text_of(page(example_run)).count("missing or unreadable (No such file or directory)") == 2


def test_restricted_files_are_never_opened(example_run):
    secret = example_run / "restricted/scores/mlp/none/lira.npz"
    secret.unlink()
    secret.mkdir()  # opening it would fail, and say so
    text = text_of(page(example_run))
    assert "restricted/scores/mlp/none/lira.npz restricted: not opened" in text
    assert "Is a directory" not in text


def test_restricted_pictures_are_not_shown(example_run):
    run = ev.read(example_run / "evidence.json")
    moved = tuple(
        a.model_copy(update={"path": a.path.replace("release", "restricted"), "restricted": True})
        if "pictures" in a.path else a for a in run.artifacts
    )  # fmt: skip
    change(example_run, artifacts=moved)
    html = page(example_run)
    assert "<img" not in html
    assert "Pictures are restricted" in html


@pytest.mark.parametrize("path", ["release/curves/../../../secret.json", "release/link.json"])
def test_a_listed_path_cannot_lead_out_of_the_released_files(example_run, path):
    outside = example_run.parent / "secret.json"
    outside.write_text("{}")
    (example_run / "release/link.json").symlink_to(example_run / "restricted/scores/mlp/none/lira.npz")
    change(example_run, artifacts=(ev.Artifact(path=path, sha256=ev.file_sha256(outside), restricted=False),))
    text = text_of(page(example_run))
    assert f"{path} lies outside the evidence folder: not opened" in text or f"{path} restricted: not opened" in text


def rewrite(folder, path, content):
    """Replace a file and its digest in the evidence."""
    (folder / path).write_bytes(content)
    artifacts = ev.read(folder / "evidence.json").artifacts
    change(folder, artifacts=tuple(example.artifact(folder, folder / a.path) for a in artifacts))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"not json", "Invalid JSON"),
        (b'{"fpr": [0.1, 1], "tpr": [0.1, 1], "low": [0.1], "high": [0.1, 1]}', "differ in length"),
        (b'{"fpr": [0.1, 1], "tpr": [0.1, 7], "low": [0.1, 1], "high": [0.1, 1]}', "less than or equal to 1"),
    ],
)
def test_a_file_that_is_no_curve_is_a_line(example_run, content, why):
    rewrite(example_run, "release/curves/mlp/none/lira.json", content)
    assert re.search(rf"lira: curve not drawn \(not a ROC curve: [^<]*{why}", page(example_run))


def pictures(tmp_path, shape):
    path = tmp_path / "pictures.npz"
    values = np.zeros((2, *shape))
    np.savez(path, labels=np.arange(2), reconstruction=values, baseline=values, bounds=np.array([0.0, 1.0]))
    return path.read_bytes()


@pytest.mark.parametrize("shape", [(8, 8), (64,)])
def test_square_records_are_shown_as_images(example_run, tmp_path, shape):
    rewrite(example_run, "release/pictures/mlp/none/art_miface.npz", pictures(tmp_path, shape))
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', page(example_run))
    assert len(found) == 2 * 2 + 2 * 10  # two classes here, ten for the other candidate
    assert all(base64.b64decode(data).startswith(b"\x89PNG") for data in found)


@pytest.mark.parametrize("shape", [(30,), (3, 8, 8)])
def test_other_records_are_said_not_to_be_images(example_run, tmp_path, shape):
    rewrite(example_run, "release/pictures/mlp/none/art_miface.npz", pictures(tmp_path, shape))
    assert f"not an image: records of shape {shape}" in page(example_run)


def test_a_file_that_is_no_archive_is_a_line(example_run):
    rewrite(example_run, "release/pictures/mlp/none/art_miface.npz", b"PK\x03\x04 broken")
    assert "Pictures not shown (not a file of reconstructions" in page(example_run)


def test_metrics_that_are_not_known_are_shown(example_run):
    run = ev.read(example_run / "evidence.json")
    first = run.candidates[0]
    metrics = {
        **first.attacks[0].metrics,
        "audited_epsilon": Estimate(1.234, 1.222, 1.246, 0.95, "", 16, "records"),
    }
    attack = first.attacks[0].model_copy(update={"metrics": metrics, "family": "attribute"})
    change(example_run, candidates=(first.model_copy(update={"attacks": (*first.attacks[1:], attack)}),))
    text = text_of(page(example_run))
    assert "audited_epsilon" in text
    assert "1.234 [1.222, 1.246]" in text
    assert "Attribute inference TESTED" in text


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"verdicts": ()}, "NO POLICY"),
        ({"controls": example.controls("failed")}, "ERROR"),
        ({"controls": example.controls("failed"), "verdicts": ()}, "ERROR"),
    ],
)
def test_overall_verdict(example_run, changes, expected):
    run = change(example_run, **changes)
    assert wording.overall(run) == wording.overall(run, "mlp/dp_sgd") == expected
    assert f"<h1>{expected}</h1>" in page(example_run)
    assert report.summary_markdown(run).startswith(f"# {expected}: ")


def test_a_run_without_controls_says_so(example_run):
    change(example_run, controls=(), verdicts=())
    assert "No control of the instrument was run" in page(example_run)


def test_a_candidate_on_which_nothing_ran(example_run):
    run = ev.read(example_run / "evidence.json")
    dead = tuple(example.failed(a, "error", "out of memory") for a in run.candidates[0].attacks)
    change(example_run, candidates=(run.candidates[0].model_copy(update={"attacks": dead}),), verdicts=())
    text = text_of(page(example_run))
    assert "No membership attack produced a result" in text
    assert "Membership inference NO RESULT" in text


def test_the_two_changes_are_explained_where_the_ceiling_is_drawn(unchanged):
    text = text_of(unchanged)
    assert "needs two changes for that, so its line is drawn for 2 ε and (1 + e ε ) δ" in text
    assert "computed for two changes: 2 ε and (1 + e^ε) δ" in text


def test_an_attack_beyond_the_claim_is_called_out(example_run):
    run = ev.read(example_run / "evidence.json")
    claim = replace(example.claim(), epsilon=0.1)
    change(example_run, candidates=(run.candidates[0].model_copy(update={"claim": claim}),))
    assert "audit it with canaries" in page(example_run)


def test_with_many_candidates_details_are_folded_but_not_a_doubt_about_a_claim(tmp_path, unchanged):
    found = [example.trained(f"d{i}", "heuristic", 0.9, 0.2) for i in range(7)]
    doubtful = example.trained("dp_sgd", "formal", 0.9, 0.4)
    found[4] = doubtful.model_copy(update={"claim": replace(example.claim(), epsilon=0.1)})
    html = report.render(example.evidence(tuple(found)), tmp_path)
    folded = re.findall(r'<details class="fold worst"( open)?>', html)
    assert folded == [" open", "", "", "", " open", "", ""]
    assert html.count("audit it with canaries") == 1
    assert '<details class="fold worst">' not in unchanged
    assert "details::details-content { content-visibility: visible; }" in html  # on paper all is open


def test_null_band_holds_attacks_that_guess():
    members = outsiders = 300
    rng = np.random.default_rng(5)
    fpr = np.array([0.01, 0.1, 0.5])
    low, high = report_figures.null_band(fpr, members, outsiders)
    scores = np.sort(rng.random((4000, outsiders)), axis=1)[:, ::-1]
    guesses = rng.random((4000, members))
    for k, one_low, one_high in zip((3, 30, 150), low, high, strict=True):
        tpr = (guesses > scores[:, [k]]).mean(axis=1)
        inside = ((tpr >= one_low) & (tpr <= one_high)).mean()
        assert 0.94 <= inside <= 0.99  # at least 95 %, a little more because counts are whole


def test_write_takes_a_folder_or_the_file(example_run, tmp_path, unchanged):
    report.write(example_run, tmp_path / "a.html")
    report.write(example_run / "evidence.json", tmp_path / "b.html")
    assert (tmp_path / "a.html").read_text() == (tmp_path / "b.html").read_text() == unchanged


def test_write_says_in_one_line_what_is_wrong(example_run, tmp_path):
    with pytest.raises(UsageError, match=r"evidence\.json: cannot be read"):
        report.write(tmp_path / "nowhere" / "evidence.json", tmp_path / "a.html")
    with pytest.raises(InfrastructureError, match="cannot be written"):
        report.write(example_run, tmp_path / "nowhere" / "a.html")


def big_run():
    """30 candidates x 12 attacks with long, hostile names and rules that all fail."""
    base, long = example.candidates(), "|<`*[&" * 40
    found = []
    for i in range(30):
        attacks = tuple(a.model_copy(update={"id": f"{a.id}{n}{long}"}) for n in range(2) for a in base[i % 3].attacks)
        found.append(base[i % 3].model_copy(update={"id": f"{long}{i}", "attacks": attacks}))
    reason = {"reason": long * 20, "rule": long}
    verdicts = tuple(example.verdict(c, Verdict.FAIL).model_copy(update=reason) for c in found for _ in range(5))
    return example.evidence(tuple(found), verdicts=verdicts, experiment={"name": long}, run_id=long, created=long)


@pytest.mark.parametrize("release", [False, True])
def test_summary_fits_into_a_run_note(release):
    run = big_run()
    if release:
        named = {**run.experiment, "release": run.candidates[-1].id}
        run = run.model_copy(update={"experiment": named})
    assert sum(len(c.attacks) for c in run.candidates) == 30 * 12
    summary = report.summary_markdown(run)
    assert 2000 < len(summary) <= 8000
    assert "more candidates in report.html" in summary
    assert "more findings in report.html" in summary
    assert "not legal advice" in summary


def test_summary_of_the_example_is_whole():
    summary = report.summary_markdown(example.evidence())
    rows = [line for line in summary.splitlines() if line.startswith("| mlp/")]
    assert [row.split(" | ")[:2] for row in rows] == [
        ["| mlp/none", "FAIL"], ["| mlp/output_perturbation", "INCONCLUSIVE"], ["| mlp/dp_sgd", "PASS"],
    ]  # fmt: skip
    assert "| art_black_box_told (knows members) |" in rows[2]
    assert "more candidates" not in summary
    assert "- FAIL mlp/none: mia-low-fpr, by lira: " in summary
    assert json.dumps(summary)


def test_a_large_run_stays_small_enough_to_preview(example_run):
    """10 candidates x 12 attacks, each with its curve or its pictures."""
    run = ev.read(example_run / "evidence.json")
    none = run.candidates[0]
    attacks = tuple(none.attacks[n % len(none.attacks)] for n in range(12))
    found = tuple(none.model_copy(update={"id": f"mlp/none_{i}", "attacks": attacks}) for i in range(10))
    html = report.render(run.model_copy(update={"candidates": found}), example_run)
    assert len(re.findall("<figure[ >]", html)) - html.count("<figure><img") == 11
    assert len(html.encode()) < 1_000_000


def test_the_release_candidate_decides_and_comes_first(example_run):
    run = change(example_run, experiment=example.RELEASED)
    html = page(example_run)
    text = text_of(html)
    assert "<h1>PASS</h1>" in html
    assert wording.overall(run) == "PASS"
    assert wording.overall(run, "mlp/none") == "FAIL"
    assert wording.headline(run).startswith("Release candidate mlp/dp_sgd: PASS; at the most, ")
    assert "For comparison: of 2 other candidates, 1 is outside the policy, 1 is undecided; " in wording.headline(run)
    assert "was against mlp/none" in wording.headline(run)
    names = re.findall(r'<p class="name">(\S+) ', html)
    assert names == ["mlp/dp_sgd", "mlp/none", "mlp/output_perturbation"]
    assert text.count("release candidate") == 1
    assert text.count("comparison") == 3  # two cards and the sentence
    summary = report.summary_markdown(run)
    assert summary.startswith("# PASS: ")
    assert summary.index("| mlp/dp_sgd | PASS") < summary.index("| mlp/none | FAIL")


def with_first_attack(run, **metrics):
    """The run whose first candidate's first attack has other metrics."""
    first = run.candidates[0]
    attack = first.attacks[0].model_copy(update={"metrics": {**first.attacks[0].metrics, **metrics}})
    changed = first.model_copy(update={"attacks": (attack, *first.attacks[1:])})
    return run.model_copy(update={"candidates": (changed, *run.candidates[1:])})


def test_blocks_of_tied_scores_are_named_under_the_plot(example_run, unchanged):
    nobody = Estimate(0.0, 0.0, 0.003, 0.95, "", 16, "records")
    run = ev.read(example_run / "evidence.json")
    tied = with_first_attack(run, **{wording.HEADLINE: nobody, wording.REALISED: nobody})
    line = "lira: scores are tied in blocks larger than 1"
    assert text_of(report.render(tied, example_run)).count(line) == 1
    useless = with_first_attack(run, **{wording.HEADLINE: nobody})  # flags outsiders, so there are no ties
    assert line not in text_of(report.render(useless, example_run))
    assert line not in text_of(unchanged)


def card_of(html, number):
    cards = re.findall(r'(?s)<li class="card .*?</li>', html)
    return cards[number]


def test_a_card_keeps_broken_rules_apart_from_open_ones(example_run):
    run = ev.read(example_run / "evidence.json")
    first = run.candidates[0]
    rules = [(Verdict.INCONCLUSIVE, "open"), (Verdict.FAIL, "broken"), (Verdict.PASS, "kept")]
    verdicts = tuple(example.verdict(first, o).model_copy(update={"rule": name}) for o, name in rules)
    change(example_run, verdicts=verdicts)
    card = card_of(page(example_run), 0)
    found = re.findall(r'<span class="pill \w+">(\w+)</span> <strong>(\w+)</strong>', card)
    assert found == [("FAIL", "broken"), ("INCONCLUSIVE", "open")]
    assert "Rules met: 1 of 3." in card


def test_a_claim_is_measured_beside_its_limit(example_run):
    base = example.verdict(example.candidates()[1], Verdict.PASS)
    claim = base.model_copy(update={"rule": "r", "metric": "claim", "estimate": None, "limit": 10.0})
    claims = (claim, claim.model_copy(update={"candidate": "mlp/none", "verdict": Verdict.FAIL}))
    change(example_run, verdicts=claims)
    text = text_of(page(example_run))
    assert "mlp/dp_sgd r PASS ε 2.98 δ 1e\u20115 ε ≤ 10" in text.replace("\u00a0", " ")
    assert "mlp/none r FAIL \u2013 ε ≤ 10" in text.replace("\u00a0", " ")


def test_metrics_of_inversion_have_names_a_reader_understands(unchanged):
    text = text_of(unchanged).replace("&#39;", "'")
    for name in ("Closer to a member than the public mean", "Closer to members than to outsiders"):
        assert name in text
    assert "Judge's own accuracy" in text
    assert not re.search("nearest_member_gain|member_specificity|evaluation_classifier_accuracy", text)


def test_an_attacker_with_the_weights_is_said_to_bypass_a_defence_of_the_answers(unchanged):
    def section(candidate):
        return unchanged.split(f"<h3>{candidate} · art_miface</h3>")[1].split("</article>")[0]

    assert wording.BYPASS in section("mlp/output_perturbation")
    assert wording.BYPASS not in section("mlp/none")
    formal, undefended = example.candidates()[1], example.candidates()[0]
    assert not wording.bypasses(undefended.attacks[-1], formal)
    heuristic = example.candidates()[2]
    assert not wording.bypasses(heuristic.attacks[0], heuristic)  # asks for answers only


def test_the_primary_attack_is_named_and_not_praised(example_run, unchanged):
    change(example_run, primary="lira")
    html = page(example_run)
    named = "Primary attack of this experiment file: lira. For one candidate and one metric its numbers are not the"
    assert f"{named} best of several." in text_of(html)
    assert html.count("lira (primary)") == 3
    assert "Primary attack" not in unchanged
    assert "(primary)" not in unchanged


def test_a_primary_attack_that_did_not_run_is_said_to(example_run):
    run = change(example_run, primary="art_black_box")
    some = "Primary attack of this experiment file: art_black_box. On mlp/output_perturbation: error, ValueError:"
    assert f"{some} attack model saw one class only. For one candidate" in text_of(page(example_run))
    broken = [
        c.model_copy(update={"attacks": tuple(example.failed(a, "not_run", "no <references>") for a in c.attacks)})
        for c in run.candidates
    ]
    html = page_of(run.model_copy(update={"candidates": tuple(broken)}), example_run)
    assert "On mlp/none: not run, no &lt;references&gt;. On mlp/dp_sgd: not run," in html
    assert "best of several" not in html


def test_what_the_suite_chose_and_why(example_run, unchanged):
    suite = ev.SuiteRecord(name="auto", reference_models=14, attacks=("loss", "lira"), reason="14 <models>: enough")
    change(example_run, suite=suite)
    assert "Attacks chosen by the suite auto (loss, lira): 14 &lt;models&gt;: enough." in page(example_run)
    assert "Attacks chosen by" not in unchanged


def test_missing_files_are_announced_at_the_top(example_run, unchanged):
    (example_run / "release/curves/mlp/none/lira.json").unlink()
    path = "release/curves/mlp/none/loss.json"
    (example_run / path).write_text("{}")
    report.write(example_run, example_run / "report.html")
    band = text_of((example_run / "report.html").read_text()).split(" Verdicts ")[0]
    assert "files that the evidence lists are missing or changed and not used" in band
    assert "release/curves/mlp/none/lira.json, release/curves/mlp/none/loss.json. See Provenance." in band
    assert "missing or changed" not in text_of(unchanged)
