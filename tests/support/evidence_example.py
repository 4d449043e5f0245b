"""A realistic run: three candidates, weak and strong attacks, every status, artefacts beside it."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from privassay.harness import evidence as ev
from privassay.harness.types import Estimate, PrivacyClaim, ThreatModel, Verdict
from scipy.stats import norm
from sklearn.datasets import load_digits

RELEASED = {"name": "quickstart", "release": "mlp/dp_sgd"}
POOL, MODELS, METHOD = 1198, 16, "bootstrap over models, then records (2000 draws)"


def estimate(value, half=0.012, n=MODELS, over="models and records", method=METHOD):
    return Estimate(value, value - half, min(value + half, 1.0), 0.95, method, n, over)


def threat(access, knows_members=False, references=0, budget=1):
    return ThreatModel(access, knows_members, references > 0, references, budget)


def membership(attack_id, implementation, model, separation):
    """Metrics of a binormal attack whose scores lie `separation` standard deviations apart."""
    tpr = float(norm.sf(norm.isf(0.01) - separation))
    metrics = {
        "auc": estimate(float(norm.cdf(separation / np.sqrt(2)))),
        "tpr_at_fpr_0.01": Estimate(tpr, 0.82 * tpr, 1.2 * tpr, 0.95, METHOD, MODELS, "models and records"),
        "realised_fpr_at_fpr_0.01": estimate(0.0112, 0.0031),
        "advantage": estimate(float(2 * norm.cdf(separation / 2) - 1), 0.011),
    }
    return ev.AttackResult(
        id=attack_id, component=attack_id, family="membership", implementation=implementation,
        threat_model=model, status="ok", reason="", metrics=metrics,
    )  # fmt: skip


def inversion(lift):
    over = {
        "n": 160,
        "over": "models and classes",
        "method": "bootstrap over models, then classes (2000 draws)",
    }
    metrics = {
        "evaluation_accuracy": estimate(0.9 + lift, 0.04, **over),
        "baseline_accuracy": estimate(0.9, 0.03, **over),
        "lift": estimate(lift, 0.05, **over),
        "nearest_member_gain": estimate(0.004, 0.013, **over),
        "member_specificity": estimate(-0.0004, 0.004, **over),
        "evaluation_classifier_accuracy": estimate(0.978, 0.011, n=360, over="records", method="Clopper-Pearson"),
    }
    return ev.AttackResult(
        id="art_miface", component="art_miface", family="inversion", implementation="ART 1.20.1 MIFace",
        threat_model=threat("gradients", budget=1000), status="ok", reason="", metrics=metrics,
    )  # fmt: skip


def attacks(strength, broken=None, inverted=True):
    """The quickstart's attacks with LiRA at `strength`; `broken` ends in an error."""
    found = [
        membership("lira", "privassay", threat("probabilities", references=14), strength),
        membership("loss", "privassay", threat("probabilities"), strength / 6),
        membership(
            "art_black_box",
            "ART 1.20.1 MembershipInferenceBlackBox",
            threat("probabilities", references=14),
            0.07,
        ),
        membership(
            "art_black_box_told",
            "ART 1.20.1 MembershipInferenceBlackBox",
            threat("probabilities", True),
            0.10,
        ),
        membership("label_gap", "ART 1.20.1 MembershipInferenceBlackBoxRuleBased", threat("labels"), 0.02),
    ]
    del found[-1].metrics["tpr_at_fpr_0.01"], found[-1].metrics["realised_fpr_at_fpr_0.01"]
    found = [failed(a, "error", "ValueError: attack model saw one class only") if a.id == broken else a for a in found]
    miface = inversion(0.02)
    return (*found, miface if inverted else failed(miface, "not_run", "the model has no input gradients"))


def failed(attack, status, reason):
    return attack.model_copy(update={"status": status, "reason": reason, "metrics": {}})


def claim():
    return PrivacyClaim(
        2.98, 1e-5, "record", "add_or_remove_one", "poisson", "pld",
        "PoissonSampled(0.107, Gaussian(1.43)) x 280",
        ("batches were drawn by Poisson sampling, as observed", "one record belongs to one person"),
    )  # fmt: skip


def candidate(defense, kind, utility, found, formal=None):
    train, heldout = utility
    over = {"n": POOL}
    return ev.Candidate(
        id=f"mlp/{defense}", model="mlp", defense=defense, guarantee=kind, claim=formal, attacks=found,
        utility={
            "train_accuracy": estimate(train, 0.004, **over),
            "heldout_accuracy": estimate(heldout, 0.006, **over),
        },
    )  # fmt: skip


