"""The catalogue: everything in it resolves, third parties join by entry point."""

import dataclasses
from pathlib import Path

import pytest
from privassay.harness import catalog
from privassay.harness.errors import UsageError

ALL = [(kind, name) for kind in catalog.KINDS for name in catalog.targets(kind)]


USER_CODE = Path(__file__).parents[1] / "support" / "user_code"
REQUIRED = {  # parameters of components that cannot do without
    "endpoint": {"url": "http://127.0.0.1:5000/invocations"},
    "file": {"path": "model.safetensors", "build": "user_models:torch_network"},
    "image_folder": {"path": "pictures"},
    "keras_module": {"build": "user_models:keras_network"},
    "mlflow": {"model": "models:/credit@champion"},
    "predictions": {"path": "predictions.csv"},
    "served": {"command": ["serve", "--port", "{port}"]},
    "sklearn_estimator": {"build": "user_models:pipeline"},
    "table": {"path": "table.csv", "target": "label"},
    "torch_module": {"build": "user_models:torch_network"},
}


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_every_component_resolves_to_a_frozen_dataclass(kind, name):
    component = catalog.resolve(kind, name, "test")
    assert dataclasses.is_dataclass(component)
    assert component.__dataclass_params__.frozen
    assert component.__doc__
    given = {"train": "user_models:train"} if (kind, name) == ("models", "python") else REQUIRED.get(name, {})
    given = {"predict": "user_models:predict"} if (kind, name) == ("targets", "python") else given
    made = catalog.build(kind, name, given, "test", USER_CODE)
    written = catalog.identity(made, name).parameters
    assert set(written) == {field.name for field in dataclasses.fields(made)}
    for field in set(written) - set(given):
        assert written[field] == getattr(made, field)


def test_parameters_are_checked_strictly():
    with pytest.raises(UsageError, match=r"max_iter='5': must be a whole number"):
        catalog.build("attacks", "art_miface", {"max_iter": "5"}, "here")
    with pytest.raises(UsageError, match=r"here: max_iter=-1: must be > 0"):
        catalog.build("attacks", "art_miface", {"max_iter": -1}, "here")


class Point:
    def __init__(self, name, value):
        self.name, self.value = name, value


def test_taken_name_is_refused_and_both_are_named(monkeypatch):
    catalog.targets.cache_clear()
    monkeypatch.setattr(catalog, "entry_points", lambda group: [Point("lira", "other.package:LiRA")])
    with pytest.raises(UsageError, match=r"other.package:LiRA.*'lira' is taken by privassay.attacks"):
        catalog.targets("attacks")
    catalog.targets.cache_clear()


def test_shipped_experiments_are_listed_and_sound():
    found = catalog.experiments()
    assert {"quickstart", "defenses", "endpoint", "keras", "predictions", "sklearn"} <= set(found)
