"""Functions of the user's own code, named `module:function` in an experiment file."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UsageError


@dataclass(frozen=True)
class UserFunction:
    """A function of the user's code.

    Attributes:
        name: `module:function`; modules beside the experiment file are found first, then installed ones.
        folder: folder of the experiment file.
    """

    name: str
    folder: Path

    def load(self) -> Callable[..., Any]:
        """Import the module and return the function.

        Raises:
            UsageError: the name has another form, the module cannot be imported, or holds no such function.
        """
        module_name, colon, attribute = self.name.partition(":")
        if not colon or not module_name or not attribute:
            raise UsageError(f"{self.name!r}: must be module:function")
        try:
            module = self._module(module_name)
        except Exception as error:  # whatever the user's module does when it is imported
            raise UsageError(f"{self.name}: cannot be imported ({type(error).__name__}: {error})") from error
        function = getattr(module, attribute, None)
        if not callable(function):
            raise UsageError(f"{self.name}: {module_name} has no function {attribute!r}")
        return function  # type: ignore[no-any-return]

    @property
    def sha256(self) -> str:
        """Digest of the module's file; what it imports is not in it.

        Raises:
            UsageError: as `load`.
        """
        file = sys.modules[self.load().__module__].__file__
        return hashlib.sha256(Path(file).read_bytes()).hexdigest() if file else "unknown"

    def _module(self, name: str) -> Any:
        folder = str(self.folder.resolve())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return importlib.import_module(name)