def verdict(subject, outcome, limit=0.03, attack_id="lira"):
    found = next((a for a in subject.attacks if a.id == attack_id), None)
    value = found.metrics.get("tpr_at_fpr_0.01") if found else None
    words = {"PASS": "upper end at or under", "FAIL": "lower end over"}.get(outcome.value, "which holds")
    interval = f"95 % interval {value.low:.4g} to {value.high:.4g}, " if value else ""
    metric = f"mia/{attack_id}/tpr_at_fpr_0.01"
    return ev.RuleVerdict(
        candidate=subject.id,
        rule="mia-low-fpr",
        metric=metric,
        verdict=outcome,
        attack=attack_id,
        estimate=value,
        limit=limit,
        reason=f"{metric}: {interval}{words} the limit {limit:g}; largest of 5 attacks",
    )


def controls(status="passed"):
    return (
        ev.Control(
            id="shuffled_membership",
            expectation="AUC interval contains 0.5",
            status="passed",
            reason="",
            metrics={"auc": estimate(0.501)},
        ),
        ev.Control(
            id="planted_overfit",
            expectation="LiRA AUC above 0.8",
            status=status,
            reason="" if status == "passed" else "AUC 0.61 does not reach 0.8",
            metrics={"auc": estimate(0.93)},
        ),
    )


def provenance():
    return ev.Provenance(
        code={"version": "0.1.0", "commit": "710dd3b7c1a94e6f", "dirty": False},
        packages={"torch": "2.13.0", "safetensors": "0.6.2", "scikit-learn": "1.9.1"},
        machine={"python": "3.11.9", "system": "Linux", "cpus": 2, "gpu": None},
        seeds={"root": 0},
        data=ev.DataRecord(
            name="digits",
            sha256="a" * 64,
            licence="CC BY 4.0",
            public=True,
            records=1797,
            shape=(64,),
            classes=10,
            pool=POOL,
            auxiliary=599,
            split_sha256="b" * 64,
        ),
    )


def group(column, value, records, metrics):
    small = records < 50
    return ev.Group(column=column, value=value, members=records, outsiders=records, small=small, metrics=metrics)


def groups():
    """Two classes and a sensitive column with a group that is small and one that is smaller still."""

    def metrics(auc, tpr):
        low = {"tpr_at_fpr_0.01": estimate(tpr, 0.3 * tpr), "realised_fpr_at_fpr_0.01": estimate(0.011, 0.004)}
        return {"auc": estimate(auc, 0.03), **low}

    return (
        group("class", "0", 601, metrics(0.71, 0.05)),
        group("class", "1", 597, metrics(0.75, 0.09)),
        group("region", "north", 1150, metrics(0.73, 0.07)),
        group("region", "south", 41, metrics(0.91, 0.31)),
        group("region", "<east>", 7, {}),
    )


def vulnerability():
    how = "target models as they are, at least 8 for each record; percentile bootstrap, 2000 resamples of 1198 records"
    over = {"n": POOL, "over": "records", "method": how}
    shares = {
        "flagged_at_least_once": estimate(0.281, 0.014, **over), "outside_at_least_once": estimate(0.083, 0.01, **over),
        "flagged_in_half": estimate(0.0384, 0.004, **over), "outside_in_half": estimate(0.0017, 0.0012, **over),
        "flagged_always": estimate(0.006, 0.002, **over), "outside_always": estimate(0.0, 0.0, **over),
        "chance_at_least_once": estimate(0.0773, 0.0, **over), "chance_in_half": estimate(6.7e-7, 0.0, **over),
        "chance_always": estimate(1e-16, 0.0, **over),
    }  # fmt: skip
    same = estimate(0.312, 0.05, **over)
    return ev.Vulnerability(attack="lira", fpr=0.01, models=8, shares=shares, stability=same)


def candidates():
    none = candidate("none", "none", (1.0, 0.968), attacks(0.85))
    return (
        none.model_copy(update={"groups": groups(), "vulnerability": vulnerability()}),
        candidate("dp_sgd", "formal", (0.921, 0.911), attacks(0.06, inverted=False), claim()),
        candidate("output_perturbation", "heuristic", (0.992, 0.957), attacks(0.42, broken="art_black_box")),
    )


def origin(**changes):
    fields = {
        "component": "mlflow", "source": "models:/credit@champion", "sha256": "d" * 64, "answers": "probabilities",
        "references": "8 trained by this run: sklearn_mlp behind none", "queries": 1500, "kept_answers": 512,
        "notes": ("probabilities were rounded to 4 digits <by the server>", "trained on 4000 records, its owner says"),
    }  # fmt: skip
    return ev.Origin(**{**fields, **changes})


