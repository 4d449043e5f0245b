"""Models that somebody else trained: asked once, kept, attacked with and without references."""

import dataclasses
import json

import numpy as np
import pytest
import yaml
from privassay.harness import pipeline, plan
from privassay.harness.cli import main
from privassay.harness.errors import InfrastructureError, UsageError
from privassay.harness.events import ignore
from privassay.harness.kept_answers import BATCH
from privassay.harness.named_target import NamedTarget, likeness_of
from privassay.harness.protocols import Released
from privassay.harness.released import released_pool
from privassay.harness.splits import released_split, subset
from privassay.harness.store import Store
from privassay.harness.types import Dataset, Identity, Split
from privassay.tests.support import released, small

WHERE = "a.yaml: targets.api"
METRICS = {"fprs": [0.1], "resamples": 100}
USER_CODE = '''
import joblib
from pathlib import Path

def opened():
    forest = joblib.load(Path(__file__).with_name("forest.joblib"))
    return lambda x: forest.predict_proba(x)
'''  # fmt: skip

LABELS_CODE = '''
import csv
from pathlib import Path

import numpy as np
from sklearn.tree import DecisionTreeClassifier

def opened():
    with Path(__file__).with_name("records.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row["member"] == "1"]
    x = np.array([[row[f"f{i}"] for i in range(64)] for row in rows], dtype=np.float32)
    return DecisionTreeClassifier(random_state=0).fit(x, [int(row["label"]) for row in rows]).predict
'''  # fmt: skip


def experiment(folder, **sections):
    path = folder / "released.yaml"
    content = {"name": "released", "metrics": METRICS, **sections}
    content.setdefault("evaluation_classifier", {"component": "sklearn_random_forest", "n_estimators": 10})
    path.write_text(yaml.safe_dump(content))
    return path


def ran(path, **options):
    return pipeline.run(plan.make(path, **options), path.parent, ignore)


def results(evidence):
    return {attack.id: attack for attack in evidence.candidates[0].attacks}


def test_a_table_of_answers_is_attacked_without_references(tmp_path):
    released.write_predictions(tmp_path)
    attacks = {"loss": {}, "art_rule_based": {}, "art_boundary": {"max_records": 20}, "art_miface": {}}
    path = experiment(
        tmp_path, targets={"forest": {"component": "predictions", "path": "predictions.csv"}}, attacks=attacks
    )
    evidence = ran(path)
    found = results(evidence)
    assert found["loss"].status == "ok"
    assert found["loss"].metrics["auc"].low > 0.7  # a forest knows its own records
    assert (found["art_boundary"].status, found["art_miface"].status) == ("not_run", "not_run")
    assert "only the recorded records" in found["art_boundary"].reason
    assert found["art_miface"].reason == "needs gradients, the released model answers with probabilities"
    candidate = evidence.candidates[0]
    assert candidate.id == "forest/released"
    assert candidate.claim is None
    assert candidate.origin.source == "predictions.csv"
    assert candidate.origin.references == "none"
    assert candidate.origin.queries == 600
    assert [control.status for control in evidence.controls] == ["passed"] * 3
    assert evidence.provenance.data.pool == 540  # 300 members, 300 outsiders less a fifth


def test_reference_answers_in_files_bring_reference_attacks(tmp_path):
    released.write_predictions(tmp_path, references=4)
    target = {"component": "predictions", "path": "predictions.csv", "references": "references"}
    evidence = ran(experiment(tmp_path, targets={"forest": target}, suite="auto"))
    found = results(evidence)
    assert {"lira", "rmia", "stacked"} <= set(found)
    assert found["lira"].threat_model.reference_models == 4
    assert found["lira"].metrics["auc"].low > 0.7
    assert evidence.candidates[0].origin.references == "4 whose answers came with the model"
    assert evidence.experiment["pool"]["models"] == 4
    assert [control.status for control in evidence.controls] == ["passed"] * 3


