"""Whole trainings of a linear Keras network behind a defence, against the formulas in float64, step by step."""

import dataclasses

import numpy as np
import pytest
from privassay.defenses.distillation import Distillation
from privassay.defenses.early_stopping import EarlyStopping
from privassay.defenses.mixup import Mixup
from privassay.defenses.none import NoDefense
from privassay.defenses.relaxloss import RelaxLoss
from privassay.harness.seeds import derive, generator
from privassay.tests.support.regularised import digits, one, softmax
from privassay.tests.support.regularised_keras import (
    LINEAR,
    batches,
    cross_entropy,
    linear,
    plain_error,
    start,
    theirs,
)

pytestmark = pytest.mark.keras
SEED = 5


@pytest.fixture(scope="module")
def tf():
    return pytest.importorskip("tensorflow", reason="needs the [keras] extra")


@pytest.fixture
def records(tf):
    """Members' records, flat, and their labels."""
    data, members, _ = digits()
    return data.x[members].reshape(len(members), -1).astype(np.float64), data.y[members]


def trained(defense, recipe=LINEAR):
    data, members, _ = digits()
    return one(defense, recipe, data, members, SEED).network.get_weights()


def check(found, expected):
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_mixup_is_that_of_mixed_records_and_labels(records):
    x, y = records
    shares, partners = generator(SEED, "shares"), generator(SEED, "partners")

    def steps():
        drawn = []
        for _, batch in batches(LINEAR, len(y), SEED):
            share, partner = np.float32(shares.beta(0.4, 0.4)), batch[partners.permutation(len(batch))]
            drawn.append(float(share))
            inputs = share * x[batch] + (1 - share) * x[partner]
            labels = share * np.eye(10)[y[batch]] + (1 - share) * np.eye(10)[y[partner]]
            yield lambda logits: (inputs, (softmax(logits(inputs)) - labels) / len(labels))  # noqa: B023
        assert len(set(drawn)) == len(drawn) == 4 * 5  # one for each step

    data, *_ = digits()
    expected = linear(LINEAR, start(LINEAR, data, SEED), steps())
    check(trained(Mixup(alpha=0.4)), expected)
    with pytest.raises(AssertionError):
        check(trained(Mixup(alpha=0.5)), expected)


def test_relaxloss_descends_ascends_and_flattens(records):
    x, y = records
    alpha, recipe, taken = 0.5, dataclasses.replace(LINEAR, epochs=8), []

    def steps():
        for epoch, batch in batches(recipe, len(y), SEED):

            def step(logits, epoch=epoch, x=x[batch], y=y[batch]):
                z, hard = logits(x), np.eye(10)[y]
                if cross_entropy(z, y).mean() >= alpha:
                    taken.append("descent")
                    return x, plain_error(z, y)
                if epoch % 2 == 0:
                    taken.append("ascent")
                    return x, -plain_error(z, y)
                taken.append("flattening")
                true = softmax(z)[np.arange(len(y)), y][:, None]
                return x, (softmax(z) - np.where(hard == 1, true, (1 - true) / 9)) / len(y)

            yield step

    data, *_ = digits()
    expected = linear(recipe, start(recipe, data, SEED), steps())
    assert min(taken.count(kind) for kind in ("descent", "ascent", "flattening")) >= 3
    check(trained(RelaxLoss(alpha), recipe), expected)


@pytest.mark.parametrize(("on", "temperature"), [("public", 1.0), ("members", 2.0)])
def test_the_student_descends_to_the_answers_of_the_plain_teacher(tf, on, temperature):
    data, members, _ = digits()
    seen = data.public if on == "public" else members
    x, seed = data.x[seen].reshape(len(seen), -1).astype(np.float64), derive(SEED, "student")
    teacher = one(NoDefense(), LINEAR, data, members, SEED).logits(data.x[seen]).astype(np.float64)
    soft = softmax(teacher / temperature)

    def steps():
        for _, batch in batches(LINEAR, len(seen), seed):
            yield lambda logits, b=batch: (
                x[b],
                temperature * (softmax(logits(x[b]) / temperature) - soft[b]) / len(b),
            )

    expected = linear(LINEAR, start(LINEAR, data, seed), steps())
    check(trained(Distillation(on, temperature)), expected)


