"""References of another recipe are told by accuracies, those of the same one seldom are."""

import math

import numpy as np
import pytest
from privassay.harness.recipe_check import compared, recipe_note
from sklearn.datasets import load_digits
from sklearn.tree import DecisionTreeClassifier

X, Y = load_digits(return_X_y=True)
ANOTHER = "a heuristic takes that for another recipe or other data, so a low result says less"


def masks(references, records, rng):
    """Random halves; those of references in complementary pairs, as a split has them."""
    member = np.zeros((references + 1, records), bool)
    for k in range(references + 1):
        if k and k % 2 == 0:
            member[k] = ~member[k - 1]
        else:
            member[k, rng.permutation(records)[: records // 2]] = True
    return member


def noted(released, reference, references, records, rng):
    """Whether trees of two recipes on real records are taken for different."""
    rows = rng.permutation(len(Y))[:records]
    x, y, member = X[rows], Y[rows], masks(references, records, rng)
    models = [DecisionTreeClassifier(random_state=int(rng.integers(2**31)), **reference) for _ in member]
    models[0] = DecisionTreeClassifier(random_state=0, **released)
    right = [m.fit(x[mine], y[mine]).predict(x) == y for m, mine in zip(models, member, strict=True)]
    return ANOTHER in recipe_note(right, member)


@pytest.mark.parametrize(("references", "records"), [(2, 200), (8, 60)])
def test_the_same_recipe_is_seldom_taken_for_another(references, records):
    rng = np.random.default_rng(0)
    assert sum(noted({}, {}, references, records, rng) for _ in range(60)) <= 3


@pytest.mark.parametrize("other", [{"max_depth": 4}, {"min_samples_leaf": 5}])
def test_another_recipe_is_seen(other):
    rng = np.random.default_rng(0)
    assert sum(noted(other, {}, 8, 400, rng) for _ in range(10)) >= 9
    assert sum(noted({}, other, 8, 400, rng) for _ in range(10)) >= 9
    assert sum(noted(other, {}, 2, 400, rng) for _ in range(10)) >= 9  # references that hardly differ: two are enough


@pytest.mark.slow
@pytest.mark.parametrize("references", [2, 4, 8, 64])
@pytest.mark.parametrize("records", [60, 200, 1440])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_the_level_holds_where_runs_and_records_differ(references, records, spread):
    """Right answers by a logistic model: records differ in difficulty, runs (by `spread`) in how good they turn out."""
    rng, found = np.random.default_rng(0), []
    for _ in range(1000):
        member, ease = masks(references, records, rng), rng.normal(size=records)
        skill = spread * rng.normal(size=(references + 1, 1))
        chance = 1 / (1 + np.exp(-(np.where(member, 2.2, 0.8) + ease + skill)))
        found.append(ANOTHER in recipe_note(list(rng.random(member.shape) < chance), member))
    assert np.mean(found) <= 0.05


def alike(member, ease, skill, size, rng):
    """Right answers by the same model, where the `size` records of a user are copies: one coin for all of them."""
    chance = 1 / (1 + np.exp(-(np.where(member, 2.2, 0.8) + ease + skill)))
    return np.repeat(rng.random(member.shape) < chance, size, axis=1)


def noted_with_users(references, people, outsiders, size, trials=300):
    """How often the same recipe gets the note, with users and without; the released model has few outsiders."""
    rng, found = np.random.default_rng(0), []
    users = np.repeat(np.arange(people), size)
    for _ in range(trials):
        member = masks(references, people, rng)
        member[0] = np.isin(np.arange(people), rng.permutation(people)[:outsiders], invert=True)
        skill = 0.1 * rng.normal(size=(references + 1, 1))
        right = list(alike(member, 2 * rng.normal(size=people), skill, size, rng))
        rows = np.repeat(member, size, axis=1)
        found.append([ANOTHER in recipe_note(right, rows, whose) for whose in (users, None)])
    return np.mean(found, axis=0)


@pytest.mark.parametrize("references", [2, 8])
def test_records_of_one_user_are_not_independent(references):
    with_users, without = noted_with_users(references, 100, 5, 10)
    assert with_users <= 0.05
    assert references == 2 or without > 0.2, "the trap is there"


@pytest.mark.slow
@pytest.mark.parametrize("references", [2, 8, 32])
@pytest.mark.parametrize(("people", "outsiders"), [(20, 10), (100, 3), (100, 20), (400, 20)])
@pytest.mark.parametrize("size", [2, 10, 30])
def test_the_level_holds_for_users(references, people, outsiders, size):
    assert noted_with_users(references, people, outsiders, size, 600)[0] <= 0.05


def test_another_recipe_is_seen_with_users():
    rng, found = np.random.default_rng(0), []
    for _ in range(20):
        member = masks(8, 200, rng)
        skill = np.array([[3.0], *([0.0] for _ in range(8))])
        right = list(alike(member, rng.normal(size=200), skill, 5, rng))
        found.append(ANOTHER in recipe_note(right, np.repeat(member, 5, axis=1), np.repeat(np.arange(200), 5)))
    assert sum(found) >= 19


def test_the_variance_of_users_by_hand():
    """Three users of 2, 1 and 3 records for each of two references that answer alike: no spread but the count's."""
    users = np.array([0, 0, 1, 2, 2, 2])
    right = [np.array([1, 0, 1, 1, 1, 1], bool)] * 3
    rows = np.ones((3, 6), bool)
    p = (2 * 5 + 2) / (2 * 6 + 2 * 2)  # two more users of two records, one all right and one all wrong
    residuals = [1 - 2 * p, 1 - p, 3 - 3 * p] * 2 + [0 - 2 * p, 2 - 2 * p]
    variance = sum(residual**2 for residual in residuals) / 8
    assert compared(right, rows, users).reach == pytest.approx(2.241402728 * math.sqrt(3 * variance) / 6, rel=1e-6)


def test_users_with_one_record_each_are_records():
    rng = np.random.default_rng(0)
    member = masks(6, 100, rng)
    right = list(rng.random(member.shape) < 0.7)
    by_users, by_records = compared(right, member, rng.permutation(100)), compared(right, member)
    assert by_users.reach == pytest.approx(by_records.reach, rel=1e-12)
    assert (by_users.released, by_users.references) == (by_records.released, by_records.references)


def with_hits(*hits, records=100):
    """Models that are right on so many of their first `records` records, which is all that they are asked about."""
    right = [np.arange(2 * records) < count for count in hits]
    return right, np.tile(np.arange(2 * records) < records, (len(hits), 1))


def test_the_interval_by_hand():
    found = compared(*with_hits(70, 80, 84))
    t = math.tan(math.pi * (0.9875 - 0.5))  # the quantile of one degree of freedom is Cauchy's
    drawn = t * math.sqrt((0.02**2 + 0.02**2) * 1.5)
    p = 165 / 202
    counted = 2.241402728 * math.sqrt(p * (1 - p) / 100)
    assert (found.released, found.references) == (pytest.approx(0.7), pytest.approx(0.82))
    assert found.reach == pytest.approx(math.hypot(drawn, counted), rel=1e-6)
    assert not found.apart


def test_a_difference_beyond_the_interval_is_noted_and_one_inside_is_not():
    references = [80, 84, 82, 78, 83, 85, 81, 79]
    reach = compared(*with_hits(80, *references)).reach
    assert 0.05 < reach < 0.2
    centre = np.mean(references) / 100
    inside, outside = math.floor(100 * (centre + reach)), math.ceil(100 * (centre + reach))
    assert not compared(*with_hits(inside, *references)).apart
    assert compared(*with_hits(outside, *references)).apart
    assert compared(*with_hits(math.floor(100 * (centre - reach)), *references)).apart


def test_a_small_difference_is_none_however_sure_it_is():
    references = [80_000, 80_010] * 8
    assert compared(*with_hits(84_900, *references, records=100_000)).reach == 0.05
    assert not compared(*with_hits(84_900, *references, records=100_000)).apart
    assert compared(*with_hits(85_100, *references, records=100_000)).apart


def test_a_released_model_that_is_asked_about_few_records_may_differ_more():
    right, rows = with_hits(80, 80, 82, 79, 81)
    few = rows.copy()
    few[0, 10:] = False
    assert compared(right, few).reach > 2 * compared(right, rows).reach


def test_both_pairs_of_numbers_are_told():
    n = 200
    member = np.tile(np.arange(n) < 100, (5, 1))
    member[1::2] = ~member[1::2]
    share = [0.9, 0.8, 0.8, 0.8, 0.8]  # of its members; half of the others
    right = [
        np.where(m, np.arange(n) % 100 < 100 * s, np.arange(n) % 2 == 0) for m, s in zip(member, share, strict=True)
    ]
    numbers = (
        "the released model is right on 90.0 % of its members and 50.0 % of the others, "
        "its 4 references on 80.0 % and 50.0 % of theirs"
    )
    agreed = " a heuristic finds no sign of another recipe (differences of more than 9 and 11 points would be one)"
    assert recipe_note(right, member) == f"{numbers}: {ANOTHER}"
    right[0] = np.where(member[0], np.arange(n) % 100 < 85, np.arange(n) % 2 == 0)
    assert recipe_note(right, member) == f"{numbers.replace('90.0', '85.0')}:{agreed}"


def test_a_reach_that_covers_everything_reassures_nobody():
    """Two references whose accuracies on others lie 20 points apart, or a released model with few outsiders."""
    member = np.tile(np.arange(200) < 100, (3, 1))
    right = [np.where(member[0], np.arange(200) % 100 < 80, np.arange(200) % 100 < share) for share in (60, 50, 70)]
    note = recipe_note(right, member)
    assert note.endswith("of theirs: so few references or records cannot tell whether that is another recipe")
    assert "no sign" not in note
    member = np.tile(np.arange(200) < 100, (9, 1))
    right = [np.arange(200) % 2 == 0] * 9
    assert "no sign" in recipe_note(right, member)
    assert "no sign" in recipe_note(right, member, np.arange(200))
    whole = np.arange(200) // 20  # five members and five others
    right = [whole % 2 == 0] * 9
    assert "so few references or users cannot tell whether that is another recipe" in recipe_note(right, member, whole)
    member[0] = np.arange(200) < 190
    assert "so few references or records cannot tell" in recipe_note([np.arange(200) % 2 == 0] * 9, member)


def test_nothing_is_said_where_nothing_can_be_compared():
    right, member = with_hits(1, 80)
    assert recipe_note(right, member) == ""
    right, member = with_hits(1, 80, 80)
    assert recipe_note(right, member)
    for all_or_none in (True, False):
        member[2] = all_or_none
        assert recipe_note(right, member) == ""
