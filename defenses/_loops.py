"""Which module has the loops for a recipe's framework."""

from __future__ import annotations

from types import ModuleType

from ..harness.protocols import Recipe


def loops_for(recipe: Recipe) -> ModuleType:
    """The loops for the framework of `recipe`, torch or Keras, imported only now.

    Both modules have functions of the same names and parameters, which return a loop for the recipe's `fit_by`; that of
    torch has `student_of_numbers` too, since it alone has regressors.

    Raises:
        UsageError: the framework is not installed.
    """
    if recipe.framework == "keras":
        from . import _regularised_keras

        return _regularised_keras
    from . import _regularised_torch

    return _regularised_torch
