import dataclasses

import numpy as np
import pytest
from privassay.defenses.l2 import L2
from privassay.harness.errors import NotApplicable, UsageError
from privassay.models.keras_mlp import KerasMLP
from privassay.models.sklearn_logistic_regression import SklearnLogisticRegression
from privassay.models.sklearn_mlp import SklearnMLP
from privassay.models.sklearn_random_forest import SklearnRandomForest
from privassay.models.sklearn_ridge import SklearnRidge
from privassay.tests.support.regularised import SMALL, digits, one, softmax, weights


def test_descent_gets_the_penalty_in_place_of_its_own():
    data, members, _ = digits()
    own = dataclasses.replace(SMALL, weight_decay=0.5)
    penalised = SMALL.fit(data, members, 1), dataclasses.replace(SMALL, weight_decay=0.02).fit(data, members, 1)
    trained = weights(one(L2(0.02), own, data, members))
    np.testing.assert_array_equal(trained, weights(penalised[1]))
    assert np.linalg.norm(trained) < np.linalg.norm(weights(penalised[0]))
    assert L2(0.02).applied_to(KerasMLP(hidden=(8,)), 100) == KerasMLP(hidden=(8,), weight_decay=0.02)


@pytest.mark.parametrize(("claimed", "accepted"), [(0.05, True), (0.04, False), (0.06, False)])
def test_scikit_learn_minimises_the_same_penalised_mean_loss(claimed, accepted):
    # At the optimum the gradient of mean loss + weight_decay / 2 x |W|^2 vanishes.
    data, members, _ = digits()
    estimator = one(L2(0.05), SklearnLogisticRegression(C=7.0, max_iter=2000), data, members).estimator
    x = data.x[members].reshape(len(members), -1).astype(np.float64)
    residual = softmax(x @ estimator.coef_.T + estimator.intercept_) - np.eye(10)[data.y[members]]
    gradient = residual.T @ x / len(x) + claimed * estimator.coef_
    assert (np.abs(gradient).max() < 1e-3) == accepted


@pytest.mark.filterwarnings("ignore:.*Maximum iterations")
def test_a_perceptron_of_scikit_learn_descends_on_the_penalised_mean_loss():
    """What it states as its loss after k + 1 epochs of one batch each is that of the weights after k."""
    data, members, _ = digits()
    x, y = data.x[members].reshape(len(members), -1).astype(np.float64), data.y[members]
    recipe = SklearnMLP((8,), batch_size=10**6, max_iter=3)
    before = one(L2(0.05), recipe, data, members).estimator
    after = one(L2(0.05), dataclasses.replace(recipe, max_iter=4), data, members).estimator
    squares = sum((weight**2).sum() for weight in before.coefs_)
    loss = -np.log(before.predict_proba(x)[np.arange(len(y)), y]).mean()
    assert after.loss_ == pytest.approx(loss + 0.05 / 2 * squares, rel=1e-5)
    assert after.loss_ != pytest.approx(loss + 0.06 / 2 * squares, rel=1e-3)
    assert L2(0.05).applied_to(SklearnMLP(batch_size=32), 300).alpha == pytest.approx(1.6)


def test_ridge_minimises_the_penalised_mean_squared_error():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 4)), rng.normal(size=50)
    ridge = L2(0.3).applied_to(SklearnRidge(), 50).untrained(0).fit(x, y)
    gradient = 2 * x.T @ (ridge.predict(x) - y) / 50 + 0.3 * ridge.coef_
    np.testing.assert_allclose(gradient, 0, atol=1e-12)


def test_models_of_unequal_size_stay_in_order_each_with_its_own_c():
    data, members, others = digits()
    rows = [members[:100], others[:150], others[150:300], members[100:200]]
    models = [t.model for t in L2(0.01).train(SklearnLogisticRegression(), data, rows, [0] * 4)]
    assert [model.estimator.C for model in models] == pytest.approx([1.0, 1 / 1.5, 1 / 1.5, 1.0])
    for own, model in zip(rows, models, strict=True):
        assert (model.logits(data.x[own]).argmax(axis=1) == data.y[own]).mean() > 0.95


def test_a_recipe_without_such_a_penalty_is_refused():
    data, members, _ = digits()
    reason = L2().supports(SklearnRandomForest(), 300)
    assert "sklearn" in reason
    with pytest.raises(NotApplicable, match="has no setting for it"):
        next(L2().train(SklearnRandomForest(), data, [members], [0]))


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan])
def test_the_penalty_must_be_positive(value):
    with pytest.raises(UsageError, match="weight_decay"):
        L2(value)