def test_a_users_function_with_references_trained_by_a_recipe(tmp_path):
    import joblib

    forest = released.write_table(tmp_path, extra=100)
    joblib.dump(forest, tmp_path / "forest.joblib")
    (tmp_path / "asked_forest.py").write_text(USER_CODE)
    path = experiment(
        tmp_path,
        data={"component": "table", "path": "records.csv", "target": "label", "member": "member",
              "ranges": {f"f{i}": [0, 1] for i in range(64)}},
        targets={"forest": {"component": "python", "predict": "asked_forest:opened", "training_records": 300}},
        models={"forest": {"component": "sklearn_random_forest", "n_estimators": 20}},
        defenses={"none": {}},
        reference="forest/none",
        pool={"models": 4},
        attacks={"lira": {}, "loss": {}},
    )  # fmt: skip
    evidence = ran(path)
    origin = evidence.candidates[0].origin
    assert origin.references == "4 trained by this run: sklearn_random_forest behind none"
    assert origin.queries == 600
    assert results(evidence)["lira"].metrics["auc"].low > 0.7
    again = ran(path)
    assert "a heuristic finds no sign of another recipe" in origin.notes[-1]
    assert (again.candidates[0].origin.queries, again.candidates[0].origin.kept_answers) == (0, 600)
    assert again.candidates[0].attacks == evidence.candidates[0].attacks


def test_references_of_another_recipe_are_noticed(tmp_path):
    """Of a model that answers with labels only, too."""
    released.write_table(tmp_path)
    path = experiment(
        tmp_path,
        data={"component": "table", "path": "records.csv", "target": "label", "member": "member"},
        targets={"forest": {"component": "python", "predict": "my_tree:opened", "answers": "labels"}},
        models={"stumps": {"component": "sklearn_random_forest", "n_estimators": 50, "max_depth": 2}},
        defenses={"none": {}},
        reference="stumps/none",
        pool={"models": 8},
        attacks={"loss": {}},
    )
    (tmp_path / "my_tree.py").write_text(LABELS_CODE)
    made = plan.make(path)
    data = (made.dataset, made.split)
    note = released_pool(made.targets[0], data, Store(tmp_path / "store"), 0, ignore).origin().notes[-1]
    assert note.startswith("the released model is right on 100.0 % of its members and ")
    assert "a heuristic takes that for another recipe or other data" in note
    assert all("right on" not in note for note in pool_without_references(made, tmp_path).origin().notes)


def pool_without_references(made, folder):
    target = dataclasses.replace(made.targets[0], trains_references=False)
    alone = dataclasses.replace(made.split, member=made.split.member[:1])
    return released_pool(target, (made.dataset, alone), Store(folder / "store"), 0, ignore)


def test_labels_only_targets_say_so(tmp_path):
    import pandas as pd

    released.write_predictions(tmp_path)
    table = pd.read_csv(tmp_path / "predictions.csv")
    answers = table[[f"p_{c}" for c in range(10)]].to_numpy().argmax(axis=1)
    table[["label", "member"]].assign(said=answers).to_csv(tmp_path / "labels.csv", index=False)
    target = {"component": "predictions", "path": "labels.csv", "answers": "labels", "outputs": "said"}
    evidence = ran(experiment(tmp_path, targets={"forest": target}, attacks={"loss": {}, "art_rule_based": {}}))
    found = results(evidence)
    assert found["loss"].reason == "needs probabilities, the released model answers with labels"
    assert found["art_rule_based"].status == "ok"
    assert evidence.candidates[0].origin.answers == "labels"


class Failing:
    """Answers one-hot with the label that it was told, until it has answered `reach` records."""

    answers = "probabilities"

    def __init__(self, dataset, reach):
        self.table = {x.tobytes(): y for x, y in zip(dataset.x, dataset.y, strict=True)}
        self.left = reach

    def predict(self, x):
        self.left -= len(x)
        if self.left < 0:
            raise InfrastructureError("http://host/invocations: no answer")
        return np.eye(10)[[self.table[record.tobytes()] for record in x]] * 0.9 + 0.01