def test_labels_of_public_records_are_never_read(tf):
    data, members, _ = digits()
    recipe = dataclasses.replace(LINEAR, epochs=1)

    def weights(y):
        return one(Distillation(), recipe, dataclasses.replace(data, y=y), members).network.get_weights()

    hidden, changed = data.y.copy(), data.y.copy()
    hidden[data.public] = -99  # to read one would fail
    changed[members[:20]] = (changed[members[:20]] + 1) % 10  # what the teacher learns comes through
    plain = weights(data.y)
    assert all(np.array_equal(*pair) for pair in zip(weights(hidden), plain, strict=True))
    assert not any(np.array_equal(*pair) for pair in zip(weights(changed), plain, strict=True))


@pytest.mark.parametrize("patience", [1, 40])
def test_early_stopping_keeps_the_best_epoch_before_patience_ran_out(records, patience):
    x, y = records
    settings, recipe = EarlyStopping(validation=0.25, patience=patience), dataclasses.replace(LINEAR, epochs=20)
    order = generator(SEED, "validation").permutation(len(y))
    held, used = order[:75], order[75:]
    data, *_ = digits()
    weights, curve, history = start(recipe, data, SEED), [], []
    all_steps = [
        lambda logits, b=used[batch]: (x[b], plain_error(logits(x[b]), y[b]))
        for _, batch in batches(recipe, len(used), SEED)
    ]
    each = len(all_steps) // recipe.epochs
    for epoch in range(recipe.epochs):
        kernel, bias = linear(recipe, weights, all_steps[: (epoch + 1) * each])
        history.append((kernel, bias))
        curve.append(cross_entropy(x[held] @ kernel + bias, y[held]).mean())
    best = 0
    for epoch, loss in enumerate(curve):  # the rule, said once more
        best = epoch if loss < curve[best] else best
        if epoch - best == patience:
            break
    if patience < 40:
        assert best + patience < recipe.epochs - 1  # it did stop
    check(trained(settings, recipe), history[best])


def test_early_stopping_restores_the_statistics_of_normalisation_too(tf):
    """Against plain training by hand, of a network with BatchNormalization."""
    from privassay.defenses._regularised_keras import epochs, plain_loss

    data, members, _ = digits()
    settings, recipe = EarlyStopping(validation=0.2, patience=2), theirs("functional", epochs=12)
    order = generator(SEED, "validation").permutation(len(members))
    held, used = members[order[:60]], members[order[60:]]
    network, kept, curve = recipe.untrained(data.shape, 10, SEED), [], []
    for _ in epochs(network, plain_loss, recipe, SEED, (tf.constant(data.x[used]), tf.constant(data.y[used]))):
        kept.append(network.get_weights())
        logits = network(data.x[held], training=False).numpy().astype(np.float64)
        curve.append(cross_entropy(logits, data.y[held]).mean())
        if len(curve) - 1 - int(np.argmin(curve)) == 2:
            break
    assert len(curve) < 12
    best = kept[int(np.argmin(curve))]
    found = one(settings, recipe, data, members, SEED).network.get_weights()
    for a, b in zip(found, best, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)
    statistics = [i for i, weight in enumerate(network.weights) if not weight.trainable]
    assert len(statistics) == 2
    assert not any(np.allclose(kept[-1][i], best[i], atol=1e-4) for i in statistics)


def test_the_loss_of_held_out_records_is_that_of_all_at_once_without_penalties(tf):
    from privassay.defenses._regularised_keras import mean_loss

    data, *_ = digits()
    network = theirs("sequential").untrained(data.shape, 10, 0)  # with Dropout and a penalty
    x, y = data.x[:1500], data.y[:1500]  # more than are answered together
    expected = cross_entropy(network(x, training=False).numpy().astype(np.float64), y).mean()
    assert float(mean_loss(network, tf.constant(x), tf.constant(y))()) == pytest.approx(expected, rel=1e-5)


def test_a_network_keeps_its_own_loss_where_the_defence_does(tf):
    """A loss of the user's that smooths labels."""
    from privassay.defenses._regularised_keras import mixed, plain_loss
    from privassay.models._keras_module import OnLabels

    network = LINEAR.untrained((8, 8), 10, 0)
    network.loss = OnLabels(tf.keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.2))
    data, *_ = digits()
    x, y = data.x[:40], data.y[:40]
    expected = -((0.8 * np.eye(10)[y] + 0.02) * np.log(softmax(network(x).numpy().astype(np.float64)))).sum(1).mean()
    assert float(plain_loss(network, x, y)) == pytest.approx(expected, rel=1e-5)
    assert float(mixed(network, x, y, tf.range(40), tf.fill([40], 0.3))) == pytest.approx(expected, rel=1e-5)
