import hashlib
from pathlib import Path

import privassay.experiments
import pytest
from privassay.harness.errors import UsageError
from privassay.harness.policy import Appetite, ClaimRule, MetricRule, load

SHIPPED = Path(privassay.experiments.__file__).parent / "policies" / "release.yaml"
GOOD = """\
apiVersion: privassay/policy/v1
name: release
appetite: {owner: no, release_context: public-api, review_by: 2027-05-01}
rules:
- {id: auc, metric: "mia/*/auc", max: 1e-1}
- {id: accuracy, metric: utility/heldout_accuracy, min: 0}
- {id: claim, claim: required, max_epsilon: 10, max_delta: 1e-4}
"""


def mistake(tmp_path, content):
    path = tmp_path / "p.yaml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        load(path)
    text = str(caught.value)
    assert "\n" not in text
    assert text.startswith(f"{path}: ")
    return text.removeprefix(f"{path}: ")


def test_a_policy_is_read_as_written(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    policy = load(path)
    assert policy.name == "release"
    assert policy.appetite == Appetite(owner="no", release_context="public-api", review_by="2027-05-01")
    assert policy.rules == (
        MetricRule(id="auc", metric="mia/*/auc", max=0.1),
        MetricRule(id="accuracy", metric="utility/heldout_accuracy", min=0.0),
        ClaimRule(id="claim", claim="required", max_epsilon=10.0, max_delta=1e-4),
    )
    assert policy.sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert policy.source == str(path)


def test_a_limit_of_zero_is_a_limit(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text(GOOD)
    rule = load(path).rules[1]
    assert isinstance(rule, MetricRule)
    assert rule.limit == 0.0


def test_appetite_and_the_bounds_of_a_claim_are_optional(tmp_path):
    path = tmp_path / "p.yaml"
    path.write_text("apiVersion: privassay/policy/v1\nname: a\nrules: [{id: c, claim: required}]")
    policy = load(path)
    assert policy.appetite is None
    assert policy.rules == (ClaimRule(id="c", claim="required", max_epsilon=None, max_delta=None),)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        (
            "max: 1e-1",
            "mx: 1",
            "rules[0]: unknown key 'mx', did you mean 'max'? allowed: id, metric, max, ",
        ),
        ("metric: utility", "metrc: utility", "rules[1]: unknown key 'metrc', did you mean 'metric'?"),
        (
            "max_delta",
            "max_dleta",
            "rules[2]: unknown key 'max_dleta', did you mean 'max_delta'? ",
        ),
        ("claim: required", "claim: maybe", "rules[2].claim='maybe': must be 'required'"),
        ("max_delta: 1e-4", "max: 1", "rules[2]: unknown key 'max'"),
        ("claim: required, ", "", "rules[2]: key 'claim' is missing"),
        (
            "rules:",
            "rule:",
            "unknown key 'rule', did you mean 'rules'? allowed: apiVersion, name, ",
        ),
        ("owner", "ower", "appetite: unknown key 'ower', did you mean 'owner'?"),
        (
            "max: 1e-1",
            "max: 1e-1, min: 0",
            "rules[0]: rule 'auc' has both max and min",
        ),
        (", max: 1e-1", "", "rules[0]: rule 'auc' has neither max nor min: must have exactly one of them"),
        ("max: 1e-1", "max: high", "rules[0].max='high': must be a number"),
        ("max: 1e-1", "max: '0.1'", "rules[0].max='0.1': must be a number"),
        ("max: 1e-1", "max: true", "rules[0].max=True: must be a number"),
        ("max: 1e-1", "max: .nan", "rules[0].max='.nan': must be a number"),
        ("max: 1e-1", "max: 1e999", "rules[0].max=inf: must be a finite number"),
        ("max_epsilon: 10", "max_epsilon: 0", "rules[2].max_epsilon=0: must be greater than 0"),
        ("max_delta: 1e-4", "max_delta: 1", "rules[2].max_delta=1: must be less than 1"),
        ("id: accuracy", "id: auc", "rules: two rules have the id 'auc': ids must be distinct"),
        ("id: accuracy", "id: a b", "rules[1].id='a b': must match pattern"),
        ("id: accuracy", "id: ''", "rules[1].id='': must match pattern"),
        ('"mia/*/auc"', '""', "rules[0].metric='': must have at least 1 character"),
        ("policy/v1", "policy/v2", "apiVersion='privassay/policy/v2': must be 'privassay/policy/v1'"),
        ("name: release", "name: 3", "name=3: must be text"),
        (
            "owner: no",
            f"owner: {'x' * 300}",
            "appetite.owner='xxxxxxxxxxxx...xxxxxxxxxxxxx': must",
        ),
        ("- {id: auc", "- word\n- {id: auc", "rules[0]='word': must be a mapping of keys to values"),
        ("name: release", "name: release\nname: other", "line 3: key 'name' is given twice"),
        ("{owner", "[owner", "line 3: "),
    ],
)
def test_every_mistake_is_one_line(tmp_path, old, new, expected):
    assert old in GOOD
    assert mistake(tmp_path, GOOD.replace(old, new, 1)).startswith(expected)


def test_a_policy_without_rules_would_pass_everything_and_is_refused(tmp_path):
    head = "apiVersion: privassay/policy/v1\nname: a\n"
    assert mistake(tmp_path, head + "rules: []") == "rules=[]: must have at least 1 entry"
    assert mistake(tmp_path, head) == "key 'rules' is missing"
    assert mistake(tmp_path, head + "rules:") == "rules=None: must be a list"


def test_an_unreadable_policy_is_named(tmp_path):
    with pytest.raises(UsageError) as caught:
        load(tmp_path / "absent.yaml")
    assert str(caught.value) == f"{tmp_path / 'absent.yaml'}: cannot be read (No such file or directory)"


def test_the_shipped_policy_asks_for_every_kind_of_evidence():
    rules = {rule.id: rule for rule in load(SHIPPED).rules}
    limits = {k: (r.metric, r.max, r.min) for k, r in rules.items() if isinstance(r, MetricRule)}
    assert limits == {
        "mia-low-fpr": ("mia/*/tpr_at_fpr_0.01", 0.03, None),
        "mia-auc": ("mia/*/auc", 0.60, None),
        "inversion-lift": ("inversion/*/lift", 0.05, None),
        "inversion-gain": ("inversion/*/nearest_member_gain", 0.05, None),
        "accuracy": ("utility/heldout_accuracy", None, 0.80),
    }
    assert rules["claim"] == ClaimRule(id="claim", claim="required", max_epsilon=10.0, max_delta=1e-4)


@pytest.mark.parametrize("metric", ["mia/*/auc", "mia/lira/tpr_at_fpr_0.01", "utility/heldout_accuracy"])
@pytest.mark.parametrize("limit", [60, -0.1])
def test_a_limit_that_could_never_bind_is_refused(tmp_path, metric, limit):
    path = tmp_path / "policy.yaml"
    path.write_text(
        f'apiVersion: privassay/policy/v1\nname: p\nrules:\n- {{id: r, metric: "{metric}", max: {limit}}}\n'
    )
    with pytest.raises(UsageError, match="lies between 0 and 1"):
        load(path)
