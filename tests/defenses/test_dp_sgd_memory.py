"""What a module keeps of the records beside its gradients gets no noise: no epsilon is claimed for such a module."""

import textwrap

import numpy as np
import pytest
import torch
from privassay.defenses import _dpsgd_torch_checks
from privassay.defenses.dp_sgd import DPSGD
from privassay.harness.accounting import dp_sgd_claim
from privassay.harness.errors import UsageError
from privassay.harness.types import TrainingData
from privassay.harness.user_code import UserFunction
from privassay.models.torch_module import TorchModule

MODULES = """
    import torch
    from torch import nn

    def sequence(shape, n_classes, *between):
        return nn.Sequential(nn.Flatten(), nn.Linear(shape[0] * shape[1], 8), *between, nn.Linear(8, n_classes))

    def dropout(shape, n_classes):
        return sequence(shape, n_classes, nn.Dropout(0.3))

    def instance_norm(shape, n_classes):
        norm = nn.InstanceNorm1d(6, track_running_stats=True)
        return nn.Sequential(norm, nn.Flatten(), nn.Linear(shape[0] * shape[1], n_classes))

    def instance_norm_untracked(shape, n_classes):
        return nn.Sequential(nn.InstanceNorm1d(6), nn.Flatten(), nn.Linear(shape[0] * shape[1], n_classes))

    class Keeps(nn.Module):
        def __init__(self, keep):
            super().__init__()
            self.register_buffer("seen", torch.zeros(8))
            self.frozen = nn.Parameter(torch.zeros(8), requires_grad=False)
            self.weight = nn.Linear(8, 8)
            self.notes, self.total, self.calls, self.keep = {"mean": [torch.zeros(8)]}, 0.0, 0, keep

        def forward(self, x):
            if self.training:
                self.calls += 1
                self.keep(self, x.detach().mean(dim=0))
            return self.weight(x)

    def in_buffer(part, mean):
        part.seen += mean

    def in_buffer_later(part, mean):
        if part.calls > 3:
            part.seen += mean

    def in_frozen(part, mean):
        part.frozen.data += mean

    def in_weight(part, mean):
        part.weight.weight.data += mean

    def in_attribute(part, mean):
        part.last = mean

    def in_notes(part, mean):
        part.notes["mean"][0] += mean

    def in_float(part, mean):
        part.total += float(mean.sum())

    def keeps(keep):
        return lambda shape, n_classes: sequence(shape, n_classes, Keeps(keep))

    keeps_in_buffer, keeps_in_buffer_later, keeps_in_frozen = keeps(in_buffer), keeps(in_buffer_later), keeps(in_frozen)
    keeps_in_weight, keeps_in_attribute = keeps(in_weight), keeps(in_attribute)
    keeps_in_notes, keeps_in_float = keeps(in_notes), keeps(in_float)

    class OpacusRecurrent(nn.Module):
        def __init__(self, n_classes):
            super().__init__()
            from opacus.layers import DPLSTM
            self.cells = DPLSTM(6, 8, batch_first=True)
            self.last = nn.Linear(8, n_classes)

        def forward(self, x):
            return self.last(self.cells(x)[0][:, -1])

    def opacus_recurrent(shape, n_classes):
        return OpacusRecurrent(n_classes)
"""


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "keeping_modules.py").write_text(textwrap.dedent(MODULES))
    return lambda build: TorchModule(UserFunction(f"keeping_modules:{build}", folder), batch_size=20)


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(100, 6, 6)), rng.integers(0, 5, 100)
    return TrainingData(x.astype(np.float32), y, 5, (-9.0, 9.0), units=np.arange(100) // 2)


def private(made, data, unit="record"):
    defense = DPSGD(None, noise_multiplier=1.0, target_delta=1e-3, epochs=2, unit=unit)
    return next(defense.train(made, data, [np.arange(100)], [0]))


KEPT = {
    "instance_norm": r"0\.running_mean",
    "keeps_in_buffer": r"2\.seen",
    "keeps_in_buffer_later": r"2\.seen",
    "keeps_in_frozen": r"2\.frozen",
    "keeps_in_weight": r"2\.weight\.weight",
    "keeps_in_attribute": r"2\.last",
    "keeps_in_notes": r"2\.notes\['mean'\]\[0\]",
    "keeps_in_float": r"2\.total",
}


@pytest.mark.parametrize("unit", ["record", "user"])
@pytest.mark.parametrize("build", KEPT)
def test_modules_that_keep_what_they_see_are_refused_by_what_keeps_it(build, unit, recipe, data):
    """Nothing adds noise there, so an epsilon would be claimed for a model that holds means of its members."""
    with pytest.raises(UsageError, match=rf"{KEPT[build]}['\"] changes while the module trains") as refused:
        private(recipe(build), data, unit)
    assert "\n" not in str(refused.value)


def test_the_look_at_what_a_module_keeps_draws_nothing(recipe, data):
    module = recipe("dropout").untrained(data.shape, 5, seed=0)
    x, y = torch.from_numpy(data.x[:6]), torch.from_numpy(data.y[:6])
    state = torch.get_rng_state()
    _dpsgd_torch_checks._refuse_memory(module, x, y)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("build", ["instance_norm_untracked", "opacus_recurrent"])
def test_statistics_of_one_record_and_the_layers_of_opacus_pass(build, recipe, data):
    assert 0 < dp_sgd_claim(private(recipe(build), data).mechanism).epsilon < 100
