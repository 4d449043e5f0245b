"""Handwritten digits: real, small, shipped inside scikit-learn, so that a first run needs no download."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..harness.types import Dataset


@dataclass(frozen=True)
class Digits:
    """1797 images of 8 x 8 pixels in ten classes.

    The test part of "Optical Recognition of Handwritten Digits" (Alpaydin and Kaynak, UCI Machine Learning
    Repository, 1998), written by 13 people who took no part in the training set. A pixel counts the inked
    points, 0 to 16, of a square of 4 x 4.
    """

    def load(self) -> Dataset:
        """Return the images, float32 (1797, 8, 8) in [0, 1], with labels 0 to 9."""
        from sklearn.datasets import load_digits

        bunch = load_digits()
        return Dataset(
            name="digits",
            x=(bunch.images / 16).astype(np.float32),
            y=bunch.target.astype(np.int64),
            n_classes=10,
            bounds=(0.0, 1.0),
            public=True,
            licence="UCI Optical Recognition of Handwritten Digits, CC BY 4.0",
        )
