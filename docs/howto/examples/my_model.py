"""A torch network and the loop that trains it, as they stand in a script."""

import math

import torch
from torch import nn


def build(shape, n_classes):
    """A fresh network from records of `shape` to logits; no softmax at its end."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(math.prod(shape), 128),
        nn.GroupNorm(8, 128),
        nn.ReLU(),
        nn.Linear(128, n_classes),
    )


def train(module, x, y, seed):
    """Train `module` in place on tensors x and y; `seed` is set already, here for what draws by itself."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=0.01)
    batches = torch.Generator().manual_seed(seed)
    for _ in range(30):
        for rows in torch.randperm(len(x), generator=batches).split(64):
            optimizer.zero_grad()
            nn.functional.cross_entropy(module(x[rows]), y[rows]).backward()
            optimizer.step()
