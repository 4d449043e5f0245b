"""Experiment files for tests: the real pipeline on digits, small enough for seconds."""

import copy

import yaml

TINY = {
    "name": "tiny",
    "seed": 0,
    "data": {"component": "digits"},
    "pool": {"models": 6, "records": 200},
    "models": {"mlp": {"component": "torch_mlp", "hidden": [32], "epochs": 20, "batch_size": 16}},
    "defenses": {"none": {}, "output_perturbation": {}},
    "attacks": {"loss": {}, "lira": {}, "art_rule_based": {}, "art_miface": {"max_iter": 3}},
    "metrics": {"fprs": [0.1], "resamples": 100},
    "evaluation_classifier": {"component": "sklearn_random_forest", "n_estimators": 10},
}


def tiny(**changes):
    """The experiment as a mapping; a change names dotted keys with `__`, None removes the key."""
    content = copy.deepcopy(TINY)
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        section = content
        for parent in parents:
            section = section[parent]
        if value is None:
            del section[last]
        else:
            section[last] = value
    return content


def write(folder, **changes):
    """Write the experiment and return its path."""
    path = folder / "tiny.yaml"
    path.write_text(yaml.safe_dump(tiny(**changes), sort_keys=False))
    return path
