import os

import numpy as np
import pandas as pd
import pytest
from privassay.harness import catalog
from privassay.harness.dataset_checks import check_dataset
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.protocols import TargetWithData
from privassay.harness.trust import Trust
from privassay.models.released.predictions import Predictions

N, CLASSES = 40, 3


def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def frame(seed=0, names=("0", "1", "2"), prefix="p_"):
    """Members first, as a careless export has them; the last ten records are of the population."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(softmax(rng.normal(size=(N, CLASSES))), columns=[f"{prefix}{name}" for name in names])
    table.insert(0, "label", np.random.default_rng(9).integers(0, CLASSES, N))
    table.insert(1, "member", ["1"] * 15 + ["0"] * 15 + [""] * 10)
    return table


def written(folder, table, name="target.csv"):
    path = folder / name
    path.parent.mkdir(exist_ok=True)
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return path


def opened(component):
    dataset = component.load()
    return dataset, component.open(dataset, Trust())


def refusal(folder, change, **fields):
    """The one line with which a changed table is refused."""
    table = frame()
    change(table)
    component = Predictions(written(folder, table), **fields)
    with pytest.raises(UsageError) as raised:
        opened(component)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_every_record_gets_its_own_row_back(tmp_path):
    table = frame()
    dataset, released = opened(Predictions(written(tmp_path, table)))
    check_dataset(dataset, "test")
    answers = released.model.predict(dataset.x)
    np.testing.assert_allclose(answers, table.filter(like="p_"), rtol=1e-12)
    backwards = np.arange(N)[::-3]
    np.testing.assert_array_equal(released.model.predict(dataset.x[backwards]), answers[backwards])
    assert dataset.y.tolist() == table["label"].tolist()
    assert dataset.released_member.tolist() == [1] * 15 + [0] * 15 + [-1] * 10
    assert (dataset.name, dataset.public, dataset.licence) == ("target", False, "the user's own")
    assert isinstance(Predictions(tmp_path / "a.csv"), TargetWithData)


def test_the_number_of_a_record_tells_nothing_of_its_place(tmp_path):
    """Members stand first in the file. A rank correlation of number and place beyond 4 sigma would give them away."""
    table = pd.concat([frame(seed) for seed in range(50)])
    dataset = Predictions(written(tmp_path, table)).load()
    numbers = dataset.x[:, 0]
    assert sorted(numbers) == list(range(len(numbers)))
    assert abs(np.corrcoef(numbers, np.arange(len(numbers)))[0, 1]) < 4 / np.sqrt(len(numbers))
    assert dataset.bounds == (0.0, len(numbers))
    assert dataset.x.dtype == np.float32


@pytest.mark.parametrize("x", [[[0.5]], [[-1.0]], [[float(N)]], [[1.0, 2.0]], [[np.nan]]])
def test_other_records_cannot_be_asked_about(tmp_path, x):
    _, released = opened(Predictions(written(tmp_path, frame())))
    with pytest.raises(NotApplicable, match="only the recorded records can be asked about"):
        released.model.predict(np.array(x, dtype=np.float32))


def test_csv_parquet_and_npz_say_the_same(tmp_path):
    table = frame()
    typed = table.assign(member=pd.array([1] * 15 + [0] * 15 + [None] * 10, dtype="Int64"))
    np.savez(
        tmp_path / "target.npz",
        probabilities=table.filter(like="p_").to_numpy(),
        label=table["label"].to_numpy(),
        member=np.array([1] * 15 + [0] * 15 + [-1] * 10),
    )
    paths = [written(tmp_path, table), written(tmp_path, typed, "target.parquet"), tmp_path / "target.npz"]
    both = [opened(Predictions(path)) for path in paths]
    assert len({dataset.sha256 for dataset, _ in both}) == 1
    assert len({released.sha256 for _, released in both}) == 1


def test_logits_and_labels_are_read_as_such(tmp_path):
    table = frame()
    logits = table.copy()
    logits[["p_0", "p_1", "p_2"]] = np.log(table[["p_0", "p_1", "p_2"]]) + 5
    dataset, released = opened(Predictions(written(tmp_path, logits, "logits.csv"), answers="logits"))
    np.testing.assert_allclose(released.model.predict(dataset.x), table.filter(like="p_"), rtol=1e-12)

    labels = table[["label", "member"]].assign(guess=[2, 0] * (N // 2))
    dataset, released = opened(Predictions(written(tmp_path, labels, "l.csv"), answers="labels", outputs="guess"))
    assert released.model.answers == "labels"
    np.testing.assert_array_equal(released.model.predict(dataset.x), np.eye(3)[[2, 0] * (N // 2)])


@pytest.mark.parametrize("column", ["label", "guess"])
@pytest.mark.parametrize("wrong", [21, 900_000_000])
def test_a_label_far_beyond_the_others_is_no_class(tmp_path, column, wrong):
    """Among labels nothing else says how many classes there are."""
    table = frame()[["label", "member"]].assign(guess=[2, 0] * (N // 2))
    table.loc[5, column] = 19
    assert opened(Predictions(written(tmp_path, table), answers="labels", outputs="guess"))[0].n_classes == 20
    table.loc[5, column] = wrong
    words = rf"label {wrong}: 4 different labels occur, of {wrong + 1} classes up to this one; mend the file"
    with pytest.raises(UsageError, match=words):
        Predictions(written(tmp_path, table), answers="labels", outputs="guess").load()


def test_classes_with_names_users_and_groups(tmp_path):
    names = ("cat", "None", "7")
    table = frame(names=names)
    table["label"] = [names[i] for i in table["label"]]
    table["user"] = [f"{i // 2:03}" for i in range(N)]
    table["sex"] = ["f", "m"] * (N // 2)
    component = Predictions(written(tmp_path, table), classes=names, user_id="user", sensitive=("sex",))
    dataset, released = opened(component)
    assert [names[i] for i in dataset.y] == table["label"].tolist()
    assert dataset.units.tolist() == [i // 2 for i in range(N)]
    assert dataset.sensitive["sex"].tolist() == table["sex"].tolist()
    np.testing.assert_allclose(released.model.predict(dataset.x)[:, 0], table["p_cat"], rtol=1e-12)


def test_reference_files_are_matched_by_order_or_by_id(tmp_path):
    target = frame().assign(id=[f"r{i}" for i in range(N)])
    masks = np.random.default_rng(3).integers(0, 2, (2, N))
    references = [frame(seed + 1).assign(id=target["id"], member=masks[seed]) for seed in range(2)]
    shuffled = [table.sample(frac=1, random_state=5) for table in references]
    for where, tables in (("by_order", references), ("by_id", shuffled)):
        for i, table in enumerate(tables):
            written(tmp_path / where, table, f"{i}.csv")
    path = written(tmp_path, target)
    _, by_order = opened(Predictions(path, references=tmp_path / "by_order"))
    _, by_id = opened(Predictions(path, references=tmp_path / "by_id", record_id="id"))
    for i in range(2):
        for released in (by_order, by_id):
            found = released.references[i]
            np.testing.assert_allclose(found.probabilities, references[i].filter(like="p_"), rtol=1e-12)
            np.testing.assert_array_equal(found.member, masks[i] == 1)
            assert found.name == f"{i}"
    assert by_order.sha256 == by_id.sha256
    _, alone = opened(Predictions(path))
    assert alone.references == ()
    assert alone.sha256 != by_order.sha256

    with pytest.raises(
        UsageError, match=r"0\.csv: holds other rows than target\.csv: their labels differ at its row \d"
    ):
        opened(Predictions(path, references=tmp_path / "by_id"))


def test_references_inside_an_npz_file(tmp_path):
    table, rng = frame(), np.random.default_rng(4)
    arrays = {
        "logits": np.log(table.filter(like="p_").to_numpy()),
        "label": table["label"].to_numpy(),
        "member": np.arange(N) % 2 == 0,
        "references": rng.normal(size=(4, N, CLASSES)),
        "reference_member": rng.integers(0, 2, (4, N)),
    }
    np.savez(tmp_path / "target.npz", **arrays)
    _, released = opened(Predictions(tmp_path / "target.npz", answers="logits"))
    assert len(released.references) == 4
    np.testing.assert_allclose(released.references[3].probabilities, softmax(arrays["references"][3]), rtol=1e-12)
    np.testing.assert_array_equal(released.references[3].member, arrays["reference_member"][3] == 1)

    np.savez(tmp_path / "short.npz", **{**arrays, "reference_member": arrays["reference_member"][:3]})
    with pytest.raises(UsageError, match=r"reference_member has shape \(3, 40\)"):
        opened(Predictions(tmp_path / "short.npz", answers="logits"))
    np.savez(tmp_path / "half.npz", **{name: arrays[name] for name in arrays if name != "reference_member"})
    with pytest.raises(UsageError, match="references: unknown column 'reference_member'"):
        opened(Predictions(tmp_path / "half.npz", answers="logits"))


def put(column, row, value):
    def change(table):
        table[column] = table[column].astype(object)
        table.loc[row, column] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("label", 3, 3), "column 'label', row 4: 3: must be one of 0..2"),
        (put("label", 3, -1), "column 'label', row 4: -1: must be a whole number >= 0"),
        (put("label", 3, 1.5), "column 'label', row 4: 1.5: must be a whole number"),
        (put("label", 3, "cat"), "column 'label', row 4: 'cat' is no finite number"),
        (put("p_1", 5, 0.9), "the probabilities of record 6 sum to"),
        (put("p_1", 5, -4.2), "-4.2 for record 6 is no probability, which looks like logits"),
        (put("p_1", 5, ""), "column 'p_1', row 6: the number is missing"),
        (put("p_1", 5, "nan"), "column 'p_1', row 6: 'nan' is no finite number"),
        (put("member", 2, "maybe"), "column 'member', row 3: 'maybe': must be 1, true or yes for a member"),
        (lambda t: t.__setitem__("member", "1"), "column 'member': every flag is 1; members and non-members"),
        (lambda t: t.__setitem__("member", ""), "column 'member': every flag is missing"),
        (
            lambda t: t.drop(columns="member", inplace=True),
            "member: unknown column 'member' (known: label, p_0, p_1, p_2)",
        ),
        (lambda t: t.rename(columns={"member": "members"}, inplace=True), "did you mean 'members'?"),
        (lambda t: t.drop(columns="p_1", inplace=True), "outputs: unknown column 'p_1', did you mean"),
        (lambda t: t.drop(index=t.index, inplace=True), "no rows"),
    ],
)
def test_bad_tables_are_refused_in_one_line(tmp_path, change, words):
    assert words in refusal(tmp_path, change)


def test_ids_that_repeat_and_users_that_are_missing_are_refused(tmp_path):
    ids = [f"{i}" for i in range(N - 1)] + ["7"]
    assert "column 'id': the id '7' repeats in rows 8 and 40" in refusal(
        tmp_path, lambda t: t.__setitem__("id", ids), record_id="id"
    )
    users = ["u"] * (N - 1) + [""]
    assert "column 'user', row 40: the id is missing" in refusal(
        tmp_path, lambda t: t.__setitem__("user", users), user_id="user"
    )


def test_a_column_with_an_absurd_number_is_no_class(tmp_path):
    words = refusal(tmp_path, lambda t: t.__setitem__("p_999999999999", 0.0))
    assert "outputs: unknown column 'p_3'" in words


def test_flags_and_groups_are_read_as_those_of_a_table(tmp_path):
    table = frame().assign(member=["yes"] * 15 + ["No"] * 15 + ["?"] * 10, sex=["f", ""] * (N // 2))
    dataset = Predictions(written(tmp_path, table), sensitive=("sex",)).load()
    assert dataset.released_member.tolist() == [1] * 15 + [0] * 15 + [-1] * 10
    assert dataset.sensitive["sex"].tolist() == ["f", "?"] * (N // 2)


def test_labels_recorded_as_names_keep_their_writing(tmp_path):
    names = ("01", "1")
    table = frame()[["member"]].assign(label=["01", "1"] * (N // 2), guess="1")
    component = Predictions(written(tmp_path, table), answers="labels", outputs="guess", classes=names)
    dataset, released = opened(component)
    assert dataset.y.tolist() == [0, 1] * (N // 2)
    np.testing.assert_array_equal(released.model.predict(dataset.x)[:, 1], 1)


def test_names_that_are_no_class_are_refused(tmp_path):
    words = refusal(tmp_path, lambda t: t.__setitem__("label", "dog"), classes=("cat", "cow"))
    assert "column 'label', row 1: 'dog': must be one of cat, cow" in words


def test_bad_reference_files_are_refused(tmp_path):
    path, folder = written(tmp_path, frame()), tmp_path / "references"
    component = Predictions(path, references=folder)
    for table, words in (
        (None, "references: no such folder"),
        (frame(1).iloc[:-1], r"a\.csv: holds 39 records, target\.csv holds 40"),
        (frame(1), r"a\.csv: column 'member', row 31: says nothing; a reference model's must be 1 or 0"),
        (frame(1).assign(member=[1, 0] * 20, p_0=2.0), r"a\.csv: 2 for record 1 is no probability"),
    ):
        if table is not None:
            written(folder, table, "a.csv")
        with pytest.raises(UsageError, match=words):
            opened(component)
    (folder / "a.csv").rename(folder / "a.txt")
    with pytest.raises(UsageError, match=r"holds no file that ends in \.csv"):
        opened(component)
    target = written(tmp_path, frame().assign(id=range(N)))
    written(folder, frame(1).assign(id=range(1, N + 1)), "a.csv")
    with pytest.raises(UsageError, match=r"a\.csv: lacks the record '0' of target\.csv"):
        opened(Predictions(target, references=folder, record_id="id"))


def test_files_that_are_no_tables_are_refused_without_running_code(tmp_path):
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self):
            return os.mkdir, (str(marker),)

    np.savez(tmp_path / "evil.npz", probabilities=np.array([Evil()], dtype=object))
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "ragged.csv").write_text("label,member\n0,1,0.5\n1,0,0.5\n")
    (tmp_path / "noise.parquet").write_bytes(b"PAR1 not really")
    for name, words in (
        ("evil.npz", "not a table in .npz (Object arrays"),
        ("empty.csv", "the file is empty"),
        ("ragged.csv", "a row has more cells than the header, which has 2"),
        ("noise.parquet", "not a table in .parquet ("),
        ("absent.csv", "no such file"),
    ):
        with pytest.raises(UsageError) as raised:
            Predictions(tmp_path / name).load()
        assert words in str(raised.value)
        assert "\n" not in str(raised.value)
    assert not marker.exists()
    with pytest.raises(UsageError, match=r"path='table\.txt': must be a file that ends in \.csv, \.parquet, \.npz"):
        Predictions(tmp_path / "table.txt")


def test_answers_of_other_data_are_refused(tmp_path):
    path = written(tmp_path, frame())
    other = frame()
    other["label"] = (other["label"] + 1) % 3
    with pytest.raises(UsageError, match="the data set other is not what this file holds"):
        Predictions(path).open(Predictions(written(tmp_path, other, "other.csv")).load(), Trust())


def test_an_experiment_file_names_it(tmp_path):
    written(tmp_path, frame(prefix="prob_"))
    target = catalog.build("targets", "predictions", {"path": "target.csv", "outputs": "prob_"}, "test", tmp_path)
    assert len(target.load()) == N


def test_a_reference_that_knows_all_records_or_none_is_refused(tmp_path):
    from privassay.tests.support import released

    released.write_predictions(tmp_path, references=2)
    path = tmp_path / "references" / "1.csv"
    table = pd.read_csv(path)
    table["member"] = 1
    table.to_csv(path, index=False)
    target = Predictions(path=tmp_path / "predictions.csv", references=tmp_path / "references")
    with pytest.raises(UsageError, match="column 'member': every flag is 1; members and non-members"):
        target.open(target.load(), Trust())
