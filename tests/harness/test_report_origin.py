"""Released models, users, duplicates, trusted files, statements and averaged answers, wherever a result is shown."""

import re
from dataclasses import replace

import pytest
from privassay.harness import evidence as ev
from privassay.harness import record_words, report, terminal, wording
from privassay.harness.tracking_plan import plan
from privassay.tests.support import evidence_example as example

FORBIDDEN = re.compile(r"compliant|certified|anonymous|guarantee|proves|\bsafe\b", re.IGNORECASE)


def text_of(html):
    body = re.sub(r"(?s)<(style|head)>.*?</\1>", " ", html)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", body).replace("&nbsp;", " "))


def run_of(*candidates, **experiment):
    settings = {"name": "vendors", "targets": {"credit": {"component": "mlflow"}}, **experiment}
    return example.evidence(candidates, verdicts=(), policy_sha256=None, experiment=settings)


@pytest.fixture(scope="module")
def released():
    """Two released models, one of which answers with labels only; a pickle was trusted, and there are duplicates."""
    run = run_of(example.released(), example.released("vendor", "labels"))
    twins = ev.Duplicates(repeated=123, across=40)
    return example.with_data(run, trusted=[("model.pkl", "e" * 64)], duplicates=twins)


@pytest.fixture(scope="module")
def page(released, tmp_path_factory):
    return report.render(released, tmp_path_factory.mktemp("nothing beside it"))


def test_a_released_model_is_never_called_undefended(released, page):
    lines = "\n".join(terminal.record_lines(released))
    for shown in (text_of(page), report.summary_markdown(released), lines):
        assert "released model, trained elsewhere" in shown
        assert "no defence" not in shown
        assert "no formal claim" not in shown
        assert FORBIDDEN.findall(shown) == []
    assert "nothing known or claimed (released model, trained elsewhere)" in text_of(page)


def test_where_it_came_from_and_how_it_was_asked(page):
    text = text_of(page)
    for shown in (
        "Came through mlflow", "Source models:/credit@champion", f"sha256 {'d' * 64}", "Answers probabilities",
        "Reference models 8 trained by this run: sklearn_mlp behind none",
        "Queries 1,500 records asked about; 512 answers were kept from an earlier run",
        "probabilities were rounded to 4 digits &lt;by the server&gt;", "trained on 4000 records, its owner says",
    ):  # fmt: skip
        assert shown in text
    assert page.count("LABELS ONLY: attacks that need probabilities cannot run") == 1
    assert "vendor/released: answers with labels only, so attacks that need probabilities did not run" in text


def test_without_a_digest_or_kept_answers():
    origin = example.origin(sha256="", kept_answers=0)
    assert record_words.digest_words(origin) == "not known: what answers can change without a trace"
    assert record_words.queries_words(origin) == "1,500 records asked about"
    assert ", no digest;" in record_words.origin_sentence(example.released(), origin)


def test_hostile_words_of_an_owner_are_escaped(tmp_path):
    evil = '<script>alert("x")'
    origin = example.origin(source=evil, references=evil, notes=(evil,), component=evil)
    run = run_of(example.released().model_copy(update={"origin": origin}))
    assert "<script" not in report.render(run, tmp_path)
    assert "<script" not in report.summary_markdown(run)


def test_the_numbers_speak_about_these_weights(page):
    text = text_of(page)
    assert text.count("The numbers speak about this one set of weights, not about a way of training.") == 2
    assert "The numbers speak about this way of training" not in text
    assert "With 600 members no rate below 0.61 % can be shown" in text


def test_no_null_band_where_members_and_outsiders_are_not_known(example_run):
    run = ev.read(example_run / "evidence.json")
    first = run.candidates[0]
    plain = report.render(run.model_copy(update={"candidates": (first,)}), example_run)
    elsewhere = first.model_copy(update={"origin": example.origin()})
    html = report.render(run.model_copy(update={"candidates": (elsewhere,)}), example_run)
    assert "No grey band: " in html
    assert "No grey band: " not in plain
    assert html.count("<path") < plain.count("<path")


