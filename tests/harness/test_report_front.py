"""The front of accuracy and leakage: who is on it, who is beaten by DP-SGD, and how report and note say so."""

import re

import numpy as np
import pytest
from privassay.harness import evidence as ev
from privassay.harness import front as fronts
from privassay.harness import report, wording
from privassay.harness.types import Verdict
from privassay.tests.support import evidence_example as example

DP_SGD = {"defenses": {"dp_1": {"component": "dp_sgd"}, "dp_8": {"component": "dp_sgd"}}}


def run_of(*candidates, primary="lira", **experiment):
    settings = {"name": "x", **DP_SGD, **experiment}
    return example.evidence(tuple(candidates), verdicts=(), experiment=settings, primary=primary)


def beside(heuristic, *baselines):
    """What is said of a heuristic at (accuracy, leakage, half an interval) beside DP-SGD at such points."""
    formal = [example.trained(f"dp_{n}", "formal", *at) for n, at in zip((1, 8), baselines, strict=False)]
    run = run_of(example.trained("l2", "heuristic", *heuristic), *formal)
    return fronts.against_dp_sgd(run, fronts.front(run))


@pytest.fixture(scope="module")
def compared():
    """No defence, two of DP-SGD, three heuristics: one beaten, one not told apart, one better."""
    return run_of(
        example.trained("none", "none", 0.93, 0.31),
        example.trained("dp_1", "formal", 0.82, 0.012),
        example.trained("dp_8", "formal", 0.90, 0.022),
        example.trained("l2", "heuristic", 0.85, 0.21),
        example.trained("mixup", "heuristic", 0.902, 0.024),
        example.trained("distillation", "heuristic", 0.925, 0.031),
    )


def test_the_front_is_what_a_slow_search_finds():
    rng = np.random.default_rng(3)
    for _ in range(50):
        points = rng.integers(1, 6, (rng.integers(3, 9), 2)) / 10  # coarse, so that there are ties
        run = run_of(*(example.trained(f"d{i}", "heuristic", x, y) for i, (x, y) in enumerate(points)))
        slow = set()
        for i, (x, y) in enumerate(points):
            others = np.delete(points, i, axis=0)
            better = (others[:, 0] > x) & (others[:, 1] <= y) | (others[:, 0] >= x) & (others[:, 1] < y)
            slow |= set() if better.any() else {f"mlp/d{i}"}
        assert set(fronts.front(run).best) == slow


def test_two_candidates_make_no_front():
    pair = [example.trained(name, "none", 0.9, 0.2) for name in ("a", "b")]
    assert fronts.front(run_of(*pair)).best == ()
    assert fronts.front(run_of(*pair, example.trained("c", "none", 0.9, 0.2))).best == ("mlp/a", "mlp/b", "mlp/c")


@pytest.mark.parametrize(
    ("heuristic", "dp_sgd", "said"),
    [
        ((0.85, 0.20), (0.90, 0.02), "beaten by mlp/dp_1"),
        ((0.90, 0.20), (0.90, 0.02), "beaten by mlp/dp_1"),  # equally accurate, leaks more
        ((0.85, 0.02), (0.90, 0.02), "beaten by mlp/dp_1"),
        ((0.901, 0.20), (0.90, 0.02), "leaks more than mlp/dp_1, accuracy not told apart"),
        ((0.85, 0.019), (0.90, 0.02), "less useful than mlp/dp_1, leakage not told apart"),
        ((0.901, 0.021), (0.90, 0.02), "not told apart from mlp/dp_1"),
        ((0.899, 0.021), (0.90, 0.02), "not told apart from mlp/dp_1"),  # behind by point estimates only
        ((0.95, 0.20), (0.90, 0.02), "not beaten"),
        ((0.85, 0.005), (0.90, 0.02), "not beaten"),
        ((0.95, 0.005), (0.90, 0.02), "not beaten"),
    ],
)
def test_intervals_decide_who_is_beaten(heuristic, dp_sgd, said):
    found = beside((*heuristic, 0.002), (*dp_sgd, 0.002))
    assert found == {"mlp/dp_1": fronts.IS_DP_SGD, "mlp/l2": said}
    assert beside((*heuristic, 0.3), (*dp_sgd, 0.3))["mlp/l2"] == "not told apart from mlp/dp_1"


