"""Every experiment file that is shipped can be made: its sections are components with parameters that they take."""

from pathlib import Path

import pytest
from privassay.harness import config
from privassay.harness.builder import Builder

EXPERIMENTS = Path(__file__).resolve().parents[2] / "experiments"


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_component_of_a_shipped_experiment_is_made(path):
    found, build = config.load(path), Builder(path)
    made = [build("datasets", "data", found.data)] if found.data is not None else []
    for kind in ("models", "defenses", "targets"):
        made += [build(kind, name, section) for name, section in getattr(found, kind).items()]
    made += [build.attack(name, section) for name, section in found.attacks.items()]
    assert made
