"""Any torch module of the user's, trained by our loop or by the user's own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..harness.types import Ints, TrainingData
from ..harness.user_code import UserFunction
from ._torch_recipe import TorchSettings

if TYPE_CHECKING:
    from torch import nn

    from ._torch import Loop, TorchModel


@dataclass(frozen=True)
class TorchModule(TorchSettings):
    """A module that the user's code builds. Settings of the descent are those of `DescentSettings`.

    Both functions are called with torch's global generator (that of the CPU) set from the model's seed, and on one
    thread, so that the same seed gives the same bytes. So is our own loop where the module draws random numbers while
    it trains, e.g. in a dropout layer; then only one model is trained at a time.

    Attributes:
        build: `build(shape, n_classes)` returns a fresh `torch.nn.Module` on the CPU that maps float32 records
            (n, *shape) to logits (n, n_classes); no softmax at its end.
        train: `train(module, x, y, seed)` trains the module in place and returns None; `x` is a float32 tensor
            (n, *shape), `y` an int64 tensor (n,), both on the CPU. Settings of the descent then mean nothing. None:
            minibatch descent on the mean cross-entropy by these settings.
    """

    build: UserFunction
    train: UserFunction | None = None

    def check(self, few: TrainingData) -> None:
        """Let the user's function build a module for such records once.

        Raises:
            UsageError: as `untrained`.
        """
        self.untrained(few.shape, few.n_classes, seed=0)

    def fit_pool(self, data: TrainingData, rows: Sequence[Ints], seeds: Sequence[int]) -> Iterator[TorchModel]:
        """Yield a model for each entry of `rows` and `seeds`, in order; each is the one that `fit` gives.

        Raises:
            UsageError: the user's code fails, builds no such module, or the trained module gives NaN.
        """
        from . import _torch_module

        return _torch_module.fit_pool(self, data, rows, seeds)

    def fit_by(self, loop: Loop, data: TrainingData, rows: Ints, seed: int) -> TorchModel:
        """Build the module and let `loop(module, x, y)` train it in place: for a defence's rules.

        Raises:
            UsageError: `train` is given, which cannot follow those rules; or as `fit_pool`.
        """
        from . import _torch_module

        return _torch_module.fit_by(loop, self, data, rows, seed)

    def untrained(self, shape: tuple[int, ...], n_classes: int, seed: int) -> nn.Module:
        """Module as the user's function builds it, records (n, *shape) to logits (n, n_classes).

        Raises:
            UsageError: the function fails, or what it returns is no such module.
        """
        from . import _torch_module

        return _torch_module.built(self.build, shape, n_classes, seed)
