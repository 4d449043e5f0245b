"""Functions of the user's own code, named `module:function` in an experiment file."""

from __future__ import annotations

import ast
import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import UsageError, told


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
            raise UsageError(f"{self.name}: cannot be imported ({told(error)})") from error
        function = getattr(module, attribute, None)
        if not callable(function):
            raise UsageError(f"{self.name}: {module_name} has no function {attribute!r}")
        return function  # type: ignore[no-any-return]

    @property
    def sha256(self) -> str:
        """Digest of the user's code behind the function; "unknown" where its module has no file.

        In it are the file of the named module; that of the module which defines the function, unless installed or the
        standard library's; and, from there, the files in `folder` and below that `import` statements name, wherever in
        a file they stand and whether or not they were carried out, so that the digest does not depend on what else is
        loaded. Not in it: installed packages, modules found elsewhere, what is imported by `importlib`, data files.

        Raises:
            UsageError: as `load`.
        """
        function, folder = self.load(), self.folder.resolve()
        name = self.name.partition(":")[0]
        start = {named} if (named := _file(name)) else set()
        defining = getattr(function, "__module__", None)  # of a functools.partial: functools
        if isinstance(defining, str) and (defined := _file(defining)) and _users(defining, defined):
            start.add(defined)
        if not start:
            return "unknown"
        if not _ours(name):
            start = _reached(start | set(_beside(folder, folder, name.split("."))), folder)
        digest = hashlib.sha256()
        for written, path in sorted((_written(path, folder), path) for path in start):
            digest.update(f"{written} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
        return digest.hexdigest()

    def _module(self, name: str) -> Any:
        folder = str(self.folder.resolve())
        if folder not in sys.path:
            sys.path.insert(0, folder)
        return importlib.import_module(name)


def _file(module: str) -> Path | None:
    """File of a loaded module."""
    file = getattr(sys.modules.get(module), "__file__", None)
    return Path(file).resolve() if file else None


def _ours(module: str) -> bool:
    return module.partition(".")[0] == __name__.partition(".")[0]


def _installed(path: Path) -> bool:
    return not {"site-packages", "dist-packages"}.isdisjoint(path.parts)


def _users(module: str, path: Path) -> bool:
    """Whether a module is neither installed, nor of the standard library, nor ours."""
    standard = path.is_relative_to(Path(sysconfig.get_path("stdlib")).resolve())
    return not (standard or _installed(path) or _ours(module))


def _written(path: Path, folder: Path) -> str:
    """A file's name in the digest: no path of this machine."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name


def _reached(files: set[Path], folder: Path) -> set[Path]:
    """`files`, and those in `folder` that they import, and so on."""
    found, waiting = set(files), list(files)
    while waiting:
        new = set(_imported(waiting.pop(), folder)) - found
        found |= new
        waiting += new
    return found


def _imported(path: Path, folder: Path) -> Iterator[Path]:
    """Files in `folder` that the import statements of one file name."""
    if path.suffix != ".py" or not path.is_relative_to(folder):
        return
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # whoever carries such an import out gets the error
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _beside(folder, folder, alias.name.split("."))
        elif isinstance(node, ast.ImportFrom):
            root = path.parents[min(node.level, len(path.parents)) - 1] if node.level else folder
            module = node.module.split(".") if node.module else []
            for alias in node.names:
                yield from _beside(root, folder, [*module, alias.name])


def _beside(root: Path, folder: Path, parts: list[str]) -> Iterator[Path]:
    """Files in `folder` that an import of a dotted name reads, looked for from `root`: of its packages and its own."""
    if _ours(parts[0]):
        return
    for count in range(1, len(parts) + 1):
        place = root.joinpath(*parts[:count])
        for file in (place.with_suffix(".py"), place / "__init__.py"):
            path = file.resolve()
            if path.is_file() and path.is_relative_to(folder) and not _installed(path.relative_to(folder)):
                yield path
