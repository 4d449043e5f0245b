"""Classifiers of the user's: built by a function in a file, seeded, checked, stored without pickle."""

import textwrap

import numpy as np
import pytest
import skops.io
from privassay.experiments.digits import Digits
from privassay.harness import catalog
from privassay.harness.errors import NotApplicable, UsageError
from privassay.harness.types import TrainingData
from privassay.harness.user_code import UserFunction
from privassay.models.sklearn_estimator import SklearnEstimator, seeded
from sklearn.ensemble import BaggingClassifier, RandomForestClassifier
from sklearn.feature_selection import SelectFromModel
from sklearn.linear_model import LogisticRegression
from sklearn.naive_bayes import GaussianNB
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

CODE = """
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.cluster import KMeans
    from sklearn.decomposition import PCA
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.gaussian_process import GaussianProcessClassifier
    from sklearn.gaussian_process.kernels import RBF, WhiteKernel
    from sklearn.linear_model import LinearRegression, LogisticRegression
    from sklearn.model_selection import GridSearchCV
    from sklearn.naive_bayes import GaussianNB
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer, StandardScaler
    from sklearn.svm import SVC, LinearSVC

    def pipeline(seed):
        return make_pipeline(StandardScaler(), PCA(10), RandomForestClassifier(5 + seed % 2))

    SHARED = make_pipeline(StandardScaler(), GaussianNB())
    def shared(): return SHARED

    def boosting(): return HistGradientBoostingClassifier(max_iter=2)
    def neighbours(): return KNeighborsClassifier(3, algorithm="kd_tree")
    def search(): return GridSearchCV(GaussianNB(), {"var_smoothing": [0.1, 0.01]}, cv=2)
    def calibrated(): return CalibratedClassifierCV(LinearSVC(), cv=2)
    def process(): return GaussianProcessClassifier(RBF() + WhiteKernel(), optimizer=None)

    def regression(): return LinearRegression()
    def clustering(): return KMeans()
    def a_class(): return GaussianNB
    def number(): return 3
    def no_probabilities(): return SVC()
    def needs_more(first, second): return GaussianNB()
    def fails(): raise KeyError("no such thing")
    def bad_parameter(): return GaussianNB(var_smoothing=-1.0)

    class Clip(TransformerMixin, BaseEstimator):
        def fit(self, x, y=None): self.n_features_in_ = x.shape[1]; return self
        def transform(self, x): return np.clip(x, 0.1, 0.9)

    def own_step(): return make_pipeline(Clip(), GaussianNB())
    def own_lambda(): return make_pipeline(FunctionTransformer(lambda x: x), GaussianNB())

    class Own(ClassifierMixin, BaseEstimator):
        classes = (0, 1, 2)
        answers = (1.0, 0.0, 0.0)
        def fit(self, x, y): self.classes_ = np.array(self.classes); return self
        def predict_proba(self, x): return np.tile(self.answers, (len(x), 1))

    class Words(Own): classes = ("0", "1", "2")
    class Fewer(Own): classes = (0, 1)
    class Foreign(Own): classes = (0, 1, 2, 7)
    class Narrow(Own): answers = (1.0, 0.0)
    class Scores(Own): answers = (2.0, -1.0, 0.0)
    class Missing(Own): answers = (float("nan"), 0.5, 0.5)
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("theirs")
    (where / "their_sklearn.py").write_text(textwrap.dedent(CODE))
    return where


@pytest.fixture(scope="module")
def data() -> TrainingData:
    digits = Digits().load()
    few = np.flatnonzero(digits.y < 3)[:240]
    return TrainingData(digits.x[few], digits.y[few], 3, digits.bounds)


ROWS = np.arange(120)


def made(folder, name) -> SklearnEstimator:
    return SklearnEstimator(UserFunction(f"their_sklearn:{name}", folder))


@pytest.mark.parametrize("name", ["pipeline", "shared", "boosting", "neighbours", "search", "calibrated", "process"])
def test_a_classifier_of_the_users_is_fitted_stored_and_repeated(name, data, folder, tmp_path):
    recipe = made(folder, name)
    model = recipe.fit(data, ROWS, seed=3)
    logits = model.logits(data.x)
    assert logits.shape == (240, 3)
    assert (logits.argmax(axis=1) == data.y)[ROWS].mean() > 0.9
    model.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model.skops"]
    np.testing.assert_array_equal(recipe.load(tmp_path, data.shape, 3).logits(data.x), logits)
    np.testing.assert_array_equal(recipe.fit(data, ROWS, seed=3).logits(data.x), logits)


def test_the_seed_reaches_the_function_and_the_steps(data, folder):
    recipe = made(folder, "pipeline")
    first, second, fourth = (recipe.fit(data, ROWS, seed=seed) for seed in (0, 1, 3))
    assert [len(model.estimator[-1].estimators_) for model in (first, second, fourth)] == [5, 6, 6]
    assert not np.array_equal(second.logits(data.x), fourth.logits(data.x))


def test_an_estimator_that_the_function_keeps_is_not_shared_by_models(data, folder):
    recipe = made(folder, "shared")
    first = recipe.fit(data, ROWS, seed=0)
    before = first.logits(data.x)
    recipe.fit(data, ROWS + 120, seed=0)
    np.testing.assert_array_equal(first.logits(data.x), before)


def test_every_random_state_is_the_seed_and_every_set_job_count_one():
    steps = make_pipeline(
        StandardScaler(),
        SelectFromModel(RandomForestClassifier(random_state=1, n_jobs=4)),
        BaggingClassifier(LogisticRegression(random_state=2), random_state=3),
    )
    found = seeded(steps, 17).get_params()
    states = {name: value for name, value in found.items() if name.endswith("random_state")}
    assert len(states) == 3
    assert set(states.values()) == {17}
    assert found["selectfrommodel__estimator__n_jobs"] == 1
    assert found["baggingclassifier__n_jobs"] is None


def test_a_class_of_scikit_learn_is_a_function_too(data, tmp_path):
    recipe = catalog.build("models", "sklearn_estimator", {"build": "sklearn.naive_bayes:GaussianNB"}, "test", tmp_path)
    expected = GaussianNB().fit(data.x[ROWS].reshape(120, -1), data.y[ROWS]).predict_proba(data.x.reshape(240, -1))
    np.testing.assert_array_equal(recipe.fit(data, ROWS, 0).probabilities(data.x), expected)


def test_a_class_without_rows_keeps_its_column(data, folder):
    model = made(folder, "shared").fit(data, ROWS[data.y[ROWS] != 1], seed=0)
    np.testing.assert_allclose(model.logits(data.x)[:, 1], np.log(1e-7), rtol=1e-6)


def test_there_are_no_gradients(data, folder):
    model = made(folder, "shared").fit(data, ROWS, seed=0)
    with pytest.raises(NotApplicable, match="no input gradients: scikit-learn gives none"):
        model.class_gradient(data.x[:1], data.y[:1])


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("regression", "returned a LinearRegression, must return a scikit-learn classifier"),
        ("clustering", "returned a KMeans, must return a scikit-learn classifier"),
        ("a_class", "returned a ABCMeta, must return a scikit-learn classifier"),
        ("number", "returned a int, must return a scikit-learn classifier"),
        ("no_probabilities", "SVC has no predict_proba: CalibratedClassifierCV gives it one"),
        ("needs_more", r"called as build\(seed=...\) or build\(\): TypeError: needs_more\(\) missing 2 .*"),
        (
            "fails",
            r"called as build\(seed=...\) or build\(\): KeyError: 'no such thing' \(their_sklearn\.py, line \d+\)",
        ),
        ("bad_parameter", "its fit failed: InvalidParameterError: The 'var_smoothing' parameter .*"),
        ("Words", r"Words has classes_ \['0', '1', '2'\]: must be labels below 3, with all that it was fitted on"),
        ("Fewer", r"Fewer has classes_ \[0, 1\]: must be labels below 3, with all that it was fitted on"),
        ("Foreign", r"Foreign has classes_ \[0, 1, 2, 7\]: must be labels below 3, with all that it was fitted on"),
        ("Narrow", r"Narrow has predict_proba of shape \(5, 2\) for 5 records: must be \(5, 3\)"),
        ("Scores", "Scores has a predict_proba whose answers are no probabilities: must be at least 0 with sum 1"),
        ("Missing", "Missing has a predict_proba whose answers are no probabilities: must be at least 0 with sum 1"),
    ],
)
def test_what_cannot_be_audited_is_refused_in_one_line(name, line, data, folder):
    with pytest.raises(UsageError, match=f"^their_sklearn:{name}: {line}$"):
        made(folder, name).fit(data, ROWS, seed=0)


def test_rows_of_one_class_are_refused_as_everywhere(data, folder):
    with pytest.raises(UsageError, match=r"training rows hold classes \[1\]: must hold at least two"):
        made(folder, "shared").fit(data, np.flatnonzero(data.y == 1), seed=0)


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("own_step", r"Pipeline: cannot be saved, for it holds types that are not trusted: their_sklearn\.Clip; .*"),
        ("Own", r"Own: cannot be saved, for it holds types that are not trusted: their_sklearn\.Own; .*"),
        ("own_lambda", r"Pipeline: .*(cannot save it|not trusted).*"),
    ],
)
def test_code_of_the_users_in_a_file_is_refused_when_it_is_written(name, line, data, folder, tmp_path):
    model = made(folder, name).fit(data, ROWS, seed=0)
    with pytest.raises(UsageError, match=f"^{line}$"):
        model.save(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_file_with_a_strange_type_is_not_opened(data, folder, tmp_path):
    model = made(folder, "own_step").fit(data, ROWS, seed=0)
    skops.io.dump(model.estimator, tmp_path / "model.skops")
    with pytest.raises(UsageError, match=r"holds types that are not trusted: their_sklearn\.Clip$"):
        made(folder, "own_step").load(tmp_path, data.shape, 3)


def test_a_file_of_another_estimator_is_refused(data, folder, tmp_path):
    made(folder, "neighbours").fit(data, ROWS, seed=0).save(tmp_path)
    with pytest.raises(UsageError, match="holds a KNeighborsClassifier, expected a Pipeline"):
        made(folder, "shared").load(tmp_path, data.shape, 3)
