import dataclasses

import numpy as np
import pytest
import torch
from privassay.defenses._regularised_torch import student
from privassay.defenses.distillation import Distillation
from privassay.defenses.none import NoDefense
from privassay.harness.errors import UsageError
from privassay.harness.seeds import derive
from privassay.tests.support.regularised import SMALL, digits, one, weights


def with_labels(rows, change):
    data = digits()[0]
    y = data.y.copy()
    y[rows] = change(y[rows])
    return dataclasses.replace(data, y=y)


@pytest.mark.parametrize("defense", [Distillation(), Distillation(on="members")], ids=repr)
def test_labels_of_public_records_are_never_read(defense):
    data, members, _ = digits()
    plain = weights(one(defense, SMALL, data, members))
    hidden = with_labels(data.public, lambda y: np.full_like(y, -99))  # to read one would fail
    np.testing.assert_array_equal(weights(one(defense, SMALL, hidden, members)), plain)
    other = with_labels(members[:20], lambda y: (y + 1) % 10)  # what the teacher learns comes through
    assert (weights(one(defense, SMALL, other, members)) != plain).any()


@pytest.mark.parametrize(("on", "temperature"), [("public", 1.0), ("public", 3.0), ("members", 2.0)])
def test_the_student_is_the_naive_one_of_the_plain_teacher(on, temperature):
    data, members, _ = digits()
    seen = data.public if on == "public" else members
    teacher, seed = one(NoDefense(), SMALL, data, members, seed=1), derive(1, "student")
    soft = torch.softmax(torch.from_numpy(teacher.logits(data.x[seen])) / temperature, dim=1)
    module, x = SMALL.untrained(data.shape, 10, seed), torch.from_numpy(data.x[seen])
    optimizer = torch.optim.SGD(module.parameters(), SMALL.learning_rate, momentum=SMALL.momentum)
    order = torch.Generator().manual_seed(derive(seed, "batches"))
    for _ in range(SMALL.epochs):
        for batch in torch.randperm(len(seen), generator=order).split(SMALL.batch_size):
            optimizer.zero_grad()
            answers = torch.log_softmax(module(x[batch]) / temperature, dim=1)
            divergence = torch.nn.functional.kl_div(answers, soft[batch], reduction="batchmean")
            (temperature**2 * divergence).backward()
            optimizer.step()
    expected = torch.cat([p.detach().flatten() for p in module.parameters()]).numpy()
    found = np.concatenate(
        [p.numpy().ravel() for p in one(Distillation(on, temperature), SMALL, data, members).module.parameters()]
    )
    np.testing.assert_allclose(found, expected, atol=2e-4)


def test_the_gradient_is_the_temperature_times_the_difference_of_the_answers():
    # With all weights 0 the gradient of the last bias is T (uniform - teacher at T), on average.
    answers = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32) * 4

    class Bias(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(3))

        def forward(self, x):
            return self.bias.expand(len(x), 3)

    class Once:
        epochs, batch_size = 1, 5

        def optimizer_for(self, module):
            return torch.optim.SGD(module.parameters(), lr=1.0)

    module, temperature = Bias(), 2.5
    student(answers, temperature, Once(), 0)(module, torch.zeros(5, 1), torch.full((5,), -99))
    soft = torch.softmax(torch.from_numpy(answers) / temperature, dim=1).mean(dim=0)
    torch.testing.assert_close(-module.bias.data, temperature * (1 / 3 - soft))


def test_the_student_answers_as_its_teacher_does():
    data, members, others = digits()
    recipe = dataclasses.replace(SMALL, epochs=20)
    teacher = one(NoDefense(), recipe, data, members).logits(data.x[others]).argmax(axis=1)
    for on in ("public", "members"):
        found = one(Distillation(on=on), recipe, data, members).logits(data.x[others]).argmax(axis=1)
        assert (found == teacher).mean() > 0.9


def test_without_public_records_it_is_an_error():
    data, members, _ = digits()
    bare = dataclasses.replace(data, public=np.arange(0))
    with pytest.raises(UsageError, match="public records"):
        one(Distillation(), SMALL, bare, members)
    one(Distillation(on="members"), SMALL, bare, members)


@pytest.mark.parametrize("wrong", [{"on": "private"}, {"temperature": 0.0}])
def test_a_parameter_out_of_range_is_refused(wrong):
    with pytest.raises(UsageError, match=next(iter(wrong))):
        Distillation(**wrong)
