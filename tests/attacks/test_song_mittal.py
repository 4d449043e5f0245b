"""Numbers published by Song and Mittal (2021) for Location-30, from the predictions that they saved."""

import os
from pathlib import Path

import numpy as np
import pytest
from privassay.attacks.membership.modified_entropy import class_thresholds
from privassay.attacks.membership.signals import entropy, log_loss, modified_entropy

SIGNALS = {"confidence": log_loss, "entropy": lambda p, y: entropy(p), "modified_entropy": modified_entropy}
PUBLISHED = {
    "undefended": {"correctness": 0.687, "confidence": 0.763, "entropy": 0.616, "modified_entropy": 0.781},
    "memguard": {"correctness": 0.687, "confidence": 0.691, "entropy": 0.521, "modified_entropy": 0.688},
}


def balanced_accuracy(flagged, member):
    return (flagged[member].mean() + 1 - flagged[~member].mean()) / 2


@pytest.mark.parametrize("kind", PUBLISHED)
def test_balanced_accuracy_with_thresholds_of_the_shadow_model(kind):
    file = Path(os.environ.get("PRIVASSAY_CACHE", "no-cache")) / "song_mittal_location" / "location_predictions.npz"
    if not file.is_file():
        pytest.skip("song_mittal_location is not in the data cache (PRIVASSAY_CACHE)")
    with np.load(file) as saved:
        shadow, target = saved[f"shadow_{kind}"], saved[f"target_{kind}"]
        shadow_y, target_y = saved["shadow_y"].astype(np.int64), saved["target_y"].astype(np.int64)
        shadow_member, member = saved["shadow_member"], saved["target_member"]
    found = {"correctness": balanced_accuracy(target.argmax(axis=1) == target_y, member)}
    for name, signal in SIGNALS.items():
        thresholds = class_thresholds(signal(shadow, shadow_y)[None], shadow_member[None], shadow_y)
        found[name] = balanced_accuracy(signal(target, target_y) <= thresholds[target_y], member)
    assert found == pytest.approx(PUBLISHED[kind], abs=5.1e-4)  # 0.6155 and 0.6905 were rounded up
