"""Networks of Keras in `.keras` files, without Lambda layers and without code of other modules."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...harness.errors import UsageError
from ...harness.trust import Trust
from ...harness.types import Float32
from ._answers import Ask, told

if TYPE_CHECKING:
    import tensorflow as tf

_PARTS = ("activations", "constraints", "initializers", "layers", "models", "regularizers")
_MODULES = frozenset(("keras", *(f"keras.{part}" for part in _PARTS)))
"""Modules whose classes a file may name: they hold building blocks only. `keras.utils` can download files."""

_FUNCTIONAL = ("keras.src.engine.functional", "Functional")
"""What Keras 2.15 writes for a network with branches."""


def keras_network(path: Path, trust: Trust) -> tf.keras.Model:
    """Read a network.

    Keras's safe mode refuses lambdas, but Keras 2.15 imports any module that the file names and takes any function
    from it (CVE-2025-1550 is the same door in Keras 3). So the file's description is looked at first.

    Raises:
        UsageError: TensorFlow is not installed, the file cannot be read, or it names code and trust was not given.
    """
    foreign = sorted(set(_foreign(_description(path))))
    if foreign:
        trust.require(path, f"names code that is not of Keras's layers: {', '.join(foreign)}")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        import tensorflow as tf
    except ImportError as error:
        raise UsageError(
            f"{path}: needs TensorFlow ({error}): install it with pip install 'privassay[keras]'"
        ) from error
    try:
        return tf.keras.models.load_model(path, compile=False, safe_mode=not foreign)
    except Exception as error:  # Keras, h5py and zipfile have no common base
        raise UsageError(f"{path}: cannot be read ({told(error)})") from error


def by_network(network: tf.keras.Model) -> Ask:
    """How a network is asked: in inference mode."""
    import tensorflow as tf

    def ask(x: Float32) -> Any:
        return network(tf.constant(x), training=False).numpy()

    return ask


def _description(path: Path) -> Any:
    """What the file says it holds. A file that is no zip archive is never given to Keras: it would read it as HDF5."""
    try:
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read("config.json"))
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise UsageError(f"{path}: is no Keras file ({told(error)})") from error
    if isinstance(description, dict):
        description.pop("compile_config", None)  # never read: the network is loaded without its loss
    return description


def _foreign(value: Any) -> Iterator[str]:
    """What a description names that is no class of Keras's building blocks, at any depth."""
    if isinstance(value, list):
        for inner in value:
            yield from _foreign(inner)
    if isinstance(value, dict):
        if "class_name" in value and not _building_block(value):
            yield f"{value.get('module') or value.get('registered_name')}.{value['class_name']}"
        for inner in value.values():
            yield from _foreign(inner)


def _building_block(named: dict[str, Any]) -> bool:
    """Whether Keras, as it looks names up, will find one of its own classes, and not one that runs stored code.

    Without a module it would look in an older table that holds more; functions are written in lower case; where the
    class is not found it takes the registered name.
    """
    module, kind = named.get("module"), str(named["class_name"])
    if named.get("registered_name") not in (None, kind) or "Lambda" in kind:
        return False
    return (module, kind) == _FUNCTIONAL or (module in _MODULES and kind.isidentifier() and kind[0].isupper())
