"""What an attack is given, and what becomes of what it returns."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest
from privassay.harness.errors import InfrastructureError
from privassay.harness.evaluation import ArtifactWriter, NamedAttack, evaluate, run_membership
from privassay.harness.evidence import file_sha256
from privassay.harness.inversion_metrics import train_judge
from privassay.harness.store import Store
from privassay.harness.types import Identity, Scores, ThreatModel
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.tests.support import small


@dataclasses.dataclass(frozen=True)
class Spy:
    """Keeps what it is given and scores at random."""

    threat_model: ThreatModel
    seen: list
    family: ClassVar[str] = "membership"
    implementation: ClassVar[str] = "test"

    def score(self, view, candidates, context):
        self.seen.append((view, candidates, context))
        told = np.zeros(len(candidates), bool) if context.known is None else np.isin(candidates.ids, context.known.ids)
        return Scores(candidates.ids[~told], np.random.default_rng(context.seed).normal(size=(~told).sum()))


@dataclasses.dataclass(frozen=True)
class Returns:
    """Returns what it was told to, or raises it."""

    what: object
    family: ClassVar[str] = "membership"
    implementation: ClassVar[str] = "test"
    threat_model: ClassVar[ThreatModel] = ThreatModel("labels", False, False, 0, 1)

    def score(self, view, candidates, context):
        return self.what(view, candidates)


def named(attack, name="spy"):
    return NamedAttack(name, attack, Identity("test", {}, ""))


@pytest.fixture
def where(small_setting, tmp_path):
    return dataclasses.replace(small_setting, store=Store(tmp_path / "store"))


@pytest.fixture(scope="module")
def judge(small_setting):
    return lambda: train_judge(SklearnRandomForest(n_estimators=5), small_setting.dataset, 0, 0.95)


def spied(where, **threat):
    model = ThreatModel(
        **{
            "access": "labels",
            "knows_members": False,
            "knows_recipe": True,
            "reference_models": 0,
            "query_budget": 1,
            **threat,
        }
    )
    spy = Spy(model, [])
    table = run_membership(named(spy), small.pool(where), where)
    return spy.seen, table


def test_only_granted_knowledge_is_handed_over(where):
    seen, _ = spied(where)
    for _, candidates, context in seen:
        assert context.references is None
        assert context.known is None
        assert not np.isin(context.auxiliary.ids, where.split.pool).any()
        assert np.array_equal(candidates.ids, where.split.pool)


def test_references_are_neither_target_nor_complement(where):
    seen, _ = spied(where, reference_models=1)
    for target, (_, _, context) in enumerate(seen):
        references = context.references
        assert len(references) == where.split.models - 2
        for mask in references.member:
            assert not np.array_equal(mask, where.split.member[target])
            assert not np.array_equal(mask, ~where.split.member[target])
        assert (references.member.sum(axis=0) == len(references) // 2).all()
        probabilities = references.probabilities(0)
        assert probabilities.shape == (len(where.split.pool), 10)
        assert probabilities.sum(axis=1) == pytest.approx(np.ones(len(probabilities)))


def test_references_answer_through_the_defence(where):
    spy = Spy(ThreatModel("labels", False, True, 1, 1), [])
    run_membership(named(spy), small.pool(where, "output_perturbation"), where)
    probabilities = spy.seen[0][2].references.probabilities(0)
    assert len(np.unique(probabilities)) < 200  # rounded to one decimal, then scaled


def test_told_members_are_true_and_not_scored(where):
    seen, table = spied(where, knows_members=True)
    for target, (_, _, context) in enumerate(seen):
        truth = dict(zip(where.split.pool, where.split.member[target], strict=True))
        assert [truth[i] for i in context.known.ids] == context.known.member.tolist()
        assert table.scored[target].sum() == len(where.split.pool) - len(context.known.ids)
        assert not np.isin(context.known.ids, where.split.pool[table.scored[target]]).any()


def test_finished_attack_is_not_repeated(where):
    spy = Spy(ThreatModel("labels", False, False, 0, 1), [])
    first = run_membership(named(spy), small.pool(where), where)
    second = run_membership(named(spy), small.pool(where), where)
    assert len(spy.seen) == where.split.models
    assert np.array_equal(first.scores, second.scores)


def test_interrupted_attack_goes_on_where_it_stopped(where):
    calls = []

    def stop_at_the_third(view, candidates):
        calls.append(view)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return Scores(candidates.ids, view.predict_labels(candidates.x).astype(float))

    attack = named(Returns(stop_at_the_third))
    with pytest.raises(KeyboardInterrupt):
        run_membership(attack, small.pool(where), where)
    run_membership(attack, small.pool(where), where)
    assert len(calls) == 3 + where.split.models - 2


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (lambda v, c: Scores(c.ids[1:], np.zeros(len(c) - 1)), "must score 200 of 200 candidates, each once"),
        (lambda v, c: Scores(c.ids, np.full(len(c), np.nan)), "not finite"),
        (lambda v, c: v.predict(c.x), "the attack asked for probabilities"),
        (lambda v, c: 1 / 0, "ZeroDivisionError"),
    ],
    ids=["missing record", "NaN", "beyond access", "crash"],
)
def test_whatever_goes_wrong_is_recorded(where, judge, tmp_path, what, reason):
    result = evaluate(named(Returns(what)), small.pool(where), where, judge, ArtifactWriter(tmp_path))
    assert result.status == "error"
    assert reason in result.reason
    assert result.metrics == {}


@dataclasses.dataclass(frozen=True)
class ReturnsFew(Returns):
    """An attack that scores five candidates by its own declaration."""

    max_records: int = 5


def test_sampling_attack_scores_as_many_as_it_declares(where, judge, tmp_path):
    table = run_membership(named(ReturnsFew(lambda v, c: Scores(c.ids[3:8], np.arange(5.0)))), small.pool(where), where)
    assert (table.scored.nonzero()[1].reshape(-1, 5) == np.arange(3, 8)).all()
    assert table.scores[0, 3:8].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(
    "ids",
    [lambda c: c.ids[:4], lambda c: c.ids[:6], lambda c: c.ids[[0, 0, 1, 2, 3]], lambda c: np.arange(-5, 0)],
    ids=["too few", "too many", "twice", "not asked about"],
)
def test_sampling_attack_scores_no_other_number(where, judge, tmp_path, ids):
    attack = ReturnsFew(lambda v, c: Scores(ids(c), np.zeros(len(ids(c)))))
    result = evaluate(named(attack), small.pool(where), where, judge, ArtifactWriter(tmp_path))
    assert (result.status, result.metrics) == ("error", {})
    assert "must score 5 of 200 candidates" in result.reason


def test_attack_that_scores_one_class_only_is_not_run(where, judge, tmp_path):
    files = ArtifactWriter(tmp_path)
    one = dataclasses.replace(ReturnsFew(lambda v, c: Scores(c.ids[:1], np.zeros(1))), max_records=1)
    result = evaluate(named(one), small.pool(where), where, judge, files)
    assert (result.status, result.metrics, files.written) == ("not_run", {}, [])
    assert "no target has both members and non-members" in result.reason


def test_artifacts_carry_their_digest_and_are_kept_apart(where, judge, tmp_path):
    files = ArtifactWriter(tmp_path)
    result = evaluate(small.attack("loss"), small.pool(where), where, judge, files)
    assert result.status == "ok"
    paths = {artifact.path: artifact for artifact in files.written}
    assert set(paths) == {"release/curves/mlp/none/loss.json", "restricted/scores/mlp/none/loss.npz"}
    assert not (tmp_path / "release").exists()  # an interrupted run leaves the files of an earlier one alone
    files.publish()
    for path, artifact in paths.items():
        assert artifact.sha256 == file_sha256(tmp_path / path)
        assert artifact.restricted == path.startswith("restricted")


def test_full_disk_is_not_the_fault_of_the_attack(where, judge, tmp_path, monkeypatch):
    def full(path, content):
        raise InfrastructureError(f"{path}: cannot be written (No space left on device)")

    monkeypatch.setattr("privassay.harness.evaluation.write_atomically", full)
    with pytest.raises(InfrastructureError, match="No space left"):
        evaluate(small.attack("loss"), small.pool(where), where, judge, ArtifactWriter(tmp_path))


def test_pictures_of_private_data_are_restricted(where, judge, tmp_path):
    private = dataclasses.replace(where, dataset=dataclasses.replace(where.dataset, public=False))
    files = ArtifactWriter(tmp_path)
    evaluate(small.attack("art_miface", max_iter=2), small.pool(private), private, judge, files)
    assert [(a.path, a.restricted) for a in files.written] == [("restricted/pictures/mlp/none/art_miface.npz", True)]
