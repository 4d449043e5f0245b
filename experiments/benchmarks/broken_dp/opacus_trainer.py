"""Opacus as a subject of the bench, driven by the loop of the project's own DP-SGD defence."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from ....defenses._dpsgd_torch import Noise, private_descent
from ....harness.seeds import derive, generator
from ....harness.types import Float64, Ints
from ....models._torch import one_thread
from .network import Network
from .trainers import Plan, Release, Trainer


class OpacusTrainer(Trainer):
    """Gradients, clipping, noise and steps are those of Opacus; batches are Poisson."""

    name = "Opacus"

    def train(self, x: Float64, y: Ints, plan: Plan, seed: int) -> Release:
        """Train the bench's network as a torch module, in double precision."""
        network = Network(x.shape[1])
        start = network.start(seed)
        module = _module(network, start)
        path: list[Float64] = []

        def watched() -> Iterator[Tensor]:
            """The batches; whenever one is asked for, the step before it is done."""
            for step, batch in enumerate(self.batches(len(y), plan, generator(seed, "batches"))):
                if step:
                    path.append(_flat(module))
                yield torch.from_numpy(batch)

        source = torch.Generator().manual_seed(derive(seed, "noise"))
        noise = Noise(plan.noise_multiplier, plan.max_grad_norm, plan.expected_batch, source)
        optimizer = torch.optim.SGD(module.parameters(), lr=plan.learning_rate, momentum=plan.momentum)
        with one_thread():
            private_descent(module, optimizer, noise, torch.from_numpy(x), torch.from_numpy(y), watched())
        path.append(_flat(module))
        return Release(start, np.array(path), *self.normaliser(x))


def _module(network: Network, theta: Float64) -> nn.Sequential:
    """The network as torch layers; torch keeps weights as (outputs, inputs)."""
    layers = [nn.Linear(network.features, network.hidden), nn.Linear(network.hidden, network.classes)]
    module = nn.Sequential(layers[0], nn.Tanh(), layers[1]).double()
    with torch.no_grad():
        for parameter, values in zip(module.parameters(), network.matrices(theta), strict=True):
            parameter.copy_(torch.from_numpy(values.T))
    return module


def _flat(module: nn.Sequential) -> Float64:
    """Parameters in the order of `Network`."""
    return np.concatenate([parameter.detach().numpy().T.ravel() for parameter in module.parameters()])