def test_rows_that_are_no_records_are_told(tmp_path):
    words = "139 of 400 rows of people.csv are left out: a cell is missing"
    run = example.with_data(example.evidence(), left_out=words)
    assert words in list(terminal.record_lines(run))
    ev.write(run, tmp_path / "evidence.json")
    assert words in plan(tmp_path).parent.tags["privassay.rows_left_out"]
    report.write(tmp_path, tmp_path / "report.html")
    assert words in (tmp_path / "report.html").read_text()


def test_duplicates_and_what_they_mean(page, released, tmp_path):
    assert "123 of 1,797 records occur more than once. 40 of the audited ones have a twin" in text_of(page)
    assert "40 audited records have a twin on the other side of membership." in text_of(page)
    data = released.provenance.data
    apart = data.model_copy(update={"duplicates": ev.Duplicates(repeated=123, across=0)})
    assert "none of the audited ones has a twin" in record_words.duplicates_sentence(apart)
    none = data.model_copy(update={"duplicates": ev.Duplicates(repeated=0, across=0)})
    assert record_words.duplicates_sentence(none) == "No record occurs more than once."
    assert record_words.duplicates_sentence(data.model_copy(update={"duplicates": None})) == ""
    assert "Duplicates" not in text_of(report.render(example.evidence(), tmp_path))


def test_trusted_files_with_their_digest(page, released, tmp_path):
    assert f"what that code did was not checked. model.pkl {'e' * 64}" in text_of(page)
    assert "model.pkl (sha256 eeeeeeeeeeeeeeee)" in "\n".join(terminal.record_lines(released))
    assert "Trusted files" not in text_of(report.render(example.evidence(), tmp_path))


def test_the_terminal_names_every_record_and_nothing_else(released):
    lines = list(terminal.record_lines(released))
    assert [line.split(":")[0] for line in lines[:2]] == ["credit/released", "vendor/released"]
    assert len(lines) == 4
    named = example.evidence().model_copy(update={"primary": "lira"})
    assert list(terminal.record_lines(named)) == []


def test_a_runs_note_has_the_records(released):
    note = report.summary_markdown(released)
    assert "- credit/released: released model, trained elsewhere: mlflow models:/credit@champion" in note
    assert "- Read because of --trust" in note
    assert "- 123 of 1,797 records occur more than once." in note


def test_mlflow_has_the_origin(released, tmp_path):
    ev.write(released, tmp_path / "evidence.json")
    logged = plan(tmp_path)
    assert logged.parent.tags["privassay.trusted_files"] == f"model.pkl {'e' * 64}"
    assert logged.parent.tags["privassay.duplicates"].startswith("123 of 1,797 records")
    assert "privassay.users" not in logged.parent.tags
    tags = logged.children[0].tags
    assert tags["dp.guarantee"] == "released model, trained elsewhere"
    assert tags["privassay.origin.source"] == "models:/credit@champion"
    assert tags["privassay.origin.queries"] == "1500"
    assert tags["privassay.origin.notes"].endswith("its owner says")
    assert logged.children[0].parameters["targets.component"] == "mlflow"
    assert logged.children[1].tags["privassay.origin.answers"] == "labels"


def about_users(one):
    """The candidate with membership results over users."""
    attacks = [
        a.model_copy(update={"metrics": {n: replace(e, over="models and users", n=80) for n, e in a.metrics.items()}})
        if a.family == "membership" else a for a in one.attacks
    ]  # fmt: skip
    return one.model_copy(update={"attacks": tuple(attacks)})


def test_results_about_users_are_said_to_be(tmp_path):
    first, formal, _ = (about_users(c) for c in example.candidates())
    run = example.with_data(example.evidence((first, formal), verdicts=()), users=310)
    text = text_of(report.render(run, tmp_path))
    assert "Of 1000 users in the training data, an attacker with probability access correctly flags" in text
    assert "of 1000 users outside of it" in text
    assert "1,797 records of 310 users. Membership results are about users" in text
    assert "With 80 users no rate below 4.5 % can be shown" in text
    assert "Groups and single users" in text
    assert "too few users to judge" in text
    assert "1,797 records of 310 users." in "\n".join(terminal.record_lines(run))
    auc = wording.Strongest(first.attacks[4], "auc")
    assert wording.attack_sentence(auc).startswith("Shown one user in the training data and one outsider,")
    assert "tells users in the training data from users outside of it" in wording.headline(
        run.model_copy(update={"candidates": (first.model_copy(update={"attacks": (first.attacks[4],)}),)})
    )


