"""Components of one experiment file, made from its sections."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from . import catalog, config
from .dataset_checks import check_dataset
from .errors import UsageError
from .evaluation import NamedAttack
from .protocols import DatasetSource
from .types import Dataset, Identity


@dataclass(frozen=True)
class Builder:
    """Makes components from sections of one experiment file.

    Attributes:
        path: the file; paths and modules that it names are looked for in its folder.
    """

    path: Path

    @property
    def source(self) -> str:
        """The file, for errors."""
        return str(self.path)

    def __call__(self, kind: catalog.Kind, key: str, section: config.Component) -> tuple[Any, Identity]:
        """A component and its identity, from the section `key`.

        Raises:
            UsageError: as `catalog.build`, or a function that it names cannot be imported.
        """
        name = config.component_name(key, section)
        plain = kind == "datasets" or key == "evaluation_classifier"
        where = f"{self.source}: {key}" if plain else f"{self.source}: {kind}.{key}"
        component = catalog.build(kind, name, config.parameters(section), where, self.path.parent)
        try:
            return component, catalog.identity(component, name)
        except UsageError as error:
            raise UsageError(f"{where}: {error}") from error

    def attack(self, key: str, section: config.Component) -> NamedAttack:
        """An attack, from the section `key`.

        Raises:
            UsageError: as above.
        """
        own, repeats = config.split_repeats(section, f"{self.source}: attacks.{key}")
        return NamedAttack(key, *self("attacks", key, own), repeats)

    def dataset(self, loader: DatasetSource, key: str) -> Dataset:
        """The records of `loader`, checked.

        Raises:
            UsageError: they cannot be read, or nothing can be measured on them.
        """
        try:
            dataset = loader.load()
        except UsageError as error:
            raise UsageError(f"{self.source}: {key}: {error}") from error
        check_dataset(dataset, f"{self.source}: {key}")
        return dataset
