"""Diabetes: 442 patients and how far their disease went in a year. Shipped inside scikit-learn, no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..harness.columns import scaled
from ..harness.types import Dataset, Float64
from ._table_target import nearest

# Round limits that we declare; the publishers give none. Names are those of the published table.
RANGES = {
    "age": (18, 80),
    "sex": (1, 2),
    "bmi": (15, 45),
    "bp": (60, 140),
    "s1": (80, 320),
    "s2": (30, 260),
    "s3": (15, 110),
    "s4": (1, 10),
    "s5": (3, 6.5),
    "s6": (50, 130),
}
PROGRESSION = (0.0, 400.0)
VALUES = 101


@dataclass(frozen=True)
class Diabetes:
    """Regression: a measure of the progression of diabetes from ten measurements a year before.

    Efron, Hastie, Johnstone and Tibshirani (2004), "Least Angle Regression", Annals of Statistics 32. The target, 25 to
    346, is rounded to a grid of 101 values over a declared range. Groups of the report are the two codes of the column
    sex, whose meaning was not published.
    """

    def load(self) -> Dataset:
        """Return the records in the published order: float32 (442, 10) in [0, 1], with `grid` 0, 4, .., 400."""
        from sklearn.datasets import load_diabetes

        bunch = load_diabetes(scaled=False)
        measured: Float64 = bunch.data
        columns = [scaled(measured[:, bunch.feature_names.index(name)], *ends) for name, ends in RANGES.items()]
        grid = np.linspace(*PROGRESSION, VALUES)
        return Dataset(
            name="diabetes",
            x=np.stack(columns, axis=1),
            y=nearest(bunch.target, grid),
            n_classes=VALUES,
            bounds=(0.0, 1.0),
            public=False,
            licence="published with Efron et al. 2004, no licence stated; distributed with scikit-learn",
            sensitive={"sex": np.array([f"{code:g}" for code in measured[:, bunch.feature_names.index("sex")]])},
            grid=grid,
        )
