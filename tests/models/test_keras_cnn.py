import numpy as np
import pytest
from privassay.experiments.digits import Digits
from privassay.harness.errors import UsageError
from privassay.harness.types import TrainingData
from privassay.models.keras_cnn import KerasCNN

pytestmark = pytest.mark.keras


@pytest.fixture(scope="module")
def data() -> TrainingData:
    pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    digits = Digits().load()
    return TrainingData(digits.x, digits.y, digits.n_classes, digits.bounds)


def in_colour(data, records):
    """The same pictures three times over, (n, 3, 8, 8), each channel weaker than the one before."""
    x = np.stack([data.x[:records], data.x[:records] / 2, data.x[:records] / 3], axis=1)
    return TrainingData(x, data.y[:records], 10, data.bounds)


def blocks(weights, pictures):
    """The network in float64 with loops over everything: pictures (n, c, h, w) to logits."""
    maps = pictures.astype(np.float64).transpose(0, 2, 3, 1)
    for kernel, bias in zip(weights[:-2:2], weights[1:-2:2], strict=True):
        n, height, width, _ = maps.shape
        padded = np.pad(maps, ((0, 0), (1, 1), (1, 1), (0, 0)))
        out = np.zeros((n, height, width, kernel.shape[-1]))
        for i in range(height):
            for j in range(width):
                out[:, i, j] = np.einsum("nabc,abco->no", padded[:, i : i + 3, j : j + 3], kernel) + bias
        out = np.maximum(out, 0)[:, : height // 2 * 2, : width // 2 * 2]
        maps = out.reshape(n, height // 2, 2, width // 2, 2, -1).max(axis=(2, 4))
    return maps.reshape(len(maps), -1) @ weights[-2].astype(np.float64) + weights[-1]


@pytest.mark.parametrize("colour", [False, True])
def test_logits_are_those_of_the_layers(data, colour):
    own = in_colour(data, 40) if colour else data
    model = KerasCNN(channels=(4, 6), epochs=1).fit(own, np.arange(40), seed=1)
    x = own.x[:40]
    expected = blocks(model.network.get_weights(), x if colour else x[:, None])
    assert model.network.count_params() == (4 * 9 * (3 if colour else 1) + 4) + (6 * 9 * 4 + 6) + (10 * 6 * 4 + 10)
    np.testing.assert_allclose(model.logits(x), expected, atol=1e-5)


def test_it_fits_the_rows_generalises_and_repeats(data, tmp_path):
    recipe, rows = KerasCNN(channels=(8, 16), epochs=30), np.random.default_rng(0).permutation(len(data.y))[:600]
    model = recipe.fit(data, rows, seed=1)
    logits = model.logits(data.x)
    right = logits.argmax(axis=1) == data.y
    assert right[rows].mean() > 0.99
    assert np.delete(right, rows).mean() > 0.95
    model.save(tmp_path)
    np.testing.assert_array_equal(recipe.load(tmp_path, data.shape, 10).logits(data.x), logits)
    short = KerasCNN(channels=(4,), epochs=2)
    first, again, other = (short.fit(data, rows, seed=seed).logits(data.x) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_answers_do_not_depend_on_how_many_are_asked_at_once(data, monkeypatch):
    from privassay.models import _keras

    model = KerasCNN(channels=(4,), epochs=1).fit(data, np.arange(40), seed=1)
    whole = model.logits(data.x[:100])
    monkeypatch.setattr(_keras, "AT_ONCE", 33)
    np.testing.assert_allclose(model.logits(data.x[:100]), whole, atol=1e-6)
    assert model.logits(data.x[:0]).shape == (0, 10)


@pytest.mark.parametrize("shape", [(64,), (3, 8, 1), (2, 2, 8, 8)])
def test_records_that_are_no_pictures_are_refused(shape):
    pytest.importorskip("tensorflow", reason="needs the [keras] extra")
    with pytest.raises(UsageError, match=r"must be pictures \(h, w\) or \(c, h, w\) with sides of at least 4"):
        KerasCNN().untrained(shape, 10, seed=0)


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [("channels", (), "at least one block"), ("channels", (4, 0), "> 0"), ("momentum", 1.0, "at least 0 and below 1")],
)
def test_a_parameter_out_of_range_is_named(field, value, allowed):
    with pytest.raises(UsageError, match=rf"^{field}=.*: must be {allowed}$"):
        KerasCNN(**{field: value})
