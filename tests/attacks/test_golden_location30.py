"""Every golden attack variant on the signals of 18 real models on Location-30, which are not part of the package."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from privassay.attacks.membership.base import base_scores
from privassay.attacks.membership.calibration import difficulty_scores
from privassay.attacks.membership.lira import lira_scores
from privassay.attacks.membership.rmia import rmia_calibrated, rmia_scores, tuned_a
from privassay.attacks.membership.student_t import student_t_scores
from sklearn.metrics import roc_auc_score, roc_curve

TARGET, REFERENCES = 0, slice(2, None)  # model 1 is the target's complement


@pytest.fixture(scope="module")
def golden():
    """Signals of audit and population records, memberships, and the expected [AUC, TPR at 1 %, at 0.1 %]."""
    cache = Path(os.environ.get("PRIVASSAY_CACHE", "no-cache")) / "golden_location30"
    if not cache.is_dir():
        pytest.skip("golden_location30 is not in the data cache (PRIVASSAY_CACHE)")
    with np.load(cache / "scores.npz") as arrays:
        return dict(arrays), json.loads((cache / "expected.json").read_text())["expected"]


def on_audit(signal):
    """A function of (target (n,), references (m, n), member (m, n)) on one signal of the audit records."""

    def with_function(function, **settings):
        def score(arrays):
            values = arrays[signal][:, : int(arrays["pool"])]
            return function(values[TARGET], values[REFERENCES], arrays["keep"][REFERENCES], **settings)

        return score

    return with_function


def ratio(temperature):
    def score(arrays):
        p = np.exp(arrays[f"logp_T{temperature}"][:, : int(arrays["pool"])], dtype=np.float64)
        return rmia_scores(p[TARGET], p[REFERENCES], arrays["keep"][REFERENCES])

    return score


def calibrated(temperature, **settings):
    def score(arrays):
        p, pool = np.exp(arrays[f"logp_T{temperature}"], dtype=np.float64), int(arrays["pool"])
        audit = p[TARGET, :pool], p[REFERENCES, :pool], arrays["keep"][REFERENCES]
        return rmia_calibrated(*audit, p[TARGET, pool:], p[REFERENCES, pool:], **settings)

    return score


VARIANTS = {
    "loss": lambda arrays: arrays["logp_T1"][TARGET, : int(arrays["pool"])],
    "lira_online_perexample_mean_ddof0": on_audit("phi")(lira_scores, variance="per_record"),
    "lira_online_pooled_within": on_audit("phi")(lira_scores),
    "lira_offline_cdf_pooled": on_audit("phi")(lira_scores, online=False),
    "difficulty_calibration": on_audit("phi")(difficulty_scores),
    "nig_t_k1_nu4": on_audit("phi")(student_t_scores, kappa0=1.0, nu0=4.0),
    "nig_t_k0_nu16": on_audit("phi")(student_t_scores),
    **{f"ratio_x_online_T{t}": ratio(t) for t in (1, 2)},
    **{f"base_online_T{t}": on_audit(f"logp_T{t}")(base_scores) for t in (1, 2)},
    **{f"rmia_online_T{t}_gamma{g}_noTieBreak": calibrated(t, gamma=float(g)) for t in (1, 2) for g in (1, 2)},
    **{
        f"rmia_offline_T{t}_a{a:g}_gamma1_noTieBreak": calibrated(t, gamma=1.0, online=False, a=a)
        for t in (1, 2)
        for a in (0.0, 0.3)
    },
}


def test_no_variant_is_missing(golden):
    assert set(VARIANTS) == set(golden[1])


@pytest.mark.parametrize("name", VARIANTS)
def test_variant(golden, name):
    arrays, expected = golden
    scores, member = VARIANTS[name](arrays), arrays["keep"][TARGET]
    fpr, tpr, _ = roc_curve(member, scores, drop_intermediate=False)
    found = [roc_auc_score(member, scores), tpr[fpr <= 0.01].max(), tpr[fpr <= 0.001].max()]
    assert found == pytest.approx(expected[name], abs=1e-4)


@pytest.mark.parametrize("temperature", [1, 2])
def test_references_alone_find_the_best_a(golden, temperature):
    # Models that fit their members perfectly: 0 is best on the target as well (0.9525 against 0.9415 at 0.3).
    arrays, _ = golden
    p = np.exp(arrays[f"logp_T{temperature}"][REFERENCES, : int(arrays["pool"])], dtype=np.float64)
    assert tuned_a(p, arrays["keep"][REFERENCES]) == 0.0