def test_the_gravest_is_said_of_all_that_say_it():
    assert beside((0.8, 0.3), (0.9, 0.02), (0.91, 0.05))["mlp/l2"] == "beaten by mlp/dp_1 and mlp/dp_8"
    assert beside((0.88, 0.3), (0.82, 0.02), (0.91, 0.05))["mlp/l2"] == "beaten by mlp/dp_8"
    assert beside((0.905, 0.05), (0.82, 0.02), (0.906, 0.05))["mlp/l2"] == "not told apart from mlp/dp_8"


def test_only_dp_sgd_with_a_claim_is_a_baseline():
    plain, formal = example.trained("l2", "heuristic", 0.8, 0.3), example.trained("pate", "formal", 0.9, 0.02)
    run = run_of(plain, formal)
    assert fronts.against_dp_sgd(run, fronts.front(run)) == {}
    unclaimed = example.trained("dp_1", "formal", 0.9, 0.02).model_copy(update={"claim": None})
    run = run_of(plain, unclaimed)
    assert fronts.against_dp_sgd(run, fronts.front(run)) == {}
    run = run_of(*(example.trained(name, "formal", 0.9, 0.02) for name in ("dp_1", "dp_8")))
    assert fronts.against_dp_sgd(run, fronts.front(run)) == {}


def test_the_primary_attack_is_compared_else_the_strongest(compared):
    assert fronts.front(compared).attack == "lira"
    chosen = example.estimate(0.4)
    first = compared.candidates[0]
    best = example.ev.Strongest(attack="lira", of=("lira",), estimate=chosen)
    other = first.model_copy(update={"strongest": {fronts.LEAKAGE: best}})
    run = compared.model_copy(update={"candidates": (other, *compared.candidates[1:]), "primary": None})
    assert fronts.front(run).attack is None
    assert fronts.front(run).marks[0].leakage == chosen
    assert fronts.front(run).marks[1].leakage == compared.candidates[1].attacks[0].metrics[fronts.LEAKAGE]
    absent = compared.model_copy(update={"primary": "label_gap"})
    assert fronts.front(absent).attack is None
    assert fronts.LEAKAGE == wording.HEADLINE


def test_a_candidate_without_the_rate_is_named_and_not_drawn(compared, tmp_path):
    first = compared.candidates[0]
    failed = first.model_copy(update={"attacks": (example.failed(first.attacks[0], "error", "x"),)})
    run = compared.model_copy(update={"candidates": (failed, *compared.candidates[1:])})
    assert fronts.front(run).missing == ("mlp/none",)
    html = report.render(run, tmp_path)
    assert "or of an accuracy: mlp/none." in html
    assert '<li value="1">' not in html
    assert '<li value="2">' in html


def test_the_plot_says_in_words_what_it_draws(compared, tmp_path):
    html = report.render(compared, tmp_path)
    label = "Accuracy on held-out data and members flagged at 1 % FPR: 6 candidates; on the front: 1, 2, 3, 5, 6"
    assert f'role="img" aria-label="{label}"' in html
    assert "Members flagged by the primary attack" in html
    for words in ("no defence", "heuristic defence", "formal claim"):
        assert f"</span> {words}</li>" in html
    assert "</span> released model" not in html
    assert "heuristic defence; on the front</span>" in html