def test_a_stopped_endpoint_leaves_what_it_answered(tmp_path):
    truth = np.zeros(len(small.Digits().load()), np.int8)
    truth[:900] = 1
    dataset = dataclasses.replace(small.Digits().load(), released_member=truth)
    rows, split = released_split(dataset, 0, None, seed=0)
    data = (subset(dataset, rows), split)
    spec = dataclasses.replace(small.spec(), model="api", defense_name="released")

    def target(reach):
        model = Released(Failing(data[0], reach), "http://host/invocations", "")
        return NamedTarget("api", WHERE, Identity("endpoint", {}, "0"), model, spec, trains_references=False)

    store = Store(tmp_path)
    with pytest.raises(InfrastructureError) as raised:
        released_pool(target(3 * BATCH + 10), data, store, 0, ignore)
    assert str(raised.value) == f"{WHERE}: http://host/invocations: no answer"
    pool = released_pool(target(len(rows)), data, store, 0, ignore)
    assert pool.origin().queries == len(rows) - 3 * BATCH
    assert pool.origin().kept_answers == 3 * BATCH
    assert (pool.released(0).argmax(axis=1) == data[0].y[split.pool]).all()


class Changing:
    """A model whose answers depend on a number that a test turns."""

    answers = "probabilities"

    def __init__(self, turn=0.0, noise=0.0):
        self.turn, self.noise, self.rng, self.asked = turn, noise, np.random.default_rng(0), 0

    def predict(self, x):
        self.asked += len(x)
        score = x.reshape(len(x), -1).mean(axis=1) * (1 + self.turn) + self.noise * self.rng.normal(size=len(x))
        first = 1 / (1 + np.exp(-score))
        return np.hstack([first[:, None], np.repeat((1 - first)[:, None] / 9, 9, axis=1)])


def test_a_model_that_has_changed_is_not_given_the_answers_of_the_old_one(tmp_path):
    truth = np.zeros(len(small.Digits().load()), np.int8)
    truth[:900] = 1
    dataset = dataclasses.replace(small.Digits().load(), released_member=truth)
    rows, split = released_split(dataset, 0, None, seed=0)
    data, store = (subset(dataset, rows), split), Store(tmp_path)
    spec = dataclasses.replace(small.spec(), model="api", defense_name="released")

    def pool(model):
        opened = Released(model, "http://host/invocations", "")
        identity, seen = Identity("endpoint", {}, "0"), likeness_of(opened, data[0])
        named = NamedTarget("api", WHERE, identity, opened, spec, False, seen)
        return released_pool(named, data, store, 0, ignore)

    first = pool(Changing())
    same = pool(Changing())
    assert (same.origin().queries, same.origin().kept_answers) == (0, len(rows))
    assert "it gives the same answers as then to 16 records" in same.origin().notes[-1]
    other = pool(Changing(turn=1.0))
    assert other.origin().queries == len(rows)
    assert other.keys != first.keys
    noisy = Changing(noise=0.1)
    pool(noisy)
    assert noisy.asked == 32 + len(rows)
    again = Changing(noise=0.1)
    assert "nothing tells" in pool(again).origin().notes[-2]
    assert again.asked == 32


def test_equal_batches_keep_their_records(tmp_path):
    x = np.zeros((600, 2), np.float32)
    dataset = Dataset("same", x, np.arange(600) % 10, 10, (0.0, 1.0), False, "none")
    spec = dataclasses.replace(small.spec(), model="api", defense_name="released")
    opened = Released(Changing(), "here", "1")
    named = NamedTarget("api", WHERE, Identity("endpoint", {}, "0"), opened, spec, False)
    split = Split(np.arange(600), np.arange(0), np.arange(600)[None] % 2 == 0, released=True)
    assert released_pool(named, (dataset, split), Store(tmp_path), 0, ignore).logits(0).shape == (600, 10)


