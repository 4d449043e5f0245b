"""No defence: the baseline that every other candidate is compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..harness.types import Guarantee
from ._plain import PlainAnswers, PlainTraining


@dataclass(frozen=True)
class NoDefense(PlainAnswers, PlainTraining):
    """Plain training, plain answers."""

    guarantee: ClassVar[Guarantee] = "none"
