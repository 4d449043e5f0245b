"""Small regressors and the records that they are trained on."""

import numpy as np
from privassay.experiments.diabetes import Diabetes
from privassay.harness import catalog
from privassay.harness.types import TrainingData

REGRESSORS = {
    "sklearn_random_forest_regressor": {"n_estimators": 10},
    "sklearn_ridge": {"alpha": 0.1},
    "torch_mlp_regressor": {"epochs": 20},
}


def regressor(name):
    return catalog.build("models", name, REGRESSORS[name], "test")


def training_data():
    """All of diabetes; the last rows are public."""
    d = Diabetes().load()
    return TrainingData(d.x, d.y, d.n_classes, d.bounds, np.arange(300, len(d)), grid=d.grid)
