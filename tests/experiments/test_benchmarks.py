"""Every benchmark runs and prints JSON; how fast it is, is never asserted."""

import importlib
import json
import math

import pytest
from privassay.harness.cache import cache_folder

SMALL = {
    "attack": ["--models", "6"],
    "audits": ["--canaries", "200", "--repeat", "1"],
    "attack_functions": ["--records", "500", "--references", "8"],
    "memory": ["--models", "6", "--records", "500"],
    "null_calibration": ["--repetitions", "2", "--sizes", "20", "--strategies", "Split", "Bonferroni"],
    "pool": ["--recipes", "mlp_446_128_30", "--models", "2", "--epochs", "1"],
    "regression_width": [],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.filterwarnings("ignore:Full backward hook is firing")
def test_benchmark_prints_json(name, capsys):
    if name == "attack" and not (cache_folder() / "dataset_location.tgz").exists():
        pytest.skip(f"location30 is not in {cache_folder()}: tests download nothing")
    importlib.import_module(f"privassay.experiments.benchmarks.{name}").main(SMALL[name])
    printed = json.loads(capsys.readouterr().out)
    numbers = [value for value in leaves(printed) if isinstance(value, int | float)]
    assert numbers
    assert all(math.isfinite(number) for number in numbers)


def leaves(value):
    """Every value of nested mappings and lists."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inner is None else [leaf for part in inner for leaf in leaves(part)]
