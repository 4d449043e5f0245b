"""A scikit-learn pipeline, not yet fitted."""

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler


def build():
    """What would be fitted; privassay sets every random_state and fits a copy for each model."""
    return make_pipeline(StandardScaler(), RandomForestClassifier(100))
