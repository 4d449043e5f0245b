"""A released model for tests: a forest on half of some digits, its predictions file, a user's module around it."""

import numpy as np
import pandas as pd
from privassay.experiments.digits import Digits
from sklearn.ensemble import RandomForestClassifier

RECORDS = 600


def trained(records=RECORDS, seed=0):
    """Features, labels and membership of `records` digits, and a forest that was fitted to the members."""
    digits = Digits().load()
    rng = np.random.default_rng(seed)
    rows = rng.permutation(len(digits))[:records]
    x, y = digits.x[rows].reshape(records, -1), digits.y[rows]
    member = np.zeros(records, dtype=bool)
    member[rng.permutation(records)[: records // 2]] = True
    return x, y, member, RandomForestClassifier(20, random_state=seed, n_jobs=1).fit(x[member], y[member])


def write_table(folder, extra=0):
    """`records.csv`: features f0 .. f63, label, member; the last `extra` records have no membership."""
    x, y, member, forest = trained()
    table = pd.DataFrame(x, columns=[f"f{i}" for i in range(x.shape[1])])
    table["label"] = y
    table["member"] = member.astype(int).astype(object)
    if extra:
        table.loc[len(table) - extra :, "member"] = ""
    table.to_csv(folder / "records.csv", index=False)
    return forest


def write_predictions(folder, references=0):
    """`predictions.csv` of the forest, and `references/N.csv` of forests on random halves of the same records."""
    x, y, member, forest = trained()
    _write(folder / "predictions.csv", forest.predict_proba(x), y, member)
    (folder / "references").mkdir(exist_ok=True)
    rng = np.random.default_rng(5)
    for k in range(references):
        mask = ~mask if k % 2 else rng.permutation(len(y)) < len(y) // 2  # noqa: F821 - k = 0 comes first
        other = RandomForestClassifier(20, random_state=k, n_jobs=1).fit(x[mask], y[mask])
        _write(folder / "references" / f"{k}.csv", other.predict_proba(x), y, mask)


def _write(path, probabilities, y, member):
    table = pd.DataFrame(probabilities, columns=[f"p_{c}" for c in range(probabilities.shape[1])])
    table["label"], table["member"] = y, member.astype(int)
    table.to_csv(path, index=False)