def test_references_that_cannot_be_trained_are_found_before_anything_is_asked(tmp_path):
    released.write_table(tmp_path)
    path = experiment(
        tmp_path,
        data={"component": "table", "path": "records.csv", "target": "label", "member": "member"},
        targets={"api": {"component": "endpoint", "url": "http://127.0.0.1:1/invocations"}},
        models={"forest": {"component": "sklearn_random_forest"}},
        defenses={"dp_sgd": {}},
        reference="forest/dp_sgd",
        attacks={"loss": {}},
    )
    with pytest.raises(UsageError, match="reference forest/dp_sgd: DP-SGD is not available for sklearn recipes"):
        plan.make(path)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference": "mlp/none"}, "reference: 'mlp/none' is not MODEL/DEFENSE of this file"),
        ({"data": {"component": "digits"}}, "data: targets.forest brings its own records"),
        ({"candidates": ["a/b"]}, "candidates: not with targets"),
        ({"models": {"torch_mlp": {}}}, "reference: missing: which MODEL/DEFENSE"),
        ({"attacks": {"lira": {}}}, "attacks.lira: needs 4 reference models, there are 0"),
        ({"attacks": {"loss": {"repeats": 0}}}, "attacks.loss: repeats=0: must be a whole number from 1"),
    ],
)
def test_each_mistake_is_one_line(tmp_path, changes, words):
    released.write_predictions(tmp_path)
    sections = {"targets": {"forest": {"component": "predictions", "path": "predictions.csv"}}, "attacks": {"loss": {}}}
    with pytest.raises(UsageError) as error:
        plan.make(experiment(tmp_path, **{**sections, **changes}))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_reports_and_exit_code_of_the_command(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    released.write_predictions(tmp_path)
    path = experiment(
        tmp_path, targets={"forest": {"component": "predictions", "path": "predictions.csv"}}, attacks={"loss": {}}
    )
    assert main(["run", str(path), "--out", "out", "--json", "--tracking-uri", "sqlite:///m.db"]) == 0
    assert json.loads(capsys.readouterr().out)["exit_code"] == 0
    assert "forest" in (tmp_path / "out" / "report.html").read_text()


SWAPPED = '''
import joblib
from pathlib import Path

def opened(order):
    forest = joblib.load(Path(__file__).with_name("forest.joblib"))
    return lambda x: forest.predict_proba(x)[:, order]

def turned():
    return opened([*range(1, 10), 0])

def exchanged():
    return opened([1, 0, *range(2, 10)])
'''  # fmt: skip


def test_columns_in_another_order_than_the_classes(tmp_path, capsys):
    """All of them: refused, with the way out. Two of ten: said."""
    import joblib

    joblib.dump(released.write_table(tmp_path), tmp_path / "forest.joblib")
    (tmp_path / "swapped_forest.py").write_text(SWAPPED)

    def run(function, **parameters):
        target = {"component": "python", "predict": f"swapped_forest:{function}", **parameters}
        data = {"component": "table", "path": "records.csv", "target": "label", "member": "member"}
        path = experiment(tmp_path, data=data, targets={"forest": target}, attacks={"loss": {}})
        out = tmp_path / "out"
        code = main(["run", str(path), "--out", str(out), "--tracking-uri", f"sqlite:///{tmp_path}/m.db"])
        return code, capsys.readouterr().err.splitlines()[-1], out / "evidence.json"

    code, line, file = run("turned")
    assert (code, file.exists()) == (2, False)
    assert f"{tmp_path}/released.yaml: targets.forest: swapped_forest:turned: its answers are right on" in line
    assert "name the classes in the order of its columns in `classes`" in line
    code, _, file = run("turned", classes=[*"1234567890"])
    assert code == 0
    assert json.loads(file.read_text())["candidates"][0]["utility"]["train_accuracy"]["value"] == 1
    code, _, file = run("exchanged")
    assert code == 0
    notes = json.loads(file.read_text())["candidates"][0]["origin"]["notes"]
    assert any("with its columns in another order they would be on 100.0%" in note for note in notes)


class Noisy:
    """Gives each record's label with noise, every class called by the next one where `turned`."""

    answers = "probabilities"

    def __init__(self, dataset, turned):
        self.labels = {x.tobytes(): y for x, y in zip(dataset.x, dataset.y, strict=True)}
        self.turned, self.rng = turned, np.random.default_rng(0)

    def predict(self, x):
        labels = np.array([self.labels[record.tobytes()] for record in x])
        noisy = np.eye(10)[(labels + self.turned) % 10] + 0.1 * self.rng.random((len(x), 10))
        return noisy / noisy.sum(axis=1, keepdims=True)


def test_a_model_that_was_mended_after_a_refusal_is_asked_again(tmp_path):
    digits = small.Digits().load()
    truth = (np.arange(len(digits)) < 900).astype(np.int8)
    rows, split = released_split(dataclasses.replace(digits, released_member=truth), 0, None, seed=0)
    data, store = (subset(digits, rows), split), Store(tmp_path)
    spec = dataclasses.replace(small.spec(), model="api", defense_name="released")

    def pool(turned):
        opened = Released(Noisy(data[0], turned), "http://host/invocations", "")
        seen = likeness_of(opened, data[0])
        return released_pool(
            NamedTarget("api", WHERE, Identity("endpoint", {}, "0"), opened, spec, False, seen), data, store, 0, ignore
        )

    with pytest.raises(UsageError, match=r"right on 0\.0% of its 900 members.*name the classes in the order"):
        pool(turned=1)
    mended = pool(turned=0)
    assert mended.origin().kept_answers == 0
    assert (mended.released(0).argmax(axis=1) == data[0].y[split.pool]).all()


def test_users_count_once_where_the_order_of_columns_is_doubted(tmp_path):
    """A model that knows nothing, but says the same of all 40 records of a user whose labels are alike."""
    users = np.repeat(np.arange(60), 40)
    x = np.arange(len(users), dtype=np.float32)[:, None]
    split = Split(np.arange(len(users)), np.arange(0), (users % 2 == 0)[None], released=True)
    spec = dataclasses.replace(small.spec(), model="api", defense_name="released")
    for seed in range(30):
        rng = np.random.default_rng(seed)
        labels, said = rng.integers(0, 5, 60)[users], rng.integers(0, 5, 60)[users]
        data = Dataset("users", x, labels, 5, (0.0, 1.0), False, "none", units=users)
        opened = Released(Table(np.eye(5)[said]), "table", f"{seed}")
        named = NamedTarget("api", WHERE, Identity("endpoint", {}, "0"), opened, spec, False)
        notes = released_pool(named, (data, split), Store(tmp_path), 0, ignore).origin().notes
        assert not any("another order" in note for note in notes)


class Table:
    """Answers by the number that a record is."""

    answers = "probabilities"

    def __init__(self, rows):
        self.rows = rows

    def predict(self, x):
        return self.rows[x[:, 0].astype(int)]


def test_what_controls_ask_is_counted(tmp_path):
    """An attack that asks about records that it made does so in a control as well."""
    import joblib

    joblib.dump(released.write_table(tmp_path), tmp_path / "forest.joblib")
    (tmp_path / "counted_forest.py").write_text(
        "import joblib\nfrom pathlib import Path\nasked = []\n\ndef opened():\n"
        "    forest = joblib.load(Path(__file__).with_name('forest.joblib'))\n"
        "    def predict(x):\n        asked.append(len(x))\n        return forest.predict_proba(x)\n"
        "    return predict\n"
    )
    path = experiment(
        tmp_path,
        data={"component": "table", "path": "records.csv", "target": "label", "member": "member",
              "ranges": {f"f{i}": [0, 1] for i in range(64)}},
        targets={"forest": {"component": "python", "predict": "counted_forest:opened"}},
        attacks={"art_boundary": {"max_records": 20}},
    )  # fmt: skip
    evidence = ran(path)
    import counted_forest

    checked = 2 + 2 * 16  # when it was opened
    assert evidence.candidates[0].origin.queries == sum(counted_forest.asked) - checked