def single(attack, n=600):
    """The attack's result on one target: intervals over records."""
    method = "one target model; Clopper-Pearson"
    metrics = {name: replace(e, over="records", n=n, method=method) for name, e in attack.metrics.items()}
    return attack.model_copy(update={"metrics": metrics})


def released(name="credit", answers="probabilities"):
    """A model that somebody else trained; with labels only, one attack can run."""
    found = [single(a) for a in attacks(0.3, inverted=False)]
    if answers == "labels":
        why = "needs probabilities, the released model answers with labels"
        found = [a if a.id == "label_gap" else failed(a, "not_run", why) for a in found]
    one = candidate("released", "none", (0.95, 0.93), tuple(found))
    changes = {"id": f"{name}/released", "model": name, "origin": origin(answers=answers)}
    return one.model_copy(update=changes)


def with_data(run, trusted=(), **changes):
    """The run with other facts about its data and the files that were trusted."""
    data = run.provenance.data.model_copy(update=changes)
    files = tuple(ev.TrustedFileRecord(path=path, sha256=sha256) for path, sha256 in trusted)
    return run.model_copy(update={"provenance": run.provenance.model_copy(update={"data": data, "trusted": files})})


def trained(defense, kind, accuracy, leakage, half=0.004):
    """A candidate with these point estimates; `leakage` is LiRA's TPR at 1 % FPR. Formal ones have a claim."""
    rate = {"tpr_at_fpr_0.01": estimate(leakage, half), "realised_fpr_at_fpr_0.01": estimate(0.0112, 0.0031)}
    lira = attacks(0.5)[0].model_copy(update={"metrics": {"auc": estimate(0.5 + leakage), **rate}})
    one = candidate(defense, kind, (0.99, accuracy), (lira,), claim() if kind == "formal" else None)
    return one.model_copy(update={"utility": {"heldout_accuracy": estimate(accuracy, half)}})


def evidence(found=None, **changes):
    """Evidence without artefacts; `changes` replace whole fields."""
    found = candidates() if found is None else found
    outcomes = (Verdict.FAIL, Verdict.PASS, Verdict.INCONCLUSIVE)
    fields = {
        "schema_version": "1", "run_id": "3f9c2a17d0b4", "created": "2026-11-21T22:04:11+00:00",
        "experiment": {"name": "quickstart", "data": "digits", "models": ["mlp"], "targets": MODELS},
        "provenance": provenance(), "candidates": found, "controls": controls(), "policy_sha256": "c" * 64,
        "verdicts": tuple(verdict(c, o) for c, o in zip(found, outcomes, strict=False)), "artifacts": (),
    }  # fmt: skip
    return ev.Evidence(**{**fields, **changes})


def build(folder: Path) -> ev.Evidence:
    """Write a whole run into `folder` and return its evidence."""
    run = evidence()
    for one in run.candidates:
        for attack in one.attacks:
            if attack.status == "ok" and attack.family == "membership":
                _write_curve(folder / f"release/curves/{one.id}/{attack.id}.json", attack.metrics["auc"].value)
                _write(folder / f"restricted/scores/{one.id}/{attack.id}.npz", b"per-record scores: never opened")
            elif attack.status == "ok":
                _write_pictures(folder / f"release/pictures/{one.id}/{attack.id}.npz")
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    run = run.model_copy(update={"artifacts": tuple(artifact(folder, file) for file in files)})
    ev.write(run, folder / "evidence.json")
    return run


def artifact(folder: Path, file: Path) -> ev.Artifact:
    path = file.relative_to(folder).as_posix()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return ev.Artifact(path=path, sha256=digest, restricted=path.startswith("restricted/"))


def _write(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def _write_curve(path, auc):
    fpr = np.logspace(-3, 0, 61)
    tpr = norm.sf(norm.isf(fpr) - np.sqrt(2) * norm.ppf(auc))
    curve = {"fpr": fpr, "tpr": tpr, "low": 0.85 * tpr, "high": np.minimum(1.15 * tpr, 1)}
    _write(path, json.dumps({k: np.round(v, 6).tolist() for k, v in curve.items()}).encode())


def _write_pictures(path):
    digits = load_digits()
    x = digits.images / 16
    baseline = np.stack([x[digits.target == c].mean(axis=0) for c in range(10)])
    noise = np.random.default_rng(0).normal(0, 0.12, baseline.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(
        path, labels=np.arange(10), baseline=baseline, bounds=np.array([0.0, 1.0]),
        reconstruction=np.clip(baseline + noise, 0, 1).reshape(10, 64),
    )  # fmt: skip
