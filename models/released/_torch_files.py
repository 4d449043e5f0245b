"""Weights of torch modules in files: safetensors and `.pt` that hold tensors only; a `.pt` with more is a pickle."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from ...harness.errors import UsageError, told
from ...harness.trust import Trust
from ...harness.types import Dataset, Float32
from ...harness.user_code import UserFunction
from ._answers import Ask

if TYPE_CHECKING:
    from torch import nn


def torch_module(path: Path, build: UserFunction | None, dataset: Dataset, trust: Trust) -> nn.Module:
    """Read a module, or build one and read its weights.

    Args:
        path: `.safetensors`, `.pt` or `.pth`.
        build: takes shape and number of classes, returns the module that the weights belong to.
        dataset: whose records it shall take.
        trust: asked before a pickle is read.

    Raises:
        UsageError: the file cannot be read, needs trust or `build`, or holds weights of another architecture.
    """
    from torch import nn

    held = _safetensors(path) if path.suffix == ".safetensors" else _torch_file(path, trust)
    if isinstance(held, nn.Module):
        return held.eval()
    if not isinstance(held, Mapping) or any(not hasattr(value, "shape") for value in held.values()):
        found = f"keys {', '.join(map(str, held))}" if isinstance(held, Mapping) else f"a {type(held).__name__}"
        raise UsageError(f"{path}: holds {found[:200]}, must hold a state dict: names of weights to tensors")
    if build is None:
        raise UsageError(f"{path}: holds weights without an architecture; `build` must name a function that makes it")
    module = _built(build, dataset)
    try:
        module.load_state_dict(dict(held))
    except RuntimeError as error:
        raise UsageError(f"{path}: its weights are not those of {build.name} ({told(error)})") from error
    return module.eval()


def by_module(module: nn.Module) -> Ask:
    """How a module is asked: on the CPU, without gradients."""
    import torch

    def ask(x: Float32) -> Any:
        with torch.no_grad():
            return module(torch.as_tensor(x, dtype=torch.float32)).numpy()

    return ask


def _built(build: UserFunction, dataset: Dataset) -> nn.Module:
    from torch import nn

    try:
        module = build.load()(dataset.shape, dataset.n_classes)
    except UsageError:
        raise
    except Exception as error:  # whatever the user's code does
        raise UsageError(f"{build.name}: failed ({told(error)})") from error
    if not isinstance(module, nn.Module):
        raise UsageError(f"{build.name}: returned a {type(module).__name__}, must return a torch module")
    return module


def _safetensors(path: Path) -> Any:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error


def _torch_file(path: Path, trust: Trust) -> Any:
    import torch

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a remark on old pickles, which the refusal says better
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError:
        trust.require(path, "holds more than tensors, and a pickle runs code when it is read")
    except Exception as error:  # zip, eof and torch's own
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error
    try:
        return torch.load(path, map_location="cpu", weights_only=False)
    except Exception as error:  # a pickle may raise anything
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error
