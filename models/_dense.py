"""Many multilayer perceptrons of one shape as one program: weights stacked, gradients written out.

Every product is a batched matrix product over the stack, so the calls that a step costs are shared by all its models,
and buffers are allocated once: memory that is fresh in every step cost more than the arithmetic on it. Slice s depends
on nothing but the weights, records and labels of model s, on a CPU byte for byte. For that every width is padded with
zeros to whole cache lines: a product took other roundings where a model's slice was not aligned like the first one's.

One path for CPU and CUDA: everything lives on the device of the weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

_LINE = 16  # numbers of four bytes in a cache line

Arithmetic = Literal["float32", "bfloat16"]


class Workspace:
    """Tensors by name and shape, allocated when first asked for and used again. Contents are whatever was left."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._tensors: dict[tuple[str, tuple[int, ...]], Tensor] = {}

    def __call__(self, name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
        """The tensor of that name and shape."""
        key = (name, shape)
        if key not in self._tensors:
            self._tensors[key] = torch.empty(shape, dtype=dtype, device=self._device)
        return self._tensors[key]


class DenseStack:
    """S perceptrons with linear layers, an activation between them and softmax cross-entropy at the end.

    Widths are padded: `inputs` and `outputs` below are multiples of 16. Padding holds zeros and learns nothing.

    Attributes:
        sizes: (inputs, outputs) of each layer without padding.
        weights: one tensor a layer, float32 (S, inputs, outputs).
        biases: one tensor a layer, float32 (S, 1, outputs).
        parameters: weights, then biases.
        slopes: a tensor for each of `parameters`: what `accumulate` adds the gradient to.
    """

    def __init__(self, modules: Sequence[nn.Sequential], arithmetic: Arithmetic, device: torch.device) -> None:
        """Stack copies of the parameters of `modules`, equal in shape.

        Args:
            modules: each `Flatten`, then `Linear` layers with `Tanh` or `ReLU` between them.
            arithmetic: type of the factors of every matrix product. Parameters, sums and all else are float32.
            device: where to train.
        """
        first = _linear(modules[0])
        self.sizes = [(layer.in_features, layer.out_features) for layer in first]
        shapes = [(padded(inputs), padded(outputs)) for inputs, outputs in self.sizes]
        self.weights = [torch.zeros((len(modules), *shape), device=device) for shape in shapes]
        self.biases = [torch.zeros((len(modules), 1, outputs), device=device) for _, outputs in shapes]
        with torch.no_grad():
            for model, module in enumerate(modules):
                for own, (weight, bias) in zip(_linear(module), self.layers(model), strict=True):
                    weight.copy_(own.weight.T)
                    bias.copy_(own.bias)
        self._rectified = any(isinstance(part, nn.ReLU) for part in modules[0])
        self.parameters = [*self.weights, *self.biases]
        self.slopes = [torch.zeros_like(parameter) for parameter in self.parameters]
        self._workspace = Workspace(device)
        self._dtype = getattr(torch, arithmetic)
        self._factors = [weight.to(self._dtype) for weight in self.weights]  # the weights themselves in float32
        self._inputs: list[Tensor] = []
        self._activated: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.weights[0])

    def layers(self, model: int) -> list[tuple[Tensor, Tensor]]:
        """Views of the weights (inputs, outputs) and biases (outputs,) of each layer of one model, without padding."""
        return self._views(model, self.weights, self.biases)

    def layer_slopes(self, model: int) -> list[tuple[Tensor, Tensor]]:
        """The same views of the slopes."""
        half = len(self.weights)
        return self._views(model, self.slopes[:half], self.slopes[half:])

    def _views(self, model: int, matrices: list[Tensor], rows: list[Tensor]) -> list[tuple[Tensor, Tensor]]:
        return [
            (matrix[model, :inputs, :outputs], row[model, 0, :outputs])
            for matrix, row, (inputs, outputs) in zip(matrices, rows, self.sizes, strict=True)
        ]

    def forward(self, records: Tensor, chosen: Tensor) -> Tensor:
        """Logits float32 (S, n, padded classes) of `records[chosen[s]]` for each model s; padding is -infinity.

        Args:
            records: all records (all, padded features), in the type of the products.
            chosen: int64 (S, n), rows of `records`.
        """
        models, n = chosen.shape
        flat = self._workspace("records", (models * n, records.shape[1]), self._dtype)
        torch.index_select(records, 0, chosen.reshape(-1), out=flat)
        self._inputs, self._activated = [flat.view(models, n, -1)], []
        last = len(self.weights) - 1
        for layer in range(last):
            hidden = self._affine(layer)
            hidden.relu_() if self._rectified else _tanh(hidden)
            self._activated.append(hidden)
            self._inputs.append(self._cast(f"input {layer + 1}", hidden))
        logits = self._affine(last)
        logits[:, :, self.sizes[-1][1] :] = -torch.inf
        return logits

    def backward(self, logits: Tensor, labels: Tensor, scale: float) -> list[Tensor]:
        """Gradients of `scale` x each record's own cross-entropy by the outputs of each layer: float32 (S, n, outputs).

        Args:
            logits: what `forward` returned.
            labels: int64 (S, n).
            scale: 1 / n for the mean over the batch.
        """
        delta = torch.softmax(logits, dim=2)
        delta.scatter_add_(2, labels.unsqueeze(2), delta.new_full((), -1.0).expand(*labels.shape, 1))
        delta.mul_(scale)
        deltas = [delta]
        for layer in range(len(self.weights) - 1, 0, -1):
            deltas.append(self._through(layer, deltas[-1]))
        return deltas[::-1]

    def accumulate(self, deltas: Sequence[Tensor], keep: float) -> None:
        """Set slopes to `keep` x slopes + the gradient, summed over records, for `deltas` as `backward` gives them."""
        half = len(self.weights)
        for layer, delta in enumerate(deltas):
            self._add_product(layer, delta, keep)
            self.slopes[half + layer].mul_(keep).add_(delta.sum(dim=1, keepdim=True))

    def squared_inputs(self) -> list[Tensor]:
        """Squared L2 norm of the inputs of each layer for each record of the last `forward`: float32 (S, n)."""
        return [torch.linalg.vector_norm(inputs, dim=2, dtype=torch.float32).square() for inputs in self._inputs]

    def weights_changed(self) -> None:
        """Must be called after every change of the weights."""
        for weight, factor in zip(self.weights, self._factors, strict=True):
            if factor is not weight:
                factor.copy_(weight)

    def copy_into(self, modules: Sequence[nn.Sequential]) -> None:
        """Write the parameters of each model into its module, built like those of the constructor."""
        with torch.no_grad():
            for model, module in enumerate(modules):
                for own, (weight, bias) in zip(_linear(module), self.layers(model), strict=True):
                    own.weight.copy_(weight.T)
                    own.bias.copy_(bias)

    def _affine(self, layer: int) -> Tensor:
        inputs, weight, bias = self._inputs[layer], self._factors[layer], self.biases[layer]
        shape = (*inputs.shape[:2], weight.shape[2])
        out = self._workspace(f"output {layer}", shape)
        if weight.dtype == torch.float32:
            return torch.baddbmm(bias, inputs, weight, out=out)
        product = torch.bmm(inputs, weight, out=self._workspace(f"product {layer}", shape, self._dtype))
        return out.copy_(product).add_(bias)

    def _cast(self, name: str, tensor: Tensor) -> Tensor:
        """`tensor` in the type of the products."""
        if self._dtype == torch.float32:
            return tensor
        return self._workspace(name, tuple(tensor.shape), self._dtype).copy_(tensor)

    def _through(self, layer: int, delta: Tensor) -> Tensor:
        """Take the gradient of a layer's outputs back to the outputs of the layer below, before their activation."""
        weight, below = self._factors[layer], self._activated[layer - 1]
        product = self._workspace(f"back {layer}", tuple(below.shape), self._dtype)
        torch.bmm(self._cast(f"delta {layer}", delta), weight.transpose(1, 2), out=product)
        out = self._workspace(f"delta out {layer}", tuple(below.shape))
        wide = product if product.dtype == torch.float32 else out.copy_(product)
        if self._rectified:
            torch.ops.aten.threshold_backward.grad_input(wide, below, 0, grad_input=out)
        else:
            torch.ops.aten.tanh_backward.grad_input(wide, below, grad_input=out)
        return out

    def _add_product(self, layer: int, delta: Tensor, keep: float) -> None:
        inputs, slope = self._inputs[layer].transpose(1, 2), self.slopes[layer]
        if self._dtype == torch.float32:
            slope.baddbmm_(inputs, delta, beta=keep)
            return
        low = self._cast(f"delta {layer}", delta)
        product = torch.bmm(inputs, low, out=self._workspace(f"slope {layer}", tuple(slope.shape), self._dtype))
        wide = self._workspace(f"wide slope {layer}", tuple(slope.shape)).copy_(product)  # sums of two types are slow
        torch.add(wide, slope, alpha=keep, out=slope)


def _tanh(tensor: Tensor) -> None:
    """Hyperbolic tangent in place, within 2e-7: on a CPU a third of the time of torch's own."""
    tensor.mul_(2).sigmoid_().mul_(2).sub_(1)


def padded(width: int) -> int:
    """The width in whole cache lines."""
    return -(-width // _LINE) * _LINE


def _linear(module: nn.Sequential) -> list[nn.Linear]:
    return [part for part in module if isinstance(part, nn.Linear)]
