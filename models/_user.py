"""Calling functions of the user's own code; what they raise ends as one line."""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

from ..harness.errors import PrivassayError, UsageError, told
from ..harness.user_code import UserFunction


def called(function: UserFunction, *arguments: object) -> Any:
    """Return what `function` gives for `arguments`.

    Raises:
        UsageError: the function cannot be imported, or raised something.
    """
    loaded = function.load()
    try:
        return loaded(*arguments)
    except PrivassayError:
        raise
    except Exception as error:  # whatever the user's code does
        raise UsageError(f"{function.name}: {one_line(error, function)}") from error


def one_line(error: Exception, function: UserFunction) -> str:
    """Type and message of `error` as `told`, and where in the folder of `function` it came up."""
    folder = str(function.folder.resolve())
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename.startswith(folder)]
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{told(error)}{where}"
