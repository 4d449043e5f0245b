"""Write the files of the examples, from data sets that come with scikit-learn."""

from pathlib import Path

import joblib
import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits
from sklearn.ensemble import RandomForestClassifier

ASKED = 1200
GREYS = [f"p{i:02}" for i in range(64)]


def digits():
    """A row a picture: columns p00 .. p63 with grey values 0 .. 16, and `digit`."""
    x, y = load_digits(return_X_y=True)
    return pd.DataFrame(x.astype(int), columns=GREYS).assign(digit=y)


def tumours():
    """A row a tumour: 30 measurements with names such as `mean radius`, and `diagnosis`."""
    found = load_breast_cancer(as_frame=True)
    return found.data.assign(diagnosis=found.target_names[found.target])


def fitted(records):
    """A forest on some records."""
    return RandomForestClassifier(50, random_state=0, n_jobs=1).fit(records[GREYS].to_numpy(), records["digit"])


def write_answers(path, forest, records, member):
    """The forest's probabilities p_0 .. p_9 for every record, beside its label and whether it was a member."""
    table = pd.DataFrame(forest.predict_proba(records[GREYS].to_numpy()), columns=[f"p_{c}" for c in range(10)])
    table.assign(label=records["digit"].to_numpy(), member=member.astype(int)).to_csv(path, index=False)


def half(rng):
    """Which of the records that are asked about a model is fitted to."""
    return rng.permutation(ASKED) < ASKED // 2


digits().to_csv("digits.csv", index=False)
tumours().to_csv("tumours.csv", index=False)

# A model that is there: a forest on half of 1200 digits. Nobody is asked about the others, they are the population.
rng = np.random.default_rng(0)
shuffled = digits().iloc[rng.permutation(len(digits()))].reset_index(drop=True)
asked, member = shuffled[:ASKED], half(rng)
forest = fitted(asked[member])
joblib.dump(forest, "forest.joblib")
flags = np.concatenate([member.astype(int), np.full(len(shuffled) - ASKED, -1)])
shuffled.assign(member=flags).to_csv("asked.csv", index=False)

# Its answers, and those of eight more forests: 1 is fitted to the half that 0 is not fitted to, and so on.
write_answers("predictions.csv", forest, asked, member)
Path("references").mkdir(exist_ok=True)
for pair in range(4):
    own = half(rng)
    for k, part in enumerate((own, ~own)):
        write_answers(f"references/{2 * pair + k}.csv", fitted(asked[part]), asked, part)