def test_every_candidate_has_its_row(compared, tmp_path):
    html = report.render(compared, tmp_path)
    table = re.search(r'(?s)aria-label="Privacy against utility">.*?</table>', html)[0]
    rows = [re.sub(r"\s*<[^>]+>\s*", "|", row) for row in re.findall(r"(?s)<tr><td.*?</tr>", table)]
    cells = [[cell for cell in row.split("|") if cell] for row in rows]
    marks = {mark.candidate.id: mark for mark in fronts.front(compared).marks}
    for _, name, _, accuracy, _, found, *_ in cells:
        assert accuracy == f"{100 * marks[name].accuracy.value:.1f}\xa0%"
        assert found == f"{100 * marks[name].average.value:.1f}\xa0%"
    assert [cell[:3] + cell[7:] for cell in cells] == [
        ["1", "mlp/none", "no defence", "on the front", "not beaten"],
        ["2", "mlp/dp_1", "formal claim", "on the front", "is DP-SGD"],
        ["3", "mlp/dp_8", "formal claim", "on the front", "is DP-SGD"],
        ["4", "mlp/l2", "heuristic defence", "behind it", "beaten by mlp/dp_8"],
        ["5", "mlp/mixup", "heuristic defence", "on the front", "not told apart from mlp/dp_8"],
        ["6", "mlp/distillation", "heuristic defence", "on the front", "not beaten"],
    ]


def test_the_legend_says_verdicts_in_words(compared, tmp_path):
    run = compared.model_copy(update={"verdicts": (example.verdict(compared.candidates[0], Verdict.FAIL),)})
    legend = re.search(r'(?s)<ol class="numbered">.*?</ol>', report.render(run, tmp_path))[0]
    entries = [re.sub(r"\s*<[^>]+>\s*", " ", row).split() for row in re.findall("<li.*?</li>", legend)]
    assert entries[0] == ["1", "\u25cf", "mlp/none", "FAIL"]
    assert len(entries) == 6


def test_numbers_without_room_are_said_to_be_missing(tmp_path):
    many = [example.trained(f"d{i}", "heuristic", 0.3 + i / 200, 0.45 - i / 200) for i in range(65)]
    html = report.render(run_of(*many), tmp_path)
    missing = re.search("Drawn without a number, for want of room: ([0-9, ]+)\\.", html)[1].split(", ")
    drawn = re.findall(r"700[^>]*>(\d+)</text>", re.search(r'(?s)<figure class="plot wide">.*?</svg>', html)[0])
    assert "65" in drawn  # the only one on the front
    assert sorted(map(int, [*missing, *drawn])) == list(range(1, 66))
    assert 5 <= len(missing) < 30


def test_the_note_names_the_front_and_who_is_beaten(compared):
    note = report.summary_markdown(compared)
    assert "- On the front of accuracy and TPR at 1 % FPR: mlp/none, mlp/dp_1, mlp/dp_8," in note
    assert "- Beside DP-SGD, beaten by mlp/dp_8: mlp/l2." in note
    assert "is DP-SGD" not in note


def test_with_two_candidates_nothing_is_drawn(compared, tmp_path):
    html = report.render(compared.model_copy(update={"candidates": compared.candidates[:2]}), tmp_path)
    assert "Privacy against utility" not in html
    assert "on the front" not in html


def test_only_canaries_that_the_compared_attack_judged_are_on_the_front(tmp_path, compared):
    first, *rest = compared.candidates
    worst = ev.Group(column="canaries", value="canary", members=60, outsiders=60, small=False, metrics={
        "tpr_at_fpr_0.01": example.estimate(0.9, 0.02),
    })  # fmt: skip

    def marked(attack, primary):
        rows = (worst.model_copy(update={"attack": attack}),)
        changed = (first.model_copy(update={"groups": rows}), *rest)
        run = compared.model_copy(update={"candidates": changed, "primary": primary})
        return run, fronts.front(run).marks[0]

    run, mark = marked("lira", "lira")
    assert mark.leakage.value == 0.9
    note = "Not of canaries: they were not judged by the attack that is compared here."
    assert note not in report.render(run, tmp_path)
    for attack, primary in (("loss", "lira"), ("loss", None)):
        run, mark = marked(attack, primary)
        assert (mark.canaries, mark.leakage) == (None, mark.average)
        assert note in report.render(run, tmp_path)
