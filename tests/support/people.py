"""A table of people with text columns, and a pipeline of scikit-learn that somebody else trained on its columns."""

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.tree import DecisionTreeClassifier

JOBS = ["clerk", "smith", "baker", "nurse", "pilot"]
FEATURES = ["age", "hours", "job", "region", "sex"]
SCHEMA = {
    "component": "table",
    "path": "people.csv",
    "target": "rich",
    "member": "member",
    "categorical": ["job", "region"],
    "values": {"sex": ["f", "m", "x"]},
    "ranges": {"age": [0, 120]},
}
"""Codes, indicators, a scaled number and one as it is."""
DECLARED = {
    **{key: value for key, value in SCHEMA.items() if key != "categorical"},
    "values": {"sex": ["f", "m"], "job": JOBS, "region": ["1", "2", "3", "4"]},
    "ranges": {"age": [0, 120], "hours": [0, 168]},
}
"""Nothing is left to prepare."""


def people(records=600, seed=0):
    """Records with a label that depends on texts and numbers, and the membership of each."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "age": rng.integers(17, 91, records),
            "hours": np.round(rng.uniform(1, 80, records), 1),
            "job": rng.choice(JOBS, records),
            "region": rng.choice([1, 2, 3, 4], records),
            "sex": rng.choice(["f", "m"], records),
        }
    )
    score = table["hours"] / 20 + table["job"].isin(["smith", "pilot"]) * 2 - (table["region"] == 3) * 1.0
    table["rich"] = (score + rng.normal(size=records) > score.median()).astype(int)
    table["member"] = rng.permutation(np.arange(records) % 2)
    return table


def pipeline(seed=0):
    """What takes the columns of the table by name, texts included, and learns its members by heart."""
    encoded = ColumnTransformer(
        [("texts", OneHotEncoder(), ["sex", "job", "region"]), ("numbers", StandardScaler(), ["hours", "age"])]
    )
    return make_pipeline(encoded, DecisionTreeClassifier(random_state=seed))


def fitted(table, seed=0):
    """The pipeline, trained on the members."""
    members = table[table["member"] == 1]
    return pipeline(seed).fit(members[FEATURES], members["rich"])
