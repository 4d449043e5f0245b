"""The smallest evidence that a gate can judge: a run about nothing with given candidates and controls."""

from privassay.harness import evidence as ev
from privassay.harness.types import Estimate, ThreatModel

THREAT = ThreatModel("probabilities", False, True, 14, 1)
DATA = ev.DataRecord(
    name="d",
    sha256="",
    licence="",
    public=True,
    records=9,
    shape=(2,),
    classes=2,
    pool=6,
    auxiliary=3,
    split_sha256="",
)


def interval(low, high):
    return Estimate((low + high) / 2, low, high, 0.95, "by hand", 100, "models and records")


def attack(attack_id, metrics, family="membership", status="ok", reason=""):
    return ev.AttackResult(
        id=attack_id,
        component=attack_id,
        family=family,
        implementation="test",
        threat_model=THREAT,
        status=status,
        reason=reason,
        metrics={name: interval(*ends) for name, ends in metrics.items()},
    )


def run_of(*candidates, controls, primary=None):
    return ev.Evidence(
        schema_version="1",
        run_id="r",
        created="now",
        experiment={},
        provenance=ev.Provenance(code={}, packages={}, machine={}, seeds={}, data=DATA),
        candidates=candidates,
        controls=controls,
        primary=primary,
        policy_sha256=None,
        verdicts=(),
        artifacts=(),
    )
