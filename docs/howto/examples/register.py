"""Put the model of forest.joblib into a registry of MLflow, as `models:/forest@champion`."""

import joblib
import mlflow

REGISTRY = "sqlite:///registry.db"

mlflow.set_tracking_uri(REGISTRY)
with mlflow.start_run():
    logged = mlflow.sklearn.log_model(
        joblib.load("forest.joblib"),
        name="forest",
        serialization_format="cloudpickle",
        pyfunc_predict_fn="predict_proba",  # else a server answers with labels only
        pip_requirements=["scikit-learn"],
        registered_model_name="forest",
    )
mlflow.MlflowClient().set_registered_model_alias("forest", "champion", logged.registered_model_version)
