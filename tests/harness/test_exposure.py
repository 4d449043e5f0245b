"""By which attack groups and single records go, what happens where there is none, and why numbers are missing."""

import dataclasses
from dataclasses import dataclass

import numpy as np
import pytest
from privassay.harness import exposure as subject
from privassay.harness.canaries import among_members
from privassay.harness.candidates import Bench
from privassay.harness.config import AuditSection
from privassay.harness.evaluation import ArtifactWriter
from privassay.harness.evidence import Unmeasured
from privassay.harness.suite import suite_for
from privassay.harness.types import Identity
from privassay.tests.support import small


@dataclass(frozen=True)
class Named:
    """What the rule looks at of an attack."""

    id: str
    component: str

    @property
    def identity(self):
        return Identity(self.component, {}, "0")


def named(*attacks):
    return [Named(*attack.split(":")) if ":" in attack else Named(attack, attack) for attack in attacks]


@pytest.mark.parametrize(
    ("attacks", "primary", "finished", "chosen"),
    [
        (["loss", "lira"], "loss", {"loss", "lira"}, "loss"),
        (["loss", "lira"], "lira", {"loss"}, "loss"),
        (["loss", "student_t", "lira"], None, {"loss", "student_t", "lira"}, "lira"),
        (["loss", "student_t", "lira"], "lira", {"loss", "student_t"}, "student_t"),
        (["loss", "mine:rmia", "other:rmia"], None, {"loss", "mine", "other"}, "mine"),
        (["loss", "mine:rmia", "other:rmia"], None, {"loss", "other"}, "other"),
        (["margin", "loss"], None, {"loss", "margin"}, "margin"),
        (["rmia:loss", "loss"], None, {"rmia", "loss"}, "rmia"),  # a name is no component
        (["loss"], None, set(), None),
        (["loss"], "loss", set(), None),
    ],
)
def test_the_attack_is_fixed_by_names_alone(attacks, primary, finished, chosen):
    assert subject.judging_attack(named(*attacks), primary, finished) == chosen


@pytest.mark.parametrize(("references", "chosen"), [(0, "loss"), (2, "rmia"), (4, "stacked"), (300, "stacked")])
def test_of_every_suite_one_is_chosen(references, chosen):
    found = suite_for(references).attacks
    attacks = [Named(name, str(section.get("component", name))) for name, section in found.items()]
    assert subject.judging_attack(attacks, None, set(found)) == chosen


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    """Six models, 40 of 200 audit records with a wrong label."""
    plain = small.setting(tmp_path_factory.mktemp("exposure"))
    dataset = among_members(plain.dataset, plain.split.pool, 40, 0)
    return dataclasses.replace(plain, dataset=dataset, fprs=(0.1, 0.01))


def measured(where, folder, *attacks, primary, audit=None):
    files = ArtifactWriter(folder)
    bench = Bench([small.attack(a) for a in attacks], where, lambda: None, primary, "bonferroni", audit, files)
    return bench.measure(small.pool(where)).candidate, files


def test_groups_and_canaries_stay_where_the_primary_attack_gave_nothing(where, tmp_path):
    named, files = measured(where, tmp_path, "loss", "lira", primary="lira")
    instead, others = measured(where, tmp_path, "loss", "lira", primary=None)
    assert {group.attack for group in named.groups} == {named.vulnerability.attack} == {"lira"}
    assert (instead.groups, instead.vulnerability) == (named.groups, named.vulnerability)
    assert [a.path for a in files.written] == [a.path for a in others.written]
    only, _ = measured(where, tmp_path, "loss", primary=None)
    assert {group.attack for group in only.groups} == {only.vulnerability.attack} == {"loss"}
    assert [(g.column, g.value) for g in only.groups] == [(g.column, g.value) for g in named.groups]
    assert ("canaries", "canary") in {(group.column, group.value) for group in only.groups}


def test_a_rate_that_is_missing_says_what_it_needs(where, tmp_path):
    found, _ = measured(where, tmp_path, "loss", "lira", primary=None)
    gap = Unmeasured(what="tpr_at_fpr_0.01", reason="needs 1,000 non-members, there are 160")
    assert found.unmeasured == (gap,)


def test_a_rate_that_some_attacks_state_names_the_others(where, tmp_path):
    plain = dataclasses.replace(where, fprs=(0.07,), targets=np.arange(2))  # 160 x 0.07 > 10; who is told half has less
    found, _ = measured(plain, tmp_path, "loss", "art_black_box_knows_members", primary=None)
    (told,) = (a for a in found.attacks if a.id != "loss")
    assert "tpr_at_fpr_0.07" in found.attacks[0].metrics
    assert "tpr_at_fpr_0.07" not in told.metrics
    (gap,) = (gap for gap in found.unmeasured if gap.what == "tpr_at_fpr_0.07")
    assert gap.reason.startswith("art_black_box_knows_members: needs 143 non-members, there are ")


def test_without_any_membership_attack_the_reason_is_said(where, tmp_path):
    found, files = measured(where, tmp_path, primary=None)
    assert (found.groups, found.vulnerability, files.written) == ((), None, [])
    said = "no membership attack gave a result"
    assert found.unmeasured == tuple(Unmeasured(what=what, reason=said) for what in ("groups", "single records"))


def test_one_target_has_groups_and_says_why_it_has_no_single_records(where, tmp_path):
    one = dataclasses.replace(where, targets=np.arange(1), fprs=(0.2,))
    found, _ = measured(one, tmp_path, "loss", primary=None)
    assert found.vulnerability is None
    assert {group.column for group in found.groups} == {"class", "canaries"}
    said = "needs 2 target models that trained on each of them and were asked about it"
    assert found.unmeasured == (Unmeasured(what="single records", reason=said),)


def test_an_audit_that_fails_costs_no_result(where, tmp_path):
    section = AuditSection(canaries=50, kind="own_feature", guesses=10)  # records of (8, 8) get no feature more
    found, _ = measured(where, tmp_path, "loss", primary=None, audit=section)
    assert found.audits == ()
    assert found.attacks[0].status == "ok"
    (gap,) = (gap for gap in found.unmeasured if gap.what == "audit")
    assert "(8, 8) are not flat rows of features" in gap.reason
