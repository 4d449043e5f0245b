"""Reference models whose answers came with those of a released model."""

import shutil

import numpy as np
import pandas as pd
import pytest
import yaml
from privassay.harness import pipeline, plan
from privassay.harness.errors import UsageError
from privassay.harness.events import ignore


def softmax(logits):
    e = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def test_references_of_any_halves_are_used_and_what_they_lack_is_told(tmp_path):
    """Eight random halves: strong attacks run on the records that have references on both sides."""
    rng = np.random.default_rng(3)
    target = released_frames(tmp_path, rng.permutation(600) % 2 == 0, [rng.random(600) < 0.5 for _ in range(8)])
    evidence = attacked(tmp_path, target, {"lira": {}, "rmia": {}})
    (candidate,) = evidence.candidates
    assert [attack.status for attack in candidate.attacks] == ["ok", "ok"]
    told = next(note for note in candidate.origin.notes if "left out" in note)
    left_out, asked = int(told.split()[0]), int(told.split()[2])
    assert 0 < left_out < 100
    assert evidence.provenance.data.pool == asked - left_out


def test_references_that_tear_users_are_told(tmp_path):
    users = np.arange(600) // 3
    whole, torn = [np.random.default_rng(k).random(200)[users] < 0.5 for k in range(4)], np.arange(600) % 2 == 0
    masks = [*whole[:2], ~whole[0], ~whole[1], torn, ~torn]
    target = released_frames(tmp_path, np.random.default_rng(9).permutation(200)[users] % 2 == 0, masks, user=users)
    evidence = attacked(tmp_path, {**target, "user_id": "user"}, {"lira": {}})
    assert evidence.candidates[0].origin.notes[1].startswith("2 of 6 references trained on some records of a user and")


def test_the_targets_own_file_is_no_reference(tmp_path):
    rng = np.random.default_rng(3)
    target = released_frames(tmp_path, rng.permutation(600) % 2 == 0, [rng.random(600) < 0.5 for _ in range(3)])
    shutil.copy(tmp_path / "target.csv", tmp_path / "references" / "oops.csv")
    with pytest.raises(UsageError, match="references: oops has the very answers of the target"):
        attacked(tmp_path, target, {"loss": {}})


def test_models_that_answer_with_the_same_labels_are_references(tmp_path):
    table = pd.DataFrame({"label": np.arange(600) % 3, "said": np.arange(600) % 3})
    (tmp_path / "references").mkdir()
    for name in ("target", "references/0"):
        table.assign(member=np.arange(600) // 3 % 2).to_csv(tmp_path / f"{name}.csv", index=False)
    target = {"component": "predictions", "path": "target.csv", "references": "references", "answers": "labels"}
    evidence = attacked(tmp_path, {**target, "outputs": "said"}, {"art_rule_based": {}})
    assert evidence.candidates[0].origin.references == "1 whose answers came with the model"


def released_frames(folder, member, masks, **columns):
    """`target.csv` and `references/K.csv`: answers that are surer of the right label about members; the target."""
    y, rng = np.arange(600) % 3, np.random.default_rng(0)
    (folder / "references").mkdir()
    for name, mask in [("target", member), *((f"references/{k}", mask) for k, mask in enumerate(masks))]:
        logits = rng.normal(size=(600, 3)) + np.eye(3)[y] * np.where(mask, 3.0, 1.0)[:, None]
        table = pd.DataFrame(softmax(logits), columns=["p_0", "p_1", "p_2"])
        table.assign(label=y, member=mask.astype(int), **columns).to_csv(folder / f"{name}.csv", index=False)
    return {"component": "predictions", "path": "target.csv", "references": "references"}


def attacked(folder, target, attacks):
    path = folder / "a.yaml"
    metrics = {"fprs": [0.1], "resamples": 100}
    forest = {"component": "sklearn_random_forest", "n_estimators": 10}
    content = {"name": "a", "targets": {"m": target}, "attacks": attacks, "metrics": metrics}
    path.write_text(yaml.safe_dump({**content, "evaluation_classifier": forest}))
    return pipeline.run(plan.make(path), folder / "out", ignore)