def test_a_claim_about_records_bounds_nothing_about_users(tmp_path):
    tiny = replace(example.claim(), epsilon=0.1)
    plain = example.candidates()[0].model_copy(update={"claim": tiny})
    for one, unit, bounded in (
        (plain, "record", True), (plain, "user", True), (about_users(plain), "record", False),
        (about_users(plain), "user", True),
    ):  # fmt: skip
        claimed = one.model_copy(update={"claim": replace(tiny, unit=unit)})
        run = example.with_data(example.evidence((claimed,), verdicts=()), users=310)
        html = report.render(run, tmp_path)
        assert ("audit it with canaries" in html) == bounded
        assert ("the claim allows at most" in html) == bounded
    assert "Such a claim says less about a user with several records" in text_of(
        report.render(example.with_data(example.evidence((about_users(plain),), verdicts=()), users=310), tmp_path)
    )


def test_the_librarys_own_statement_stands_beside_the_claim(tmp_path):
    words = "DP-SGD over 1000 examples,\n  noise <1.1>.\nEpsilon: 12.3"
    formal = example.candidates()[1].model_copy(update={"claim": replace(example.claim(), statement=words)})
    run = example.evidence((formal,), verdicts=())
    html = report.render(run, tmp_path)
    assert "<pre>DP-SGD over 1000 examples,\n  noise &lt;1.1&gt;.\nEpsilon: 12.3</pre>" in html
    assert "What the library that trained says of its privacy" in html
    assert "What the library that trained says" not in report.render(example.evidence(), tmp_path)
    assert any("privacy statement of its own" in line for line in terminal.record_lines(run))
    ev.write(run, tmp_path / "evidence.json")
    assert plan(tmp_path).children[0].tags["dp.library_statement"] == words


def test_terms_of_a_claim_in_words():
    claim = example.claim()
    assert record_words.claim_terms(claim) == "one record added or removed; Poisson sampling; pld accountant"
    closed = replace(claim, neighbouring="replace_one", sampler="none", accountant="closed_form", delta=0.0)
    shown = "one record replaced by another; no batches; epsilon in closed form, by a theorem"
    assert record_words.claim_terms(closed) == shown
    user = replace(claim, unit="user")
    assert record_words.claim_terms(user).startswith("one user added or removed with all of that user's records;")
    one = example.candidates()[1].model_copy(update={"claim": user})
    assert record_words.claim_words(one).endswith(" for each user")


def test_a_formal_defence_that_gave_no_claim_is_not_shown_as_one():
    one = example.candidates()[1].model_copy(update={"claim": None})
    assert record_words.kind(one) == "formal defence, no claim"
    assert [record_words.kind(c) for c in example.candidates()] == ["no defence", "formal claim", "heuristic defence"]


def test_an_attacker_who_averages_repeated_answers_is_said_to(example_run):
    run = ev.read(example_run / "evidence.json")
    settings = {**run.experiment, "attacks": {"lira": {"repeats": 16}, "loss": {"repeats": 1}, "label_gap": {}}}
    repeated = run.model_copy(update={"experiment": settings})
    html = report.render(repeated, example_run)
    words = "asks every question 16 times and takes the mean"
    assert html.count(f"<span>{words}</span>") == 3  # one row a candidate
    assert f"; {words}</dd>" in html
    assert "lira (mean of 16 answers) finds" in wording.headline(repeated)
    assert "| lira (mean of 16 answers) |" in report.summary_markdown(repeated)
    assert "every question" not in report.render(run, example_run)
    told = run.candidates[0].attacks[3]
    assert wording.remark(repeated, told) == " (knows members)"
    both = repeated.model_copy(update={"experiment": {"attacks": {told.id: {"repeats": 4}}}})
    assert wording.remark(both, told) == " (knows members; mean of 4 answers)"


def test_the_notes_of_many_released_models_fit():
    long = "|<`*[&" * 60
    found = tuple(
        example.released(f"{n}{long}").model_copy(update={"origin": example.origin(source=long, notes=(long,) * 5)})
        for n in range(30)
    )
    run = example.with_data(run_of(*found), trusted=[(long, "e" * 64)] * 30, users=5)
    note = report.summary_markdown(run)
    assert len(note) <= 8000
    assert "more remarks in report.html" in note
