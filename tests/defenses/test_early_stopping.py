import dataclasses

import numpy as np
import pytest
import torch
from privassay.defenses._regularised_torch import early_stopping, epochs, mean_loss, plain_loss
from privassay.defenses.early_stopping import EarlyStopping
from privassay.harness.errors import UsageError
from privassay.harness.seeds import derive
from privassay.models._torch import one_thread
from privassay.models.torch_mlp import TorchMLP
from privassay.tests.support.regularised import SMALL, digits, losses, one

LONG = TorchMLP(hidden=(64,), epochs=40, batch_size=16)


def tensors(rows):
    data = digits()[0]
    return torch.from_numpy(data.x[rows]), torch.from_numpy(data.y[rows])


def split_of(n, settings, seed):
    order = torch.randperm(n, generator=torch.Generator().manual_seed(derive(seed, "validation")))
    return order[: settings.held_out(n)], order[settings.held_out(n) :]


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@one_thread()
@pytest.mark.parametrize("patience", [1, 3, 40])
def test_it_keeps_the_best_epoch_before_patience_ran_out(patience):
    data, members, _ = digits()
    settings, seed = EarlyStopping(validation=0.25, patience=patience), 5
    x, y = tensors(members)
    held, used = split_of(len(y), settings, seed)
    assert len(held) == 75
    module = LONG.untrained(data.shape, 10, seed)
    history = [
        (torch.nn.functional.cross_entropy(module(x[held]), y[held]).item(), flat(module))
        for _ in epochs(module, plain_loss(LONG), LONG, seed, (x[used], y[used]))
    ]
    curve = [loss for loss, _ in history]
    best = 0
    for epoch, loss in enumerate(curve):  # the rule, said once more
        best = epoch if loss < curve[best] else best
        if epoch - best == patience:
            break
    stopped = LONG.untrained(data.shape, 10, seed)
    early_stopping(settings, LONG, seed)(stopped, x, y)
    torch.testing.assert_close(flat(stopped), history[best][1], rtol=0, atol=0)
    if patience < 40:
        assert best + patience < LONG.epochs - 1  # it did stop


def test_it_takes_fewer_epochs_and_fits_members_less():
    data, members, _ = digits()
    seen = []

    class Watched(TorchMLP):
        def untrained(self, shape, n_classes, seed):
            module = super().untrained(shape, n_classes, seed)
            module.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
            return module

    model = one(EarlyStopping(patience=2), Watched(hidden=(64,), epochs=40, batch_size=16), data, members)
    assert sum(seen) <= 20 * len(members)
    assert losses(model, data, members).mean() > 2 * losses(LONG.fit(data, members, 1), data, members).mean()


def test_no_step_follows_the_held_out_records():
    data, members, _ = digits()
    settings, recipe, seed = EarlyStopping(validation=0.2), dataclasses.replace(SMALL, epochs=1), 3
    held, used = (part.numpy() for part in split_of(len(members), settings, seed))

    def trained(changed):
        y = data.y.copy()
        y[members[changed]] = (y[members[changed]] + 1) % 10
        return losses(one(settings, recipe, dataclasses.replace(data, y=y), members, seed), data, members)

    nothing = trained(held[:0])  # after one epoch there is nothing to choose
    np.testing.assert_array_equal(trained(held), nothing)
    assert (trained(used[:1]) != nothing).any()


def test_the_loss_is_that_of_all_records_at_once_as_they_would_be_answered():
    module = torch.nn.Sequential(SMALL.untrained((8, 8), 10, seed=0), torch.nn.BatchNorm1d(10), torch.nn.Dropout())
    x, y = tensors(np.arange(1500))  # more than are answered together
    state = {name: value.clone() for name, value in module.state_dict().items()}
    found = mean_loss(SMALL, module, x, y)
    assert module.training
    assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert found == pytest.approx(torch.nn.functional.cross_entropy(module.eval()(x), y).item(), rel=1e-5)


def test_one_record_is_held_out_at_least_and_one_is_left():
    assert EarlyStopping(validation=0.1).held_out(3) == 1
    assert EarlyStopping(validation=0.25).held_out(300) == 75
    assert EarlyStopping().supports(SMALL, 2) is None
    assert "leaves none to train on" in EarlyStopping().supports(SMALL, 1)
    assert "torch" in EarlyStopping(validation=0.99).supports(SMALL, 10)


@pytest.mark.parametrize("wrong", [{"validation": 0.0}, {"validation": 1.0}, {"patience": 0}])
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        EarlyStopping(**wrong)
