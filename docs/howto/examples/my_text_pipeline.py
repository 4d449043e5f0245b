"""A pipeline on text columns, trained as the released one was."""

from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def train(frame, y, n_classes, seed):
    """Fit on a data frame and labels 0 .. n_classes - 1; what is returned has predict_proba."""
    texts = make_column_selector(dtype_exclude="number")
    encoded = make_column_transformer((OneHotEncoder(handle_unknown="ignore"), texts), remainder="passthrough")
    return make_pipeline(encoded, RandomForestClassifier(random_state=seed)).fit(frame, y)
